// The operations that work on each token by itself. Activations are packed rows `[T, …]`; every
// kernel's first grid dimension counts tokens (or sequences, for `pool`), and all sums have an
// order that follows from the width alone, so that a row's bits do not depend on its place.
//
// `dim` is a multiple of 8 and at most 5120. Blocks have 128 threads.
#include "device.cuh"
#include "math.cuh"

constexpr int ROW_THREADS = 128;

// Sum over the block; `partial` holds a number for each of its warps.
DEVICE float block_sum(float value, float* partial) {
    for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    if (thread() % 32 == 0) partial[thread() / 32] = value;
    block_barrier();
    return (partial[0] + partial[1]) + (partial[2] + partial[3]);
}

// x = E[token] · scale (+ P[position + 2]): `scale` is that of token dropout, 0.88 without masks
// and 0 for `<mask>` itself. `places` is null for rotary models.
KERNEL(128) embed(float* x, const float* table, const float* places, const unsigned short* tokens,
                  const float* scales, const int* positions, int dim) {
    size_t token = block_x();
    const float* row = table + static_cast<size_t>(tokens[token]) * dim;
    const float* place = places == nullptr ? nullptr : places + (positions[token] + 2ll) * dim;
    float scale = scales[token];
    for (int c = thread() * 4; c < dim; c += ROW_THREADS * 4) {
        float values[4], at[4];
        load(row + c, values);
        if (place == nullptr) {
            for (float& value : values) value *= scale;
        } else {
            load(place + c, at);
            for (int i = 0; i < 4; ++i) values[i] = fmaf(values[i], scale, at[i]);
        }
        store(x + token * dim + c, values);
    }
}

// x += y + y_bias, then out = LayerNorm(x) · weight + bias in two passes. Without `y` x stays as it
// is, without `weight` there is no norm. `out` may be `x`. V: numbers of a thread, in fours.
template <class In, class Out, int V>
DEVICE void add_norm(float* x, const In* y, const float* y_bias, const float* weight,
                     const float* bias, float eps, Out* out, int dim) {
    SHARED(float, partial, 8);
    size_t start = static_cast<size_t>(block_x()) * dim;
    float values[V][4];
    float sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        load(x + start + c, values[v]);
        if (y != nullptr) {
            float more[4], offset[4];
            load(y + start + c, more);
            load(y_bias + c, offset);
            for (int i = 0; i < 4; ++i) values[v][i] += more[i] + offset[i];
            store(x + start + c, values[v]);
        }
        sum += (values[v][0] + values[v][1]) + (values[v][2] + values[v][3]);
    }
    if (weight == nullptr) return;
    float mean = block_sum(sum, partial) / dim;
    float squares = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        for (float& value : values[v]) {
            value -= mean;
            squares += value * value;
        }
    }
    float scale = 1.0f / sqrtf(block_sum(squares, partial + 4) / dim + eps);
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        float factor[4], offset[4];
        load(weight + c, factor);
        load(bias + c, offset);
        for (int i = 0; i < 4; ++i) values[v][i] = values[v][i] * scale * factor[i] + offset[i];
        store(out + start + c, values[v]);
    }
}

// The first two thirds of rows q, k, v of `[heads, 2 half]` each, `[T, 3 dim]`: adds the bias, scales q,
// and rotates q and k by the angles of the token's position: (a, b) → (a cos − b sin, b cos + a sin)
// for numbers `half` apart. `cosines` and `sines` are `[positions, half]`, null without rotation. What
// does not fit T becomes NaN: a key of −∞ would get no weight, and the rows of its sequence would be
// finite and wrong. The bias of v is added by the attention. N: numbers of a step, a divisor of `half`.
template <class T, int N>
DEVICE void rotate(T* qkv, const float* bias, const float* cosines, const float* sines,
                   const int* positions, float scale, int dim, int half) {
    size_t token = block_x();
    T* row = qkv + token * 3 * dim;
    size_t angle = cosines == nullptr ? 0 : static_cast<size_t>(positions[token]) * half;
    // N numbers of the first half of a head and the N that they are rotated with.
    int steps = dim / (2 * N), of_head = half / N;
    for (int u = thread(); u < 2 * steps; u += ROW_THREADS) {
        bool is_query = u < steps;
        int at = is_query ? u : u - steps;
        int i = at % of_head * N;
        int first = (is_query ? 0 : dim) + at / of_head * 2 * half + i;
        float a[N], b[N], a_bias[N], b_bias[N];
        load(row + first, a);
        load(row + first + half, b);
        load(bias + first, a_bias);
        load(bias + first + half, b_bias);
        float factor = is_query ? scale : 1.0f;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            a[j] = (a[j] + a_bias[j]) * factor;
            b[j] = (b[j] + b_bias[j]) * factor;
        }
        if (cosines != nullptr) {
            float c[N], s[N];
            load(cosines + angle + i, c);
            load(sines + angle + i, s);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                float turned = a[j] * c[j] - b[j] * s[j];
                b[j] = b[j] * c[j] + a[j] * s[j];
                a[j] = turned;
            }
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            a[j] = fit<T>(a[j]);
            b[j] = fit<T>(b[j]);
        }
        store(row + first, a);
        store(row + first + half, b);
    }
}

