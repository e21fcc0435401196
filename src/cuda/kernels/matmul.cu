// Matrix products of linear layers, x Wᵀ, and what the model does next with each row of the result: x is
// `[rows, inputs]`, W `[outputs, inputs]`, and both widths are multiples of 8.
//
// A block computes a tile of the result, in steps along the inputs: while one step is multiplied, the
// next ones are copied to shared memory. Every number is one sum in float, in ascending order of the
// inputs, so that its bits depend neither on the number of rows nor on its place nor on the size of the
// tile. Sums are rounded once, after the bias and what follows it.
//
// Three kernels compute the same with tiles of 256, 128 and 32 rows; in f32 and on Turing, with 128 and
// 32. Grid: all tiles in x.
#include "device.cuh"
#include "math.cuh"

namespace matmul {

// Columns of a tile.
constexpr int COLUMNS = 128;
// Floats from one row of sums to the next in shared memory, so that rows begin in different banks.
constexpr int SUMS_APART = COLUMNS + 8;
// Rows of tiles that are computed column by column, so that blocks that run at the same time share
// their inputs and weights.
constexpr int GROUP = 8;

// ---- what follows a product ------------------------------------------------------------------

// y = gelu(x Wᵀ + bias), `[rows, outputs]`.
template <class T> struct Gelu {
    T* y;
    const float* bias;
};

// x += (x Wᵀ + bias), for another x, the residual stream `[rows, outputs]`.
struct Residual {
    float* x;
    const float* bias;
};

// Rows q, k, v: bias, scale of q and rotation, as `bias_rotary` in rows.cu; v stays as it is.
template <class T> struct Rotary {
    T* qkv;
    const float* bias;
    const float* cosines;
    const float* sines;
    const int* positions;
    float scale;
    int half;
};

// Columns of a tile that are used.
template <class T> DEVICE int columns_used(const Gelu<T>&) { return COLUMNS; }
DEVICE int columns_used(const Residual&) { return COLUMNS; }
// Whole heads.
template <class T> DEVICE int columns_used(const Rotary<T>& rotary) {
    return COLUMNS / (2 * rotary.half) * 2 * rotary.half;
}

// A tile, and the matrix that it is in.
struct Place {
    int row, column;
    int rows, outputs;
};

// Each `finish` takes HEIGHT rows of sums of a tile from shared memory. `row_of` gives the row of the
// matrix, which may be none of its.
template <int HEIGHT, int THREADS, class T, class RowOf>
DEVICE void finish(const Gelu<T>& to, const float* sums, const Place& place, RowOf row_of) {
#pragma unroll 1
    for (int u = thread(); u < HEIGHT * (COLUMNS / 8); u += THREADS) {
        int s = u / (COLUMNS / 8), c = u % (COLUMNS / 8) * 8;
        int row = row_of(s), column = place.column + c;
        if (row >= place.rows || column >= place.outputs) continue;
        float values[8], offset[8];
        load(sums + s * SUMS_APART + c, values);
        load(to.bias + column, offset);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = gelu(values[i] + offset[i]);
        store(to.y + static_cast<size_t>(row) * place.outputs + column, values);
    }
}

template <int HEIGHT, int THREADS, class RowOf>
DEVICE void finish(const Residual& to, const float* sums, const Place& place, RowOf row_of) {
#pragma unroll 1
    for (int u = thread(); u < HEIGHT * (COLUMNS / 4); u += THREADS) {
        int s = u / (COLUMNS / 4), c = u % (COLUMNS / 4) * 4;
        int row = row_of(s), column = place.column + c;
        if (row >= place.rows || column >= place.outputs) continue;
        float* at = to.x + static_cast<size_t>(row) * place.outputs + column;
        float values[4], offset[4], more[4];
        load(at, values);
        load(sums + s * SUMS_APART + c, more);
        load(to.bias + column, offset);
        for (int i = 0; i < 4; ++i) values[i] += more[i] + offset[i];
        store(at, values);
    }
}

template <int HEIGHT, int THREADS, class T, class RowOf>
DEVICE void finish(const Rotary<T>& to, const float* sums, const Place& place, RowOf row_of) {
    int half = to.half, dim = place.outputs / 3;
    // A step: four numbers of the first half of a head and the four that they are rotated with.
    int of_head = half / 4, of_row = columns_used(to) / 8;
#pragma unroll 1
    for (int u = thread(); u < HEIGHT * of_row; u += THREADS) {
        int s = u / of_row, at = u % of_row;
        int i = at % of_head * 4, c = at / of_head * 2 * half + i;
        int row = row_of(s), column = place.column + c;
        if (row >= place.rows || column >= place.outputs) continue;
        float a[4], b[4];
        load(sums + s * SUMS_APART + c, a);
        load(sums + s * SUMS_APART + c + half, b);
        if (column < 2 * dim) {
            float a_bias[4], b_bias[4];
            load(to.bias + column, a_bias);
            load(to.bias + column + half, b_bias);
            float factor = column < dim ? to.scale : 1.0f;
            for (int j = 0; j < 4; ++j) {
                a[j] = (a[j] + a_bias[j]) * factor;
                b[j] = (b[j] + b_bias[j]) * factor;
            }
            if (to.cosines != nullptr) {
                float cosine[4], sine[4];
                size_t angle = static_cast<size_t>(to.positions[row]) * half + i;
                load(to.cosines + angle, cosine);
                load(to.sines + angle, sine);
                for (int j = 0; j < 4; ++j) {
                    // Written out, so that the compiler rounds alike in all kernels.
                    float turned = fmaf(a[j], cosine[j], -(b[j] * sine[j]));
                    b[j] = fmaf(b[j], cosine[j], a[j] * sine[j]);
                    a[j] = turned;
                }
            }
            for (int j = 0; j < 4; ++j) {
                a[j] = fit<T>(a[j]);
                b[j] = fit<T>(b[j]);
            }
        }
        T* first = to.qkv + static_cast<size_t>(row) * place.outputs + column;
        store(first, a);
        store(first + half, b);
    }
}

// The tile of this block, of ROWS rows and `used` columns.
template <int ROWS> DEVICE Place place_of(int rows, int outputs, int used) {
    int across = (outputs + used - 1) / used, down = (rows + ROWS - 1) / ROWS;
    int first = block_x() / (GROUP * across) * GROUP;
    int in_group = block_x() - first * across;
    int high = down - first < GROUP ? down - first : GROUP;
    return Place{(first + in_group % high) * ROWS, in_group / high * used, rows, outputs};
}

// ---- half precision and bfloat16: tensor cores -----------------------------------------------

// Inputs of one step, in shared memory a row of 64 bytes: four pieces of 16 bytes, whose order differs
// from one pair of rows to the next, so that eight pieces that are read at once are in all banks.
constexpr int DEPTH = 32;
constexpr int ROW_BYTES = 2 * DEPTH;

// Begins to copy the inputs `first` … of ROWS rows of `[rows, inputs]` from row `start` on. Rows and
// inputs that are not there are zero.
template <class T, int ROWS, int THREADS>
DEVICE void copy_step(unsigned char* to, const T* from, int start, int rows, int inputs, int first) {
    constexpr int STEP = THREADS / 4;
    static_assert(ROWS % STEP == 0 && STEP % 8 == 0, "every piece is copied once");
    int row = thread() / 4, piece = thread() % 4;
    int column = first + piece * 8;
    const T* source = from + static_cast<size_t>(start + row) * inputs + column;
    unsigned char* target = to + row * ROW_BYTES + (piece ^ (row / 2 % 4)) * 16;
#pragma unroll
    for (int i = 0; i < ROWS / STEP; ++i) {
        bool is_there = start + row + i * STEP < rows && column < inputs;
        copy_begin(target + i * STEP * ROW_BYTES,
                   is_there ? source + i * STEP * inputs : from, is_there);
    }
}

// Warps side by side compute parts of the tile, ROWS / DOWN by COLUMNS / ACROSS. STAGES: steps in shared
// memory.
template <class T, int ROWS, int DOWN, int ACROSS, int STAGES, class Next>
DEVICE void product(const T* x, const T* w, int rows, int outputs, int inputs, const Next& next) {
    LAUNCH_SHARED(memory);
    constexpr int THREADS = 32 * DOWN * ACROSS;
    constexpr int HIGH = ROWS / DOWN, WIDE = COLUMNS / ACROSS;
    constexpr int M = HIGH / 16, N = WIDE / 8;
    constexpr int STAGE = (ROWS + COLUMNS) * ROW_BYTES;
    static_assert(16 * DOWN * SUMS_APART * 4 <= STAGES * STAGE, "sums fit where the steps were");

    Place place = place_of<ROWS>(rows, outputs, columns_used(next));
    int lane = thread() % 32, warp = thread() / 32;
    int down = warp / ACROSS, across = warp % ACROSS;
    // Where this lane's rows of the matrices are that a warp loads at once: see `load_matrices`.
    int turned = lane / 2 % 4;
    int x_at = (down * HIGH + lane % 16) * ROW_BYTES + ((lane / 16) ^ turned) * 16;
    int w_at = (ROWS + across * WIDE + lane / 16 * 8 + lane % 8) * ROW_BYTES +
               ((lane / 8 % 2) ^ turned) * 16;

    int steps = (inputs + DEPTH - 1) / DEPTH;
    auto copy = [&](int step, int stage) {
        unsigned char* to = memory + stage * STAGE;
        copy_step<T, ROWS, THREADS>(to, x, place.row, rows, inputs, step * DEPTH);
        copy_step<T, COLUMNS, THREADS>(to + ROWS * ROW_BYTES, w, place.column, outputs, inputs,
                                       step * DEPTH);
    };
    uint32_t a[2][M][4], b[2][N / 2][4];
    // 16 inputs of a step, the first or the second.
    auto fetch = [&](int stage, int part) {
        const unsigned char* from = memory + stage * STAGE;
#pragma unroll
        for (int m = 0; m < M; ++m) {
            load_matrices(a[part][m], from + (x_at ^ (part * 32)) + m * 16 * ROW_BYTES);
        }
#pragma unroll
        for (int n = 0; n < N / 2; ++n) {
            load_matrices(b[part][n], from + (w_at ^ (part * 32)) + n * 16 * ROW_BYTES);
        }
    };
    float sums[M][N][4] = {};
    auto add = [&](int part) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
                multiply<T>(sums[m][n], a[part][m], b[part][n / 2][n % 2 * 2],
                            b[part][n / 2][n % 2 * 2 + 1]);
            }
        }
    };

