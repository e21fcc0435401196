// Runs one kernel on a GPU, with the command line and the streams of host.cpp. Built by
// `nvcc -std=c++17 -O3 -arch=native -o card tests/cuda/kernels/card.cu`; the tests start it instead of
// host.cpp's program if ESM_EMBED_KERNEL_LAUNCHER names it. For a GPU of compute capability 7.5 it is
// built with -DTURING, and ESM_EMBED_KERNEL_LAUNCHER_TURING names it.
#include "../../../src/cuda/kernels/attention.cu"
#include "../../../src/cuda/kernels/matmul.cu"
#include "../../../src/cuda/kernels/rows.cu"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

static std::vector<unsigned char*> buffers;
static std::vector<uint64_t> sizes;
static std::vector<double> numbers;
static dim3 grid;
static int shared_bytes;

[[noreturn]] static void fail(const char* what, const char* why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(1);
}
static void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) fail(what, cudaGetErrorString(status));
}

template <class T> static T* buffer(size_t i) {
    return i < buffers.size() ? reinterpret_cast<T*>(buffers[i]) : nullptr;
}
static int whole(size_t i) { return static_cast<int>(numbers.at(i)); }
static float single(size_t i) { return static_cast<float>(numbers.at(i)); }

template <class Kernel, class... Arguments>
static void launch_with(int threads, Kernel kernel, Arguments... arguments) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
          "reserving shared memory");
    kernel<<<grid, threads, shared_bytes>>>(arguments...);
}
template <class Kernel, class... Arguments>
static void launch(Kernel kernel, Arguments... arguments) {
    launch_with(128, kernel, arguments...);
}

#define NORM(name, In, Out, at)                                                                 \
    {#name, [] {                                                                                \
         launch(name, buffer<float>(0), buffer<In>(1), buffer<float>(2), buffer<float>(3),      \
                buffer<float>(4), single(1), buffer<Out>(at), whole(0));                        \
     }}
#define ROTARY(type)                                                                            \
    {"bias_rotary_" #type, [] {                                                                 \
         launch(bias_rotary_##type, buffer<type>(0), buffer<float>(1), buffer<float>(2),        \
                buffer<float>(3), buffer<int>(4), single(0), whole(1), whole(2));               \
     }}
#define GELU(type)                                                                              \
    {"bias_gelu_" #type, [] {                                                                   \
         launch(bias_gelu_##type, buffer<type>(0), buffer<float>(1), whole(0));                 \
     }}
#define TAKE(type)                                                                              \
    {"take_rows_" #type, [] {                                                                   \
         launch(take_rows_##type, buffer<type>(0), buffer<float>(1), buffer<int>(2), whole(0)); \
     }}
#define ATTEND(type, head)                                                                      \
    {"attention_" #type "_" #head, [] {                                                         \
         launch(attention_##type##_##head, buffer<type>(0), buffer<type>(1), buffer<float>(2),  \
                buffer<Tile>(3), whole(0));                                                     \
     }}
#define PRODUCT_OF(type, rows, threads)                                                         \
    {"product_" #type "_gelu_" #rows, [] {                                                      \
         launch_with(threads, product_##type##_gelu_##rows, buffer<type>(0), buffer<type>(1),   \
                     buffer<type>(2), buffer<float>(3), whole(0), whole(1), whole(2));          \
     }},                                                                                        \
    {"product_" #type "_residual_" #rows, [] {                                                  \
         launch_with(threads, product_##type##_residual_##rows, buffer<float>(0),               \
                     buffer<type>(1), buffer<type>(2), buffer<float>(3), whole(0), whole(1),    \
                     whole(2));                                                                 \
     }},                                                                                        \
    {"product_" #type "_rotary_" #rows, [] {                                                    \
         launch_with(threads, product_##type##_rotary_##rows, buffer<type>(0), buffer<type>(1), \
                     buffer<type>(2), buffer<float>(3), whole(0), whole(1), whole(2),           \
                     buffer<float>(4), buffer<float>(5), buffer<int>(6), single(3), whole(4));  \
     }}

