// Attention within each sequence of a packed batch, softmax(q kᵀ) v, without a matrix of scores in
// memory: a block takes 64 queries of one head of one sequence and walks over the sequence's keys,
// keeping for each query the largest score so far, the sum of the weights relative to it, and the
// weighted sum of the values. Where the walk begins and how it is cut follows from the sequence
// alone, so that its bits do not depend on the batch.
//
// `qkv` is `[T, 3 dim]` with rows q, k, v of `[heads, head_dim]` each; q is scaled, and q and k have
// their bias and rotation. The bias of v, the last third of `bias` `[3 dim]`, is added to the result,
// since the weights of a query add up to 1. `out` is `[T, dim]`. A tile is first row of the sequence, its tokens,
// first query of the tile (counted in the sequence), and 0. Grid: tiles, heads.
#include "device.cuh"

constexpr int QUERIES = 64;
constexpr float LOG2_E = 1.44269504088896341f;

// Steps by which copies of keys and values are ahead of the products, and whether in single precision
// values take the place of the keys. Without asynchronous copies, being ahead gains nothing; with less
// shared memory for each block, more blocks work at the same time: three with heads of 64 in half
// precision, and four elsewhere.
#ifdef TURING
constexpr int AHEAD = 0;
constexpr bool IN_TURN = true;
constexpr int BLOCKS_64 = 3;
#else
constexpr int AHEAD = 1;
constexpr bool IN_TURN = false;
constexpr int BLOCKS_64 = 4;
#endif

struct Tile {
    int start, tokens, first, unused;
};

// ---- half precision and bfloat16: tensor cores, sums in float -------------------------------

// Keys of one step.
constexpr int KEYS = 64;
// Numbers after each row in shared memory, so that rows begin in different banks.
constexpr int APART = 8;

// Begins to copy keys `first` … of `[tokens, HEAD]`, rows `stride` apart, to `to`; rows and columns
// that are not there are zero.
template <class T, int HEAD, int WIDTH>
DEVICE void copy_keys(T* to, const T* from, size_t stride, int first, int tokens) {
    // Pieces of eight numbers: a thread copies EACH of them, of one column, STEP rows apart.
    constexpr int CHUNKS = WIDTH / 8, EACH = KEYS * CHUNKS / 128, STEP = 128 / CHUNKS;
    static_assert(EACH * STEP == KEYS && STEP * CHUNKS == 128, "every piece is copied once");
    int row = thread() / CHUNKS, column = thread() % CHUNKS * 8;
    const T* source = from + (first + row) * stride + column;
    T* target = to + row * (WIDTH + APART) + column;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        bool is_there = first + row + i * STEP < tokens && column < HEAD;
        copy_begin(target + i * STEP * (WIDTH + APART), is_there ? source + i * STEP * stride : from,
                   is_there);
    }
}

// HEAD: numbers of a head; WIDTH: the same made up to whole products of 16.
template <class T, int HEAD, int WIDTH>
DEVICE void attention(T* out, const T* qkv, const float* bias, const Tile* tiles, int dim) {
    LAUNCH_SHARED(memory);
    constexpr int ROW = WIDTH + APART;
    constexpr int STEPS = WIDTH / 16;
    T* keys = reinterpret_cast<T*>(memory);
    T* values = keys + (AHEAD + 1) * KEYS * ROW;

    Tile tile = tiles[block_x()];
    int head = block_y();
    size_t stride = 3 * static_cast<size_t>(dim);
    const T* query = qkv + tile.start * stride + head * HEAD;
    const T* key = query + dim;
    const T* value = key + dim;
    int lane = thread() % 32, group = lane / 4, pair = lane % 4;
    // The two queries of which this lane holds parts.
    int rows[2];
    for (int r = 0; r < 2; ++r) rows[r] = tile.first + thread() / 32 * 16 + group + 8 * r;

    if (AHEAD > 0) {
        copy_keys<T, HEAD, WIDTH>(keys, key, stride, 0, tile.tokens);
        copy_keys<T, HEAD, WIDTH>(values, value, stride, 0, tile.tokens);
        copy_group();
    }

    uint32_t q[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        for (int i = 0; i < 4; ++i) {
            int row = rows[i % 2], column = step * 16 + i / 2 * 8 + pair * 2;
            bool is_there = row < tile.tokens && column < HEAD;
            q[step][i] = is_there
                             ? *reinterpret_cast<const uint32_t*>(query + row * stride + column)
                             : 0;
        }
    }

    float sums[WIDTH / 8][4] = {};
    float most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    int turn = 0;
    for (int first = 0; first < tile.tokens; first += KEYS, turn ^= AHEAD) {
        // While this step's keys are worked on, the next ones arrive in the other half, if there is one.
        int coming = first + AHEAD * KEYS;
        if (coming < tile.tokens) {
            T* next = keys + (turn ^ AHEAD) * KEYS * ROW;
            copy_keys<T, HEAD, WIDTH>(next, key, stride, coming, tile.tokens);
            next = values + (turn ^ AHEAD) * KEYS * ROW;
            copy_keys<T, HEAD, WIDTH>(next, value, stride, coming, tile.tokens);
        }
        copy_group();
        copy_wait<AHEAD>();
        block_barrier();
        const T* k = keys + turn * KEYS * ROW;
        const T* v = values + turn * KEYS * ROW;

        float scores[KEYS / 8][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; n += 2) {
                // 16 keys by 16 numbers: matrices of keys n and n + 1, first and second half.
                uint32_t b[4];
                int row = (n + lane / 16) * 8 + lane % 8, column = step * 16 + lane / 8 % 2 * 8;
                load_matrices(b, k + row * ROW + column);
                multiply<T>(scores[n], q[step], b[0], b[1]);
                multiply<T>(scores[n + 1], q[step], b[2], b[3]);
            }
        }

        if (first + KEYS > tile.tokens) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
                for (int i = 0; i < 4; ++i) {
                    int column = first + n * 8 + pair * 2 + i % 2;
                    if (column >= tile.tokens) scores[n][i] = -INFINITY;
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float largest = most[r];
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
                largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
            }
            // The four lanes of a row.
            largest = fmaxf(largest, shuffle_xor(largest, 1));
            largest = fmaxf(largest, shuffle_xor(largest, 2));
            float fade = exp2_fast((most[r] - largest) * LOG2_E);
            float offset = -largest * LOG2_E, sum = 0;
            most[r] = largest;
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
                for (int i = 2 * r; i < 2 * r + 2; ++i) {
                    scores[n][i] = exp2_fast(fmaf(scores[n][i], LOG2_E, offset));
                    sum += scores[n][i];
                }
            }
            total[r] = total[r] * fade + sum;