#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) copy(step, step);
        copy_group();
    }
    copy_wait<STAGES - 2>();
    block_barrier();
    fetch(0, 0);
    int stage = 0, free_stage = STAGES - 1;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        fetch(stage, 1);
        // Everyone has read this stage's last step: the barrier below was after that.
        if (step + STAGES - 1 < steps) copy(step + STAGES - 1, free_stage);
        copy_group();
        add(0);
        free_stage = stage;
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        copy_wait<STAGES - 2>();
        block_barrier();
        // After the last step, what is fetched is not used.
        fetch(stage, 0);
        add(1);
    }

    // The sums take the memory of the steps, which is free once all threads have fetched.
    copy_wait<0>();
    float* at = reinterpret_cast<float*>(memory);
#pragma unroll 1
    for (int part = 0; part < M; ++part) {
        block_barrier();
#pragma unroll
        for (int m = 0; m < M; ++m) {
            // A number that the compiler does not know: it would index the sums, which registers cannot be.
            int which = part;
            asm volatile("" : "+r"(which));
            if (m != which) continue;
            float* to = at + (down * 16 + lane / 4) * SUMS_APART + across * WIDE + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < N; ++n) {
                store2(to + n * 8, sums[m][n][0], sums[m][n][1]);
                store2(to + n * 8 + 8 * SUMS_APART, sums[m][n][2], sums[m][n][3]);
            }
        }
        block_barrier();
        finish<16 * DOWN, THREADS>(next, at, place, [&](int s) {
            return place.row + s / 16 * HIGH + part * 16 + s % 16;
        });
    }
}

