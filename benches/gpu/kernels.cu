// Times the engine's kernels one by one on a GPU, and the matrix products of cuBLASLt: GB/s of each row
// kernel, TFLOP/s of attention by sequence length, and for each shape of weights the available
// algorithms, their speed at several numbers of rows, and whether a row has the same bits at every
// position and for every number of rows.
//
//     nvcc -O3 -std=c++17 -arch=sm_90 -Isrc/cuda/kernels -I CUBLAS/include benches/gpu/kernels.cu \
//         -o kernels -L CUBLAS/lib -l:libcublasLt.so.13
//     ./kernels rows|attention|products|chain|own
//
// `own` times the program's own matrix products with what follows them.
//
// Times are medians of repeated launches on data larger than the second-level cache.
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "attention.cu"
#include "matmul.cu"
#include "rows.cu"

#define CHECK(call)                                                              \
    do {                                                                         \
        auto status = (call);                                                    \
        if (status != 0) {                                                       \
            printf("%s:%d: %s: status %d\n", __FILE__, __LINE__, #call, status); \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

struct Model {
    const char* name;
    int layers, dim, heads;
};
static const Model MODELS[] = {{"8M", 6, 320, 20},
                               {"35M", 12, 480, 20},
                               {"150M", 30, 640, 20},
                               {"650M", 33, 1280, 20},
                               {"3B", 36, 2560, 40}};

// ---- memory and time --------------------------------------------------------------------------

__global__ void fill_floats(float* to, size_t count, float scale) {
    size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
    uint32_t h = uint32_t(i) * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    if (i < count) to[i] = (float(h >> 8) / 8388608.0f - 1.0f) * scale;
}
__global__ void fill_halves(uint16_t* to, size_t count, float scale) {
    size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x;
    uint32_t h = uint32_t(i) * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    f16 half;
    from_float((float(h >> 8) / 8388608.0f - 1.0f) * scale, half);
    if (i < count) to[i] = half.bits;
}

template <class T> T* reserve(size_t count, float scale = 1.0f) {
    T* at = nullptr;
    CHECK(cudaMalloc(&at, count * sizeof(T)));
    unsigned blocks = unsigned((count + 255) / 256);
    if (sizeof(T) == 4) fill_floats<<<blocks, 256>>>((float*)at, count, scale);
    if (sizeof(T) == 2) fill_halves<<<blocks, 256>>>((uint16_t*)at, count, scale);
    CHECK(cudaGetLastError());
    return at;
}
static int* upload(const std::vector<int>& from) {
    int* at = nullptr;
    CHECK(cudaMalloc(&at, from.size() * 4));
    CHECK(cudaMemcpy(at, from.data(), from.size() * 4, cudaMemcpyHostToDevice));
    return at;
}

// Median milliseconds of one call.
static double time_of(const std::function<void()>& call, int repeats = 15) {
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int i = 0; i < 2; ++i) call();
    std::vector<float> all;
    for (int i = 0; i < repeats; ++i) {
        CHECK(cudaEventRecord(begin));
        call();
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        float ms = 0;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        all.push_back(ms);
    }
    CHECK(cudaGetLastError());
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

// ---- alternative forms of the same kernels ----------------------------------------------------

// One warp per row: no barrier. V: groups of eight elements per lane.
template <class T, int V>
__global__ void __launch_bounds__(128) warp_norm(float* x, const T* y, const float* y_bias,
                                                 const float* weight, const float* bias, float eps,
                                                 T* out, int dim, int rows) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    size_t start = size_t(row) * dim;
    float values[V][8];
    float sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * 32 + lane) * 8;
        if (c >= dim) continue;
        float more[8], offset[8];
        load(x + start + c, values[v]);
        load(y + start + c, more);
        load(y_bias + c, offset);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[v][i] += more[i] + offset[i];
        store(x + start + c, values[v]);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum += values[v][i];
    }
    for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    float mean = sum / dim, squares = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * 32 + lane) * 8;
        if (c >= dim) continue;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            values[v][i] -= mean;
            squares += values[v][i] * values[v][i];
        }
    }
    for (int mask = 16; mask > 0; mask /= 2) squares += shuffle_xor(squares, mask);
    float scale = 1.0f / sqrtf(squares / dim + eps);