static const std::map<std::string, void (*)()> kernels = {
    PRODUCT_OF(f16, 128, 128),
    PRODUCT_OF(f16, 32, 128),
    PRODUCT_OF(f32, 128, 128),
    PRODUCT_OF(f32, 32, 128),
    {"embed", [] {
         launch(embed, buffer<float>(0), buffer<float>(1), buffer<float>(2),
                buffer<unsigned short>(3), buffer<float>(4), buffer<int>(5), whole(0));
     }},
    {"pool", [] {
         launch(pool, buffer<float>(0), buffer<float>(1), buffer<float>(2), buffer<int>(3),
                buffer<float>(4), buffer<int>(5), whole(0));
     }},
    NORM(add_norm_f16_1, f16, f16, 5),
    NORM(add_norm_f32_1, f32, f32, 5),
    NORM(add_norm_f32_10, f32, f32, 5),
    NORM(final_norm_f16_1, f16, f32, 0),
    NORM(final_norm_f32_1, f32, f32, 0),
    NORM(final_norm_f32_10, f32, f32, 0),
    ROTARY(f16),
    ROTARY(f32),
    GELU(f16),
    GELU(f32),
    TAKE(f32),
    TAKE(f16),
    ATTEND(f16, 16),
    ATTEND(f16, 24),
    ATTEND(f16, 32),
    ATTEND(f16, 64),
    ATTEND(f16, 128),
    ATTEND(f32, 16),
    ATTEND(f32, 24),
    ATTEND(f32, 32),
    ATTEND(f32, 64),
    ATTEND(f32, 128),
#ifndef TURING
    PRODUCT_OF(f16, 256, 256),
    PRODUCT_OF(bf16, 256, 256),
    PRODUCT_OF(bf16, 128, 128),
    PRODUCT_OF(bf16, 32, 128),
    NORM(add_norm_bf16_1, bf16, bf16, 5),
    NORM(add_norm_bf16_3, bf16, bf16, 5),
    NORM(final_norm_bf16_1, bf16, f32, 0),
    NORM(final_norm_bf16_3, bf16, f32, 0),
    ROTARY(bf16),
    GELU(bf16),
    ATTEND(bf16, 16),
    ATTEND(bf16, 24),
    ATTEND(bf16, 32),
    ATTEND(bf16, 64),
    ATTEND(bf16, 128),
#endif
};

// NAME GRID_X GRID_Y SHARED NUMBER…
int main(int count, char** words) {
    if (count < 5 || kernels.count(words[1]) == 0) fail("start", "no such kernel");
    grid = dim3(std::atoi(words[2]), std::atoi(words[3]));
    shared_bytes = std::atoi(words[4]);
    for (int i = 5; i < count; ++i) numbers.push_back(std::atof(words[i]));
    for (uint64_t size; std::fread(&size, sizeof size, 1, stdin) == 1;) {
        std::vector<unsigned char> content(size);
        if (std::fread(content.data(), 1, size, stdin) != size) fail("input", "ends early");
        unsigned char* at = nullptr;
        if (size > 0) {
            check(cudaMalloc(&at, size), "taking memory");
            check(cudaMemcpy(at, content.data(), size, cudaMemcpyHostToDevice), "copying");
        }
        buffers.push_back(at);
        sizes.push_back(size);
    }
    kernels.at(words[1])();
    check(cudaGetLastError(), "starting the kernel");
    check(cudaDeviceSynchronize(), "running the kernel");
    for (size_t i = 0; i < buffers.size(); ++i) {
        std::vector<unsigned char> content(sizes[i]);
        if (sizes[i] > 0) {
            check(cudaMemcpy(content.data(), buffers[i], sizes[i], cudaMemcpyDeviceToHost), "copying");
        }
        std::fwrite(&sizes[i], sizeof sizes[i], 1, stdout);
        std::fwrite(content.data(), 1, content.size(), stdout);
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}