// ---- single precision: no tensor cores --------------------------------------------------------

// Inputs of one step, and floats from one row to the next in shared memory.
constexpr int DEPTH_F32 = 16;
constexpr int APART_F32 = DEPTH_F32 + 4;

// As `copy_step`, by 128 threads.
template <int ROWS>
DEVICE void copy_exact(float* to, const float* from, int start, int rows, int inputs, int first) {
    int row = thread() / 4, piece = thread() % 4;
    int column = first + piece * 4;
    const float* source = from + static_cast<size_t>(start + row) * inputs + column;
#pragma unroll
    for (int i = 0; i < ROWS / 32; ++i) {
        bool is_there = start + row + i * 32 < rows && column < inputs;
        copy_begin(to + (row + i * 32) * APART_F32 + piece * 4,
                   is_there ? source + i * 32 * inputs : from, is_there);
    }
}

// A thread computes every eighth row of the tile and every 16th column. A warp has 4 by 8 of those,
// and warps are 2 by 2.
template <int ROWS, class Next>
DEVICE void product_exact(const float* x, const float* w, int rows, int outputs, int inputs,
                          const Next& next) {
    LAUNCH_SHARED(memory);
    constexpr int M = ROWS / 8, N = COLUMNS / 16;
    constexpr int STAGE = (ROWS + COLUMNS) * APART_F32;
    static_assert(32 * SUMS_APART <= 2 * STAGE, "sums fit where the steps were");

    Place place = place_of<ROWS>(rows, outputs, columns_used(next));
    int lane = thread() % 32, warp = thread() / 32;
    int row = warp / 2 * 4 + lane / 8, column = warp % 2 * 8 + lane % 8;
    float* all = reinterpret_cast<float*>(memory);
    auto copy = [&](int step) {
        float* to = all + step % 2 * STAGE;
        copy_exact<ROWS>(to, x, place.row, rows, inputs, step * DEPTH_F32);
        copy_exact<COLUMNS>(to + ROWS * APART_F32, w, place.column, outputs, inputs,
                            step * DEPTH_F32);
    };
    float sums[M][N] = {};
    int steps = (inputs + DEPTH_F32 - 1) / DEPTH_F32;
    copy(0);
    copy_group();
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) copy(step + 1);
        copy_group();
        copy_wait<1>();
        block_barrier();
        const float* a_at = all + step % 2 * STAGE + row * APART_F32;
        const float* b_at = all + step % 2 * STAGE + (ROWS + column) * APART_F32;
