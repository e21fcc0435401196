// The driver's functions for modules and launches.
#include "module.h"

#include <cstdlib>
#include <cstring>

using stand_in::current_card;
using stand_in::enqueue;
using stand_in::fail;
using stand_in::Kernel;
using stand_in::settings;

struct CUfunc_st {
    const Kernel* kernel;
    CUcontext context;
    // Dynamic shared memory allowed at launch.
    int shared = 48 << 10;
};

struct CUmod_st {
    CUcontext context;
    std::vector<std::unique_ptr<CUfunc_st>> functions;
};

// Largest shared memory of a block that a GPU allows a function.
static int most_shared(int card) {
    switch (stand_in::capability(card)) {
    case 75: return 64 << 10;
    case 80: return 163 << 10;
    case 86:
    case 89: return 99 << 10;
    default: return 227 << 10;
    }
}

// Whether a GPU of this compute capability runs the machine code.
static bool runs_code(const unsigned char* elf, int capability) {
    uint32_t flags;
    std::memcpy(&flags, elf + 48, sizeof flags);
    // Where ptxas writes the number: since 12.8 in the second byte, with another version of the ABI.
    int made_for = elf[8] >= 8 ? flags >> 8 & 0xff : flags & 0xff;
    return made_for / 10 == capability / 10 && made_for <= capability;
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    DRIVER_CALL
    CUcontext context;
    cuCtxGetCurrent(&context);
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    // Machine code for this kind of GPU, or PTX: for both, the host's kernels run.
    static const unsigned char elf[] = {0x7f, 'E', 'L', 'F'};
    bool is_code = std::memcmp(image, elf, sizeof elf) == 0;
    if (!is_code && std::strstr(static_cast<const char*>(image), "\n.version ") == nullptr)
        return CUDA_ERROR_INVALID_IMAGE;
    int capability = stand_in::capability(context->card);
    const char* target = is_code ? nullptr : std::strstr(static_cast<const char*>(image), "\n.target sm_");
    bool runs = is_code ? runs_code(static_cast<const unsigned char*>(image), capability)
                        : target != nullptr && std::atoi(target + 12) <= capability;
    if (!runs) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *module = new CUmod_st{context, {}};
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    DRIVER_CALL
    // No queued work may still use its functions.
    cuCtxSynchronize();
    delete module;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    DRIVER_CALL
    bool is_turing = stand_in::capability(module->context->card) < 80;
    for (const Kernel& kernel : is_turing ? stand_in::turing_kernels() : stand_in::kernels()) {
        if (std::strcmp(kernel.name, name) != 0) continue;
        module->functions.push_back(
            std::make_unique<CUfunc_st>(CUfunc_st{&kernel, module->context}));
        *function = module->functions.back().get();
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    DRIVER_CALL
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        fail("cuFuncSetAttribute: attribute %d is not provided", attribute);
    }
    if (value > most_shared(function->context->card)) return CUDA_ERROR_INVALID_VALUE;
    function->shared = value;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned threads,
                        unsigned threads_y, unsigned threads_z, unsigned shared, CUstream stream,
                        void** arguments, void** extra) {
    DRIVER_CALL
    const Kernel& kernel = *function->kernel;
    if (x == 0 || y == 0 || z == 0 || x > 0x7fffffff || y > 65535 || z > 65535)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads == 0 || threads > kernel.threads) return CUDA_ERROR_INVALID_VALUE;
    if (static_cast<int>(shared) > function->shared) return CUDA_ERROR_INVALID_VALUE;
    if (z != 1 || threads_y != 1 || threads_z != 1 || extra != nullptr) {
        fail("cuLaunchKernel: %s: only grids of two dimensions and blocks of one", kernel.name);
    }
    int card = current_card();
    if (function->context->card != card) {
        fail("cuLaunchKernel: %s is a function of card %d, and the thread's context of card %d",
             kernel.name, function->context->card, card);
    }
    bool is_product = std::strncmp(kernel.name, "product_", 8) == 0;
    const std::string& products = settings().products;
    if (is_product && products == "none") return CUDA_ERROR_NOT_SUPPORTED;
    static unsigned long number = 0;
    bool is_other = is_product && products == "restless" && stand_in::is_odd(number++);
    // The first argument of a product is its result.
    stand_in::Address result = is_other ? *static_cast<stand_in::Address*>(arguments[0]) : 0;
    auto body = kernel.prepare(arguments, card);
    enqueue(__func__, stream, [=, &kernel] {
        stand_in::run_grid(kernel.name, x, y, threads, shared, body());
        if (is_other) *stand_in::reach(kernel.name, result, 1, card) ^= 1;
    });
    return CUDA_SUCCESS;
}
