// The stand-in notices misuse: each misuse of the driver is made in a separate process, which must end
// with the expected message.
#include "cuda.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

static void ok(CUresult result) {
    if (result != CUDA_SUCCESS) {
        std::fprintf(stderr, "result %d\n", result);
        std::exit(1);
    }
}

struct Card {
    CUcontext context;
    CUstream stream, other;

    explicit Card(int number) {
        ok(cuInit(0));
        CUdevice device;
        ok(cuDeviceGet(&device, number));
        ok(cuDevicePrimaryCtxRetain(&context, device));
        ok(cuCtxSetCurrent(context));
        ok(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        ok(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    }

    CUdeviceptr memory(size_t bytes) const {
        CUdeviceptr at;
        ok(cuMemAllocAsync(&at, bytes, stream));
        return at;
    }
};

static void expect(bool is_right, const char* what) {
    if (!is_right) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::exit(1);
    }
}

static void ends_with(const char* words, const std::function<void()>& misuse) {
    int ends[2];
    expect(pipe(ends) == 0, "a pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char part[256];
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) said.append(part, n);
    int status;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || said.find(words) == std::string::npos) {
        std::fprintf(stderr, "expected: %s\nfound: %s\n", words, said.c_str());
        std::exit(1);
    }
}

// Work that nobody waited for has not been done.
static void late_work() {
    Card card(0);
    CUdeviceptr at = card.memory(4);
    void* pinned;
    ok(cuMemHostAlloc(&pinned, 4, 0));
    unsigned char* bytes = static_cast<unsigned char*>(pinned);
    ok(cuMemsetD8Async(at, 7, 4, card.stream));
    ok(cuMemcpyDtoHAsync(pinned, at, 4, card.stream));
    expect(bytes[0] == 0xff, "a copy is late");
    ok(cuStreamSynchronize(card.other));
    expect(bytes[0] == 0xff, "another stream's work is not waited for");
    CUevent event;
    ok(cuEventCreate(&event, 0));
    ok(cuEventRecord(event, card.stream));
    ok(cuStreamWaitEvent(card.other, event, 0));
    ok(cuStreamSynchronize(card.other));
    expect(bytes[0] == 7, "what an event stands for is waited for");
}

static void launch(CUdeviceptr from, int width) {
    Card card(0);
    // For 8.0, which 9.0 does not run, and for 9.0.
    unsigned char image[64] = {0x7f, 'E', 'L', 'F'};
    image[48] = 80;
    CUmodule module;
    CUfunction function;
    expect(cuModuleLoadData(&module, image) == CUDA_ERROR_NO_BINARY_FOR_GPU, "code for another GPU");
    image[48] = 90;
    ok(cuModuleLoadData(&module, image));
    expect(cuModuleGetFunction(&function, module, "none") == CUDA_ERROR_NOT_FOUND, "no kernel");
    ok(cuModuleGetFunction(&function, module, "bias_gelu_f32"));
    CUdeviceptr row = card.memory(4 * 16);
    if (from == 0) from = card.memory(4 * 16);
    void* arguments[] = {&row, &from, &width};
    auto start = [&](unsigned blocks, unsigned threads, unsigned shared) {
        return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, card.stream, arguments,
                              nullptr);
    };
    expect(start(0, 128, 0) == CUDA_ERROR_INVALID_VALUE, "a grid of nothing");
    expect(start(1, 256, 0) == CUDA_ERROR_INVALID_VALUE, "more threads than declared");
    expect(start(1, 128, 50000) == CUDA_ERROR_INVALID_VALUE, "more shared memory than reserved");
    ok(start(1, 128, 0));
    ok(cuStreamSynchronize(card.stream));
}

int main() {
    late_work();
    launch(0, 16);
    ends_with("kernel bias_gelu_f32: block 0,0, thread ", [] { launch(0, 4096); });
    ends_with("there is no memory at 0x1000", [] { launch(0x1000, 16); });
    ends_with("is not an address of its numbers", [] { launch(Card(0).memory(4) + 2, 16); });
    ends_with("5 bytes were asked for at byte 0 of an allocation of 4", [] {
        Card card(0);
        cuMemsetD8Async(card.memory(4), 0, 5, card.stream);
    });
    ends_with("memory of card 0 was given to card 1", [] {
        CUdeviceptr at = Card(0).memory(4);
        Card card(1);
        cuMemsetD8Async(at, 0, 4, card.stream);
    });
    ends_with("the stream is of card 0, and the thread's context of card 1", [] {
        Card first(0), second(1);
        cuStreamSynchronize(first.stream);
    });
    ends_with("there is no memory at ", [] {
        Card card(0);
        CUdeviceptr at = card.memory(4);
        ok(cuMemFreeAsync(at, card.stream));
        ok(cuStreamSynchronize(card.stream));
        cuMemsetD8Async(at, 0, 4, card.stream);
    });
    ends_with("there is no memory at ", [] {
        // Freed on one stream while another still uses it.
        Card card(0);
        CUdeviceptr at = card.memory(4);
        ok(cuMemsetD8Async(at, 0, 4, card.other));
        ok(cuMemFreeAsync(at, card.stream));
        ok(cuStreamSynchronize(card.stream));
        cuStreamSynchronize(card.other);
    });
    ends_with("pinned memory went before it was written", [] {
        Card card(0);
        void* pinned;
        ok(cuMemHostAlloc(&pinned, 4, 0));
        ok(cuMemcpyDtoHAsync(pinned, card.memory(4), 4, card.stream));
        ok(cuMemFreeHost(pinned));
        cuStreamSynchronize(card.stream);
    });
    ends_with("is an address of a card, where one of the host belongs", [] {
        Card card(0);
        CUdeviceptr at = card.memory(4);
        cuMemcpyHtoDAsync(at, reinterpret_cast<const void*>(at), 4, card.stream);
    });
    ends_with("", [] { *reinterpret_cast<volatile char*>(Card(0).memory(4)) = 0; });
    std::puts("the stand-in sees what it should");
}
