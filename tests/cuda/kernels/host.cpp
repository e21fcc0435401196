// Runs one kernel on the CPU. The command line gives its name, the grid and its numbers. Standard input
// gives the buffers, each as its size in 8 bytes and its content; an empty one is a null pointer.
// Standard output receives all buffers after the kernel. With -DTURING they are the kernels of GPUs of
// compute capability 7.5.
#include "../../../src/cuda/kernels/attention.cu"
#include "../../../src/cuda/kernels/matmul.cu"
#include "../../../src/cuda/kernels/rows.cu"

#include <map>
#include <string>

static std::vector<std::vector<unsigned char>> buffers;
static std::vector<double> numbers;

template <class T> static T* buffer(size_t i) {
    return i < buffers.size() && !buffers[i].empty() ? reinterpret_cast<T*>(buffers[i].data())
                                                     : nullptr;
}
static int whole(size_t i) { return static_cast<int>(numbers.at(i)); }
static float single(size_t i) { return static_cast<float>(numbers.at(i)); }

static void run_embed() {
    embed(buffer<float>(0), buffer<float>(1), buffer<float>(2), buffer<unsigned short>(3),
          buffer<float>(4), buffer<int>(5), whole(0));
}
template <class In, class Out, int V> static void run_norm() {
    add_norm<In, Out, V>(buffer<float>(0), buffer<In>(1), buffer<float>(2), buffer<float>(3),
                         buffer<float>(4), single(1), buffer<Out>(5), whole(0));
}
// The norm whose result replaces x.
template <class In, int V> static void run_final() {
    add_norm<In, float, V>(buffer<float>(0), buffer<In>(1), buffer<float>(2), buffer<float>(3),
                           buffer<float>(4), single(1), buffer<float>(0), whole(0));
}
template <class T> static void run_rotary() {
    bias_rotary<T>(buffer<T>(0), buffer<float>(1), buffer<float>(2), buffer<float>(3),
                   buffer<int>(4), single(0), whole(1), whole(2));
}
template <class T> static void run_gelu() {
    bias_gelu<T>(buffer<T>(0), buffer<float>(1), whole(0));
}
template <class T, int V> static void run_qk_norm() {
    qk_norm<T, V>(buffer<T>(0), buffer<float>(1), buffer<float>(2), single(1), whole(0));
}
template <class T> static void run_swiglu() {
    swiglu<T>(buffer<T>(0), buffer<T>(1), whole(0));
}
static void run_pool() {
    pool(buffer<float>(0), buffer<float>(1), buffer<float>(2), buffer<int>(3), buffer<float>(4),
         buffer<int>(5), whole(0));
}
template <class Out> static void run_take() {
    take_rows<Out>(buffer<Out>(0), buffer<float>(1), buffer<int>(2), whole(0));
}
template <class T, int HEAD, int WIDTH> static void run_attention() {
    attention<T, HEAD, WIDTH>(buffer<T>(0), buffer<T>(1), buffer<float>(2), buffer<Tile>(3), whole(0));
}
template <int HEAD> static void run_exact() {
    attention_exact<HEAD>(buffer<float>(0), buffer<float>(1), buffer<float>(2), buffer<Tile>(3), whole(0));
}

// A kernel, with the threads of a block.
struct Kernel {
    void (*run)();
    int threads;
    Kernel(void (*run)(), int threads = 128) : run(run), threads(threads) {}
};

// Products: result or residual stream, x, weights, bias, cosines, sines, positions; rows, outputs, inputs,
// scale, half of a head.
#define PRODUCT_OF(type, rows, threads)                                                              \
    {"product_" #type "_gelu_" #rows, Kernel([] {                                                    \
         product_##type##_gelu_##rows(buffer<type>(0), buffer<type>(1), buffer<type>(2),             \
                                      buffer<float>(3), whole(0), whole(1), whole(2));               \
     }, threads)},                                                                                   \
    {"product_" #type "_residual_" #rows, Kernel([] {                                                \
         product_##type##_residual_##rows(buffer<float>(0), buffer<type>(1), buffer<type>(2),        \
                                          buffer<float>(3), whole(0), whole(1), whole(2));           \
     }, threads)},                                                                                   \
    {"product_" #type "_rotary_" #rows, Kernel([] {                                                  \
         product_##type##_rotary_##rows(buffer<type>(0), buffer<type>(1), buffer<type>(2),           \
                                        buffer<float>(3), whole(0), whole(1), whole(2),              \
                                        buffer<float>(4), buffer<float>(5), buffer<int>(6),          \
                                        single(3), whole(4));                                        \
     }, threads)}