#pragma unroll
    for (int v = 0; v < V; ++v) {
        int c = (v * 32 + lane) * 8;
        if (c >= dim) continue;
        float factor[8], offset[8];
        load(weight + c, factor);
        load(bias + c, offset);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[v][i] = values[v][i] * scale * factor[i] + offset[i];
        store(out + start + c, values[v]);
    }
}

// Attention compiled for a number of blocks per multiprocessor.
#define ATTENTION_BOUNDS(type, head, width, blocks)                                               \
    extern "C" __global__ void __launch_bounds__(128, blocks) attention_##type##_##head##_b##blocks( \
        type* out, const type* qkv, const float* bias, const Tile* tiles, int dim) {              \
        attention<type, head, width>(out, qkv, bias, tiles, dim);                                 \
    }
ATTENTION_BOUNDS(f16, 16, 16, 4)
ATTENTION_BOUNDS(f16, 24, 32, 4)
ATTENTION_BOUNDS(f16, 32, 32, 4)
ATTENTION_BOUNDS(f16, 64, 64, 3)
ATTENTION_BOUNDS(f16, 64, 64, 4)
ATTENTION_BOUNDS(f16, 64, 64, 5)

// ---- measurements -------------------------------------------------------------------------

static void rows() {
    const int T = 65536;
    printf("\n## Row kernels, %d tokens (GB/s of bytes that have to move)\n", T);
    float* copy_a = reserve<float>(size_t(1) << 28);
    float* copy_b = reserve<float>(size_t(1) << 28);
    double ms = time_of([&] { cudaMemcpyAsync(copy_b, copy_a, size_t(1) << 30, cudaMemcpyDeviceToDevice); });
    printf("copy of 1 GiB: %.0f GB/s\n", 2 * double(size_t(1) << 30) / ms / 1e6);
    CHECK(cudaFree(copy_a));
    CHECK(cudaFree(copy_b));
    for (const Model& model : MODELS) {
        int dim = model.dim, width = 4 * dim, half = dim / model.heads / 2;
        float* x = reserve<float>(size_t(T) * dim);
        f16* y = reserve<f16>(size_t(T) * dim);
        f16* h = reserve<f16>(size_t(T) * dim);
        f16* wide = reserve<f16>(size_t(T) * width, 3.0f);
        float* weights = reserve<float>(4 * width);
        float* cosines = reserve<float>(1024 * 64);
        std::vector<int> at(T);
        for (int i = 0; i < T; ++i) at[i] = i % 300;
        int* positions = upload(at);
        auto say = [&](const char* name, double bytes, double ms) {
            printf("%-5s %-28s %8.3f ms %7.0f GB/s\n", model.name, name, ms, bytes / ms / 1e6);
        };
        double norm = 12.0 * T * dim, gelu = 4.0 * T * width, rotary = 8.0 * T * dim;
        auto add = dim <= 512 ? add_norm_f16_1 : dim <= 1024 ? add_norm_f16_2 : dim <= 1536 ? add_norm_f16_3 : add_norm_f16_5;
        say("add_norm", norm, time_of([&] { add<<<T, 128>>>(x, y, weights, weights, weights, 1e-5f, h, dim); }));
        auto warp = dim <= 512 ? warp_norm<f16, 2> : dim <= 768 ? warp_norm<f16, 3> : dim <= 1280 ? warp_norm<f16, 5> : warp_norm<f16, 10>;
        say("add_norm, a warp a row", norm, time_of([&] { warp<<<T / 4, 128>>>(x, y, weights, weights, weights, 1e-5f, h, dim, T); }));
        say("bias_gelu", gelu, time_of([&] { bias_gelu_f16<<<T, 128>>>(wide, weights, width); }));
        say("bias_rotary", rotary, time_of([&] { bias_rotary_f16<<<T, 128>>>(wide, weights, cosines, cosines, positions, 0.25f, dim, half); }));
        for (void* each : {(void*)x, (void*)y, (void*)h, (void*)wide, (void*)weights, (void*)cosines, (void*)positions}) CHECK(cudaFree(each));
    }
}