// Heads are a multiple of 8 wide, so that half of one is a multiple of 4, and of 8 but for heads of 24.
template <class T>
DEVICE void bias_rotary(T* qkv, const float* bias, const float* cosines, const float* sines,
                        const int* positions, float scale, int dim, int half) {
    if (half % 8 == 0) {
        rotate<T, 8>(qkv, bias, cosines, sines, positions, scale, dim, half);
    } else {
        rotate<T, 4>(qkv, bias, cosines, sines, positions, scale, dim, half);
    }
}

// u = gelu(u + bias), `[T, width]`.
template <class T> DEVICE void bias_gelu(T* u, const float* bias, int width) {
    T* row = u + static_cast<size_t>(block_x()) * width;
    for (int c = thread() * 8; c < width; c += ROW_THREADS * 8) {
        float values[8], offset[8];
        load(row + c, values);
        load(bias + c, offset);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = gelu(values[i] + offset[i]);
        store(row + c, values);
    }
}

// q and k of rows q, k, v, `[T, 3 dim]`, in place: LayerNorm over the whole width · weight, without bias,
// in two passes. The grid's second dimension is 0 for q and 1 for k. V as in `add_norm`.
template <class T, int V>
DEVICE void qk_norm(T* qkv, const float* q_weight, const float* k_weight, float eps, int dim) {
    SHARED(float, partial, 8);
    bool is_query = block_y() == 0;
    T* row = qkv + static_cast<size_t>(block_x()) * 3 * dim + (is_query ? 0 : dim);
    const float* weight = is_query ? q_weight : k_weight;
    float values[V][4];
    float sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        load(row + c, values[v]);
        sum += (values[v][0] + values[v][1]) + (values[v][2] + values[v][3]);
    }
    float mean = block_sum(sum, partial) / dim;
    float squares = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        for (float& value : values[v]) {
            value -= mean;
            squares += value * value;
        }
    }
    float scale = 1.0f / sqrtf(block_sum(squares, partial + 4) / dim + eps);
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * ROW_THREADS + thread()) * 4;
        if (c >= dim) continue;
        float factor[4];
        load(weight + c, factor);
        for (int i = 0; i < 4; ++i) values[v][i] = fit<T>(values[v][i] * scale * factor[i]);
        store(row + c, values[v]);
    }
}

// out = silu(a) · g of rows a, g, `[T, 2 width]`: `[T, width]`.
template <class T> DEVICE void swiglu(T* out, const T* u, int width) {
    const T* row = u + static_cast<size_t>(block_x()) * 2 * width;
    T* to = out + static_cast<size_t>(block_x()) * width;
    for (int c = thread() * 8; c < width; c += ROW_THREADS * 8) {
        float a[8], g[8];
        load(row + c, a);
        load(row + width + c, g);
#pragma unroll
        for (int i = 0; i < 8; ++i) a[i] = silu(a[i]) * g[i];
        store(to + c, a);
    }
}

// Copies the rows that have a place: row t of x to row `places[t]` of `out`; −1 for none.
template <class Out> DEVICE void take_rows(Out* out, const float* x, const int* places, int dim) {
    size_t token = block_x();
    int place = places[token];
    if (place < 0) return;
    for (int c = thread() * 4; c < dim; c += ROW_THREADS * 4) {
        float values[4];
        load(x + token * dim + c, values);
        store(out + static_cast<size_t>(place) * dim + c, values);
    }
}