static const std::map<std::string, Kernel> kernels = {
    PRODUCT_OF(f16, 128, 128),
    PRODUCT_OF(f16, 32, 128),
    PRODUCT_OF(f32, 128, 128),
    PRODUCT_OF(f32, 32, 128),
    {"embed", run_embed},
    {"add_norm_f16_1", run_norm<f16, f16, 1>},
    {"add_norm_f32_1", run_norm<f32, f32, 1>},
    {"add_norm_f32_10", run_norm<f32, f32, 10>},
    {"final_norm_f16_1", run_final<f16, 1>},
    {"final_norm_f32_1", run_final<f32, 1>},
    {"final_norm_f32_10", run_final<f32, 10>},
    {"bias_rotary_f16", run_rotary<f16>},
    {"bias_rotary_f32", run_rotary<f32>},
    {"bias_gelu_f16", run_gelu<f16>},
    {"bias_gelu_f32", run_gelu<f32>},
    {"qk_norm_f16_1", run_qk_norm<f16, 1>},
    {"qk_norm_f32_10", run_qk_norm<f32, 10>},
    {"swiglu_f16", run_swiglu<f16>},
    {"swiglu_f32", run_swiglu<f32>},
    {"pool", run_pool},
    {"take_rows_f32", run_take<f32>},
    {"take_rows_f16", run_take<f16>},
    {"attention_f16_16", run_attention<f16, 16, 16>},
    {"attention_f16_24", run_attention<f16, 24, 32>},
    {"attention_f16_32", run_attention<f16, 32, 32>},
    {"attention_f16_64", run_attention<f16, 64, 64>},
    {"attention_f16_128", run_attention<f16, 128, 128>},
    {"attention_f32_16", run_exact<16>},
    {"attention_f32_24", run_exact<24>},
    {"attention_f32_32", run_exact<32>},
    {"attention_f32_64", run_exact<64>},
    {"attention_f32_128", run_exact<128>},
#ifndef TURING
    PRODUCT_OF(f16, 256, 256),
    PRODUCT_OF(bf16, 256, 256),
    PRODUCT_OF(bf16, 128, 128),
    PRODUCT_OF(bf16, 32, 128),
    {"add_norm_bf16_1", run_norm<bf16, bf16, 1>},
    {"add_norm_bf16_3", run_norm<bf16, bf16, 3>},
    {"final_norm_bf16_1", run_final<bf16, 1>},
    {"final_norm_bf16_3", run_final<bf16, 3>},
    {"bias_rotary_bf16", run_rotary<bf16>},
    {"bias_gelu_bf16", run_gelu<bf16>},
    {"qk_norm_bf16_3", run_qk_norm<bf16, 3>},
    {"swiglu_bf16", run_swiglu<bf16>},
    {"attention_bf16_16", run_attention<bf16, 16, 16>},
    {"attention_bf16_24", run_attention<bf16, 24, 32>},
    {"attention_bf16_32", run_attention<bf16, 32, 32>},
    {"attention_bf16_64", run_attention<bf16, 64, 64>},
    {"attention_bf16_128", run_attention<bf16, 128, 128>},
#endif
};

// NAME GRID_X GRID_Y SHARED NUMBER…
int main(int count, char** words) {
    if (count < 5 || kernels.count(words[1]) == 0) host::fail("no such kernel");
    for (int i = 5; i < count; ++i) numbers.push_back(std::atof(words[i]));
    for (uint64_t size; std::fread(&size, sizeof size, 1, stdin) == 1;) {
        buffers.emplace_back(size);
        if (std::fread(buffers.back().data(), 1, size, stdin) != size) host::fail("input ends early");
    }
    const Kernel& kernel = kernels.at(words[1]);
    host::launch(std::atoi(words[2]), std::atoi(words[3]), kernel.threads, std::atoi(words[4]),
                 kernel.run);
    for (const std::vector<unsigned char>& buffer : buffers) {
        uint64_t size = buffer.size();
        std::fwrite(&size, sizeof size, 1, stdout);
        std::fwrite(buffer.data(), 1, size, stdout);
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}