#pragma unroll 1
        for (int k = 0; k < DEPTH_F32; k += 4) {
            float b[N][4];
#pragma unroll
            for (int n = 0; n < N; ++n) load(b_at + n * 16 * APART_F32 + k, b[n]);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                float a[4];
                load(a_at + m * 8 * APART_F32 + k, a);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int n = 0; n < N; ++n) sums[m][n] = fmaf(a[i], b[n][i], sums[m][n]);
                }
            }
        }
        // The other half may be written again only when all have read it.
        block_barrier();
    }

    copy_wait<0>();
#pragma unroll 1
    for (int part = 0; part < M / 4; ++part) {
        block_barrier();
#pragma unroll
        for (int m = 0; m < M; ++m) {
            int which = part;
            asm volatile("" : "+r"(which));
            if (m / 4 != which) continue;
            float* to = all + (m % 4 * 8 + row) * SUMS_APART + column;
#pragma unroll
            for (int n = 0; n < N; ++n) to[n * 16] = sums[m][n];
        }
        block_barrier();
        finish<32, 128>(next, all, place, [&](int s) { return place.row + part * 32 + s; });
    }
}

} // namespace matmul

// The names by which kernels are launched: product_TYPE_NEXT_ROWS. Shared memory takes
// (ROWS + 128) · 64 · STAGES bytes, in f32 (ROWS + 128) · 160.
#define PRODUCT(kernel, call, type, rows)                                                          \
    kernel product_##type##_gelu_##rows(type* y, const type* x, const type* w, const float* bias,  \
                                        int count, int outputs, int inputs) {                      \
        matmul::call(x, w, count, outputs, inputs, matmul::Gelu<type>{y, bias});                   \
    }                                                                                              \
    kernel product_##type##_residual_##rows(float* y, const type* x, const type* w,                \
                                            const float* bias, int count, int outputs,             \
                                            int inputs) {                                          \
        matmul::call(x, w, count, outputs, inputs, matmul::Residual{y, bias});                     \
    }                                                                                              \
    kernel product_##type##_rotary_##rows(type* y, const type* x, const type* w,                   \
                                          const float* bias, int count, int outputs, int inputs,   \
                                          const float* cosines, const float* sines,                \
                                          const int* positions, float scale, int half) {           \
        matmul::call(x, w, count, outputs, inputs,                                                 \
                     matmul::Rotary<type>{y, bias, cosines, sines, positions, scale, half});       \
    }
// One argument of a macro in spite of its commas.
#define PARTS(...) __VA_ARGS__

using f32 = float;
PRODUCT(CROWDED_KERNEL(128, 2), product_exact<128>, f32, 128)
PRODUCT(KERNEL(128), product_exact<32>, f32, 32)
#ifdef TURING
// Copies are not asynchronous: more stages gain nothing, and blocks with fewer leave memory to others.
PRODUCT(CROWDED_KERNEL(128, 2), PARTS(product<f16, 128, 2, 2, 2>), f16, 128)
PRODUCT(KERNEL(128), PARTS(product<f16, 32, 1, 4, 2>), f16, 32)
#else
#define PRODUCTS(type)                                                                             \
    PRODUCT(KERNEL(256), PARTS(product<type, 256, 4, 2, 4>), type, 256)                            \
    PRODUCT(CROWDED_KERNEL(128, 2), PARTS(product<type, 128, 2, 2, 3>), type, 128)                 \
    PRODUCT(KERNEL(128), PARTS(product<type, 32, 1, 4, 4>), type, 32)
PRODUCTS(f16)
PRODUCTS(bf16)
#endif