static void attention_speed() {
    printf("\n## Attention, f16 (4 L² head_dim FLOP for each head of a sequence)\n");
    const int T = 65536;
    using Kernel = void (*)(f16*, const f16*, const float*, const Tile*, int);
    struct Way {
        const char* name;
        int head, width;
        Kernel kernel;
    };
    const Way ways[] = {
        {"head 16", 16, 16, attention_f16_16},       {"head 16, 4 blocks", 16, 16, attention_f16_16_b4},
        {"head 24", 24, 32, attention_f16_24},       {"head 24, 4 blocks", 24, 32, attention_f16_24_b4},
        {"head 32", 32, 32, attention_f16_32},       {"head 32, 4 blocks", 32, 32, attention_f16_32_b4},
        {"head 64", 64, 64, attention_f16_64},       {"head 64, 3 blocks", 64, 64, attention_f16_64_b3},
        {"head 64, 4 blocks", 64, 64, attention_f16_64_b4}, {"head 64, 5 blocks", 64, 64, attention_f16_64_b5},
        {"head 128", 128, 128, attention_f16_128},
    };
    for (const Way& way : ways) {
        int heads = 20, dim = heads * way.head;
        f16* qkv = reserve<f16>(size_t(T) * 3 * dim);
        f16* out = reserve<f16>(size_t(T) * dim);
        float* bias = reserve<float>(3 * dim);
        int shared = 2 * 4 * 64 * (way.width + 8);
        CHECK(cudaFuncSetAttribute(way.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
        cudaFuncAttributes about;
        CHECK(cudaFuncGetAttributes(&about, way.kernel));
        int blocks = 0;
        CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, way.kernel, 128, shared));
        printf("%-20s %3d registers, %3zu bytes spilled, %d blocks:", way.name, about.numRegs, about.localSizeBytes, blocks);
        for (int L : {32, 128, 302, 1024, 8192}) {
            std::vector<int> all;
            for (int start = 0; start + L <= T; start += L) {
                for (int first = 0; first < L; first += 64) all.insert(all.end(), {start, L, first, 0});
            }
            Tile* tiles = (Tile*)upload(all);
            dim3 grid(unsigned(all.size() / 4), heads);
            double ms = time_of([&] { way.kernel<<<grid, 128, shared>>>(out, qkv, bias, tiles, dim); }, 9);
            double flop = 4.0 * L * L * way.head * heads * (T / L);
            printf("  L %d: %.3f ms, %.0f TFLOP/s", L, ms, flop / ms / 1e9);
            CHECK(cudaFree(tiles));
        }
        printf("\n");
        CHECK(cudaFree(qkv));
        CHECK(cudaFree(out));
        CHECK(cudaFree(bias));
    }
}

struct Gemm {
    int rows, inputs, outputs;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    Gemm(int rows, int inputs, int outputs, cublasComputeType_t compute = CUBLAS_COMPUTE_32F, cudaDataType type = CUDA_R_16F)
        : rows(rows), inputs(inputs), outputs(outputs) {
        CHECK(cublasLtMatmulDescCreate(&desc, compute, CUDA_R_32F));
        int transposed = 1;
        CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 4));
        CHECK(cublasLtMatrixLayoutCreate(&w, type, inputs, outputs, inputs));
        CHECK(cublasLtMatrixLayoutCreate(&x, type, inputs, rows, inputs));
        CHECK(cublasLtMatrixLayoutCreate(&y, type, outputs, rows, outputs));
    }
    ~Gemm() {
        cublasLtMatmulDescDestroy(desc);
        for (auto each : {w, x, y}) cublasLtMatrixLayoutDestroy(each);
    }
    std::vector<cublasLtMatmulAlgo_t> offered(cublasLtHandle_t lt, size_t workspace = 0) const {
        cublasLtMatmulPreference_t preference;
        CHECK(cublasLtMatmulPreferenceCreate(&preference));
        CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, 8));
        uint32_t reductions = 0;
        CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, 4));
        cublasLtMatmulHeuristicResult_t found[32];
        int count = 0;
        cublasLtMatmulAlgoGetHeuristic(lt, desc, w, x, y, y, preference, 32, found, &count);
        cublasLtMatmulPreferenceDestroy(preference);
        std::vector<cublasLtMatmulAlgo_t> all;
        for (int i = 0; i < count; ++i) {
            int split = 1, scheme = 0;
            size_t written;
            cublasLtMatmulAlgoConfigGetAttribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, 4, &written);
            cublasLtMatmulAlgoConfigGetAttribute(&found[i].algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, 4, &written);
            if (found[i].state == 0 && found[i].workspaceSize == 0 && split <= 1 && scheme == 0) all.push_back(found[i].algo);
        }
        return all;
    }
    int run(cublasLtHandle_t lt, const cublasLtMatmulAlgo_t& algo, const void* weights, const void* from, void* to) const {
        float one = 1, zero = 0;
        return cublasLtMatmul(lt, desc, &one, weights, w, from, x, &zero, to, y, to, y, &algo, nullptr, 0, 0);
    }
};