#pragma unroll
            for (int n = 0; n < WIDTH / 8; ++n) {
                sums[n][2 * r] *= fade;
                sums[n][2 * r + 1] *= fade;
            }
        }

#pragma unroll
        for (int step = 0; step < KEYS / 16; ++step) {
            // What a lane holds of two products is what it holds of the left side of the next.
            const float(&low)[4] = scores[2 * step];
            const float(&high)[4] = scores[2 * step + 1];
            uint32_t weights[4] = {pack<T>(low[0], low[1]), pack<T>(low[2], low[3]),
                                   pack<T>(high[0], high[1]), pack<T>(high[2], high[3])};
#pragma unroll
            for (int n = 0; n < WIDTH / 8; n += 2) {
                uint32_t b[4];
                int row = step * 16 + lane % 16, column = (n + lane / 16) * 8;
                load_matrices_transposed(b, v + row * ROW + column);
                multiply<T>(sums[n], weights, b[0], b[1]);
                multiply<T>(sums[n + 1], weights, b[2], b[3]);
            }
        }
        // What was read may be written again only when all have read it.
        block_barrier();
    }

#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float all = total[r] + shuffle_xor(total[r], 1);
        all += shuffle_xor(all, 2);
        if (rows[r] >= tile.tokens) continue;
        // At least 1, the weight of the largest score.
        float share = 1.0f / all;
        T* row = out + static_cast<size_t>(tile.start + rows[r]) * dim + head * HEAD;
        const float* offset = bias + 2 * dim + head * HEAD;
#pragma unroll
        for (int n = 0; n < HEAD / 8; ++n) {
            int c = n * 8 + pair * 2;
            store2(row + c, fmaf(sums[n][2 * r], share, offset[c]),
                   fmaf(sums[n][2 * r + 1], share, offset[c + 1]));
        }
    }
}

// ---- single precision: no tensor cores ------------------------------------------------------

// Keys of one step.
constexpr int KEYS_F32 = 32;