// For the sequence of rows starts[s] … starts[s + 1] of x: the mean of its residue rows (all but the
// first and the last), their largest values (NaN if one is NaN) and its first row, each `[S, dim]`
// or null; `unfit[s]` is set if a number of any of its rows is not finite. Sums are double.
KERNEL(128) pool(float* mean, float* most, float* first, int* unfit, const float* x,
                 const int* starts, int dim) {
    int s = block_x();
    int c = block_y() * ROW_THREADS + thread();
    if (c >= dim) return;
    size_t begin = starts[s], end = starts[s + 1];
    const float* column = x + c;
    double sum = 0;
    float largest = column[(begin + 1) * dim];
    bool is_finite = isfinite(column[begin * dim]) && isfinite(column[(end - 1) * dim]);
    for (size_t t = begin + 1; t + 1 < end; ++t) {
        float value = column[t * dim];
        sum += value;
        if (value > largest || value != value) largest = value;
        is_finite = is_finite && isfinite(value);
    }
    size_t at = static_cast<size_t>(s) * dim + c;
    if (mean != nullptr) mean[at] = static_cast<float>(sum / static_cast<double>(end - begin - 2));
    if (most != nullptr) most[at] = largest;
    if (first != nullptr) first[at] = column[begin * dim];
    if (!is_finite) unfit[s] = 1;
}

// The names by which kernels are launched.
#define ADD_NORM(name, In, Out, V)                                                                 \
    KERNEL(128) name(float* x, const In* y, const float* y_bias, const float* weight,              \
                     const float* bias, float eps, Out* out, int dim) {                            \
        add_norm<In, Out, V>(x, y, y_bias, weight, bias, eps, out, dim);                           \
    }
// By the type of y and out, and how many fours a thread holds: `dim` ≤ 512 V.
#define ADD_NORMS(type)                                                                            \
    ADD_NORM(add_norm_##type##_1, type, type, 1)                                                   \
    ADD_NORM(add_norm_##type##_2, type, type, 2)                                                   \
    ADD_NORM(add_norm_##type##_3, type, type, 3)                                                   \
    ADD_NORM(add_norm_##type##_5, type, type, 5)                                                   \
    ADD_NORM(add_norm_##type##_10, type, type, 10)
#define FINAL_NORMS(type)                                                                          \
    ADD_NORM(final_norm_##type##_1, type, float, 1)                                                \
    ADD_NORM(final_norm_##type##_2, type, float, 2)                                                \
    ADD_NORM(final_norm_##type##_3, type, float, 3)                                                \
    ADD_NORM(final_norm_##type##_5, type, float, 5)                                                \
    ADD_NORM(final_norm_##type##_10, type, float, 10)
#define QK_NORM(name, type, V)                                                                     \
    KERNEL(128) name(type* qkv, const float* q_weight, const float* k_weight, float eps, int dim) { \
        qk_norm<type, V>(qkv, q_weight, k_weight, eps, dim);                                       \
    }
#define QK_NORMS(type)                                                                             \
    QK_NORM(qk_norm_##type##_1, type, 1)                                                           \
    QK_NORM(qk_norm_##type##_2, type, 2)                                                           \
    QK_NORM(qk_norm_##type##_3, type, 3)                                                           \
    QK_NORM(qk_norm_##type##_5, type, 5)                                                           \
    QK_NORM(qk_norm_##type##_10, type, 10)
#define ROWS(type)                                                                                 \
    KERNEL(128) bias_rotary_##type(type* qkv, const float* bias, const float* cosines,             \
                                   const float* sines, const int* positions, float scale,          \
                                   int dim, int half) {                                            \
        bias_rotary<type>(qkv, bias, cosines, sines, positions, scale, dim, half);                 \
    }                                                                                              \
    KERNEL(128) bias_gelu_##type(type* u, const float* bias, int width) {                          \
        bias_gelu<type>(u, bias, width);                                                           \
    }                                                                                              \
    KERNEL(128) swiglu_##type(type* out, const type* u, int width) {                               \
        swiglu<type>(out, u, width);                                                               \
    }

using f32 = float;
ADD_NORMS(f16)
ADD_NORMS(f32)
FINAL_NORMS(f16)
FINAL_NORMS(f32)
QK_NORMS(f16)
QK_NORMS(f32)
ROWS(f16)
ROWS(f32)
#ifndef TURING
ADD_NORMS(bf16)
FINAL_NORMS(bf16)
QK_NORMS(bf16)
ROWS(bf16)
#endif

KERNEL(128) take_rows_f32(float* out, const float* x, const int* places, int dim) {
    take_rows<float>(out, x, places, dim);
}
KERNEL(128) take_rows_f16(f16* out, const float* x, const int* places, int dim) {
    take_rows<f16>(out, x, places, dim);
}