static std::string about(const cublasLtMatmulAlgo_t& algo) {
    char text[200];
    int id = -1, tile = -1, stages = -1, swizzle = -1, option = -1;
    uint16_t inner = 0, cluster = 0;
    size_t written;
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_ID, &id, 4, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, 4, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_STAGES_ID, &stages, 4, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, &swizzle, 4, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, &option, 4, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, &inner, 2, &written);
    cublasLtMatmulAlgoConfigGetAttribute(&algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, &cluster, 2, &written);
    snprintf(text, sizeof text, "id %d tile %d stages %d swizzle %d option %d inner %d cluster %d", id, tile, stages, swizzle, option, inner, cluster);
    return text;
}

static const int ROW_COUNTS[] = {256, 1024, 2112, 4096, 4224, 8448, 16384, 16896};
constexpr int MOST = 16896;

static void products(cublasLtHandle_t lt) {
    printf("\n## Products, f16 in and out, f32 sums: algorithms offered for %d rows, and the same ones at other row counts\n", MOST);
    printf("p+: a row has the same bits at every place; f+: the bits of the first algorithm; n-: other bits than with %d rows\n", MOST);
    for (const Model& model : MODELS) {
        int dim = model.dim;
        const int shapes[4][2] = {{dim, 3 * dim}, {dim, dim}, {dim, 4 * dim}, {4 * dim, dim}};
        for (auto& shape : shapes) {
            int in = shape[0], out = shape[1];
            uint16_t* w = reserve<uint16_t>(size_t(in) * out, 0.1f);
            uint16_t* x = reserve<uint16_t>(size_t(MOST) * in);
            uint16_t* y = reserve<uint16_t>(size_t(MOST) * out);
            // Row r equals row r mod 257, so that each content is at many positions.
            for (int r = 257; r < MOST; r += 257) {
                int count = std::min(257, MOST - r);
                CHECK(cudaMemcpyAsync(x + size_t(r) * in, x, size_t(count) * in * 2, cudaMemcpyDeviceToDevice));
            }
            std::vector<uint16_t> all(size_t(MOST) * out), few(size_t(MOST) * out), first;
            Gemm full(MOST, in, out);
            auto offered = full.offered(lt);
            printf("%s [%d, %d]: %zu offered without workspace\n", model.name, out, in, offered.size());
            int shown = 0;
            for (auto& algo : offered) {
                if (++shown > (model.dim == 1280 || model.dim == 320 ? 8 : 3)) break;
                if (full.run(lt, algo, w, x, y) != 0) continue;
                CHECK(cudaMemcpy(all.data(), y, all.size() * 2, cudaMemcpyDeviceToHost));
                bool same = true;
                for (int r = 257; r < MOST && same; ++r) same = !memcmp(&all[size_t(r) * out], &all[size_t(r % 257) * out], out * 2);
                if (first.empty()) first.assign(all.begin(), all.begin() + size_t(257) * out);
                bool as_first = !memcmp(first.data(), all.data(), size_t(257) * out * 2);
                printf("  %-62s %s %s", about(algo).c_str(), same ? "p+" : "p-", as_first ? "f+" : "f-");
                for (int count : ROW_COUNTS) {
                    Gemm part(count, in, out);
                    CHECK(cudaMemset(y, 0xff, size_t(count) * out * 2));
                    int status = part.run(lt, algo, w, x, y);
                    if (status != 0) {
                        printf("  %d: status %d", count, status);
                        continue;
                    }
                    size_t compared = size_t(std::min(count, 514)) * out * 2;
                    CHECK(cudaMemcpy(few.data(), y, compared, cudaMemcpyDeviceToHost));
                    bool equal = !memcmp(few.data(), all.data(), compared);
                    double ms = time_of([&] { part.run(lt, algo, w, x, y); }, 5);
                    printf("  %d: %s%.0f", count, equal ? "" : "n-", 2.0 * count * in * out / ms / 1e9);
                }
                printf(" TFLOP/s\n");
            }
            // The library's first choice for each row count, for comparison.
            printf("  first offered by row count:");
            for (int count : ROW_COUNTS) {
                Gemm part(count, in, out);
                auto best = part.offered(lt, 0);
                if (best.empty() || part.run(lt, best[0], w, x, y) != 0) continue;
                double ms = time_of([&] { part.run(lt, best[0], w, x, y); }, 5);
                printf("  %d: %.0f", count, 2.0 * count * in * out / ms / 1e9);
            }
            printf("\n");
            fflush(stdout);
            CHECK(cudaFree(w));
            CHECK(cudaFree(x));
            CHECK(cudaFree(y));
        }
    }
}