// A thread has 8 queries by 2 keys of the scores, and 8 queries by HEAD / 16 numbers (of 24, every
// thread 2 and some of them nothing) of the sums. Shared: queries, keys, values, weights.
template <int HEAD>
DEVICE void attention_exact(float* out, const float* qkv, const float* bias, const Tile* tiles,
                            int dim) {
    LAUNCH_SHARED(memory);
    constexpr int ROW = HEAD + 1;
    constexpr int WEIGHTS = KEYS_F32 + 1;
    constexpr int PARTS = (HEAD + 15) / 16;
    float* queries = reinterpret_cast<float*>(memory);
    float* keys = queries + QUERIES * ROW;
    float* values = IN_TURN ? keys : keys + KEYS_F32 * ROW;
    float* weights = values + KEYS_F32 * ROW;

    Tile tile = tiles[block_x()];
    int head = block_y();
    size_t stride = 3 * static_cast<size_t>(dim);
    const float* query = qkv + tile.start * stride + head * HEAD;
    // Of a group of 16 threads, side by side in a warp, each has the same 8 queries.
    int column = thread() % 16, row = thread() / 16 * 8;

    for (int i = thread(); i < QUERIES * HEAD; i += 128) {
        int at = tile.first + i / HEAD;
        queries[i / HEAD * ROW + i % HEAD] = at < tile.tokens ? query[at * stride + i % HEAD] : 0;
    }
    float sums[8][PARTS] = {}, most[8], total[8] = {};
    for (float& each : most) each = -INFINITY;

    for (int first = 0; first < tile.tokens; first += KEYS_F32) {
        for (int i = thread(); i < KEYS_F32 * HEAD; i += 128) {
            int at = first + i / HEAD, to = i / HEAD * ROW + i % HEAD;
            const float* from = query + at * stride + i % HEAD;
            keys[to] = at < tile.tokens ? from[dim] : 0;
            if (!IN_TURN) values[to] = at < tile.tokens ? from[2 * dim] : 0;
        }
        block_barrier();

        float scores[8][2] = {};
        for (int d = 0; d < HEAD; ++d) {
            float k0 = keys[column * ROW + d], k1 = keys[(column + 16) * ROW + d];
#pragma unroll
            for (int r = 0; r < 8; ++r) {
                float q = queries[(row + r) * ROW + d];
                scores[r][0] = fmaf(q, k0, scores[r][0]);
                scores[r][1] = fmaf(q, k1, scores[r][1]);
            }
        }
#pragma unroll
        for (int r = 0; r < 8; ++r) {
            float largest = most[r];
            for (int i = 0; i < 2; ++i) {
                if (first + column + 16 * i >= tile.tokens) scores[r][i] = -INFINITY;
                largest = fmaxf(largest, scores[r][i]);
            }
            for (int mask = 8; mask > 0; mask /= 2) {
                largest = fmaxf(largest, shuffle_xor(largest, mask));
            }
            float fade = exp2f((most[r] - largest) * LOG2_E);
            most[r] = largest;
            total[r] *= fade;
            for (int i = 0; i < 2; ++i) {
                float weight = exp2f((scores[r][i] - largest) * LOG2_E);
                total[r] += weight;
                weights[(row + r) * WEIGHTS + column + 16 * i] = weight;
            }
            for (float& sum : sums[r]) sum *= fade;
        }
        block_barrier();
        if (IN_TURN) {
            // All have read the keys.
            for (int i = thread(); i < KEYS_F32 * HEAD; i += 128) {
                int at = first + i / HEAD;
                const float* from = query + at * stride + i % HEAD;
                values[i / HEAD * ROW + i % HEAD] = at < tile.tokens ? from[2 * dim] : 0;
            }
            block_barrier();
        }

        for (int k = 0; k < KEYS_F32; ++k) {
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                int d = part * 16 + column;
                float value = d < HEAD ? values[k * ROW + d] : 0;
#pragma unroll
                for (int r = 0; r < 8; ++r) {
                    sums[r][part] = fmaf(weights[(row + r) * WEIGHTS + k], value, sums[r][part]);
                }
            }
        }
        block_barrier();
    }

#pragma unroll
    for (int r = 0; r < 8; ++r) {
        float all = total[r];
        for (int mask = 8; mask > 0; mask /= 2) all += shuffle_xor(all, mask);
        int at = tile.first + row + r;
        if (at >= tile.tokens) continue;
        float* to = out + static_cast<size_t>(tile.start + at) * dim + head * HEAD;
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            int d = part * 16 + column;
            if (d < HEAD) to[d] = sums[r][part] / all + bias[2 * dim + head * HEAD + d];
        }
    }
}

// The names by which kernels are launched.
#define ATTENTION(kernel, type, head, width)                                                 \
    kernel attention_##type##_##head(type* out, const type* qkv, const float* bias,          \
                                     const Tile* tiles, int dim) {                           \
        attention<type, head, width>(out, qkv, bias, tiles, dim);                            \
    }
#define ATTENTION_EXACT(head)                                                                \
    KERNEL(128) attention_f32_##head(float* out, const float* qkv, const float* bias,        \
                                     const Tile* tiles, int dim) {                           \
        attention_exact<head>(out, qkv, bias, tiles, dim);                                   \
    }

// Heads of 64 take 133 registers, three blocks of a multiprocessor, where they may; four are faster.
ATTENTION(KERNEL(128), f16, 16, 16)
ATTENTION(KERNEL(128), f16, 24, 32)
ATTENTION(KERNEL(128), f16, 32, 32)
ATTENTION(CROWDED_KERNEL(128, BLOCKS_64), f16, 64, 64)
ATTENTION(KERNEL(128), f16, 128, 128)
#ifndef TURING
ATTENTION(KERNEL(128), bf16, 16, 16)
ATTENTION(KERNEL(128), bf16, 24, 32)
ATTENTION(KERNEL(128), bf16, 32, 32)
ATTENTION(CROWDED_KERNEL(128, BLOCKS_64), bf16, 64, 64)
ATTENTION(KERNEL(128), bf16, 128, 128)
#endif
ATTENTION_EXACT(16)
ATTENTION_EXACT(24)
ATTENTION_EXACT(32)
ATTENTION_EXACT(64)
ATTENTION_EXACT(128)