// fc1, GELU and fc2 over 33,792 rows, in slabs of several sizes: measures what is gained by keeping the
// wide layer in the second-level cache.
static void chain(cublasLtHandle_t lt) {
    const int T = 33792;
    printf("\n## fc1, GELU, fc2 over %d rows by slab: ms (and TFLOP/s)\n", T);
    for (const Model& model : MODELS) {
        int dim = model.dim, width = 4 * dim;
        f16* w1 = reserve<f16>(size_t(dim) * width, 0.1f);
        f16* w2 = reserve<f16>(size_t(dim) * width, 0.1f);
        f16* x = reserve<f16>(size_t(T) * dim);
        f16* u = reserve<f16>(size_t(T) * width);
        f16* y = reserve<f16>(size_t(T) * dim);
        float* bias = reserve<float>(width);
        printf("%-5s", model.name);
        for (int slab : {1056, 2112, 4224, 8448, 16896}) {
            Gemm one(slab, dim, width), two(slab, width, dim);
            auto first = one.offered(lt), second = two.offered(lt);
            if (first.empty() || second.empty()) continue;
            double ms = time_of([&] {
                for (int at = 0; at < T; at += slab) {
                    one.run(lt, first[0], w1, x + size_t(at) * dim, u + size_t(at) * width);
                    bias_gelu_f16<<<slab, 128>>>(u + size_t(at) * width, bias, width);
                    two.run(lt, second[0], w2, u + size_t(at) * width, y + size_t(at) * dim);
                }
            }, 7);
            double reused = time_of([&] {
                for (int at = 0; at < T; at += slab) {
                    one.run(lt, first[0], w1, x + size_t(at) * dim, u);
                    bias_gelu_f16<<<slab, 128>>>(u, bias, width);
                    two.run(lt, second[0], w2, u, y + size_t(at) * dim);
                }
            }, 7);
            printf("  %d: %.2f, %.2f with one buffer (%.0f)", slab, ms, reused, 16.0 * T * dim * dim / reused / 1e9);
        }
        printf("\n");
        fflush(stdout);
        for (void* each : {(void*)w1, (void*)w2, (void*)x, (void*)u, (void*)y, (void*)bias}) CHECK(cudaFree(each));
    }
}

// The program's own products by tiles of so many rows, with the threads and the shared memory of a block.
template <class Gelu, class Residual, class Rotary> struct OwnKernels {
    int rows, threads, shared;
    Gelu gelu;
    Residual residual;
    Rotary rotary;
    OwnKernels(int rows, int threads, int shared, Gelu gelu, Residual residual, Rotary rotary)
        : rows(rows), threads(threads), shared(shared), gelu(gelu), residual(residual), rotary(rotary) {}
};
template <class A, class B, class C>
static void time_own(const Model& model, const char* type, const OwnKernels<A, B, C>& kernels) {
    const int T = 16896;
    int dim = model.dim, width = 4 * dim, head = dim / model.heads;
    using X = std::conditional_t<std::is_same_v<A, decltype(&product_f32_gelu_128)>, float, f16>;
    X* x = reserve<X>(size_t(T) * width);
    X* w = reserve<X>(size_t(dim) * width, 0.1f);
    X* y = reserve<X>(size_t(T) * width);
    float* stream = reserve<float>(size_t(T) * dim);
    float* bias = reserve<float>(width);
    float* angles = reserve<float>(1024 * 64);
    std::vector<int> at(T);
    for (int i = 0; i < T; ++i) at[i] = i % 300;
    int* positions = upload(at);
    auto allow = [&](auto kernel) {
        CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kernels.shared));
    };
    allow(kernels.gelu);
    allow(kernels.residual);
    allow(kernels.rotary);
    auto say = [&](const char* name, int outputs, int inputs, int used, auto launch) {
        int across = (outputs + used - 1) / used, down = (T + kernels.rows - 1) / kernels.rows;
        double ms = time_of([&] { launch(down * across); });
        printf("%-5s %-4s %-10s tiles of %3d: %8.3f ms %7.0f TFLOP/s\n", model.name, type, name,
               kernels.rows, ms, 2.0 * T * outputs * inputs / ms / 1e9);
    };
    say("qkv", 3 * dim, dim, 128 / head * head, [&](int blocks) {
        kernels.rotary<<<blocks, kernels.threads, kernels.shared>>>(
            y, x, w, bias, T, 3 * dim, dim, angles, angles, positions, 0.25f, head / 2);
    });
    say("out", dim, dim, 128, [&](int blocks) {
        kernels.residual<<<blocks, kernels.threads, kernels.shared>>>(stream, x, w, bias, T, dim, dim);
    });
    say("fc1", width, dim, 128, [&](int blocks) {
        kernels.gelu<<<blocks, kernels.threads, kernels.shared>>>(y, x, w, bias, T, width, dim);
    });
    say("fc2", dim, width, 128, [&](int blocks) {
        kernels.residual<<<blocks, kernels.threads, kernels.shared>>>(stream, x, w, bias, T, dim, width);
    });
    for (void* each : {(void*)x, (void*)w, (void*)y, (void*)stream, (void*)bias, (void*)angles, (void*)positions}) CHECK(cudaFree(each));
}
static void own() {
    printf("\n## Own products with what follows them, 16896 rows\n");
#define OWN(type, rows, threads, shared)                                                       \
    time_own(model, #type, OwnKernels{rows, threads, shared, &product_##type##_gelu_##rows,    \
                                      &product_##type##_residual_##rows,                       \
                                      &product_##type##_rotary_##rows})
    for (const Model& model : MODELS) {
        OWN(f16, 256, 256, 98304);
        OWN(f16, 128, 128, 49152);
        OWN(f16, 32, 128, 40960);
        OWN(f32, 128, 128, 40960);
        fflush(stdout);
    }
}

int main(int count, char** words) {
    cudaDeviceProp about;
    CHECK(cudaGetDeviceProperties(&about, 0));
    printf("%s, %d multiprocessors, L2 %d MB, cuBLASLt %zu\n", about.name, about.multiProcessorCount, about.l2CacheSize >> 20, cublasLtGetVersion());
    cublasLtHandle_t lt;
    CHECK(cublasLtCreate(&lt));
    for (int i = 1; i < count; ++i) {
        std::string what = words[i];
        if (what == "rows") rows();
        if (what == "attention") attention_speed();
        if (what == "products") products(lt);
        if (what == "chain") chain(lt);
        if (what == "own") own();
        fflush(stdout);
    }
    return 0;
}
