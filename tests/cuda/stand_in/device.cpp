// The driver's functions for GPUs and contexts.
#include "machine.h"

#include <cstring>

using stand_in::fail;
using stand_in::settings;

static bool is_started = false;
static thread_local CUcontext current = nullptr;

static CUctx_st& primary(int card) {
    static auto* all = new std::vector<CUctx_st>(64);
    return (*all)[card];
}

static bool is_card(CUdevice card) {
    return card >= 0 && card < static_cast<int>(settings().seen.size());
}

namespace stand_in {

int current_card() { return current == nullptr ? -1 : current->card; }

int capability(int card) {
    return settings().seen[card] < settings().old ? 70 : settings().capability;
}

} // namespace stand_in

CUresult cuInit(unsigned flags) {
    DRIVER_CALL
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (settings().seen.empty()) return CUDA_ERROR_NO_DEVICE;
    if (settings().seen.size() > 64) fail("there can be 64 cards, not more");
    is_started = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
    DRIVER_CALL
    *version = settings().driver;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    DRIVER_CALL
    if (!is_started) return CUDA_ERROR_NOT_INITIALIZED;
    *count = static_cast<int>(settings().seen.size());
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int number) {
    DRIVER_CALL
    if (!is_started) return CUDA_ERROR_NOT_INITIALIZED;
    if (!is_card(number)) return CUDA_ERROR_INVALID_DEVICE;
    *device = number;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice card) {
    DRIVER_CALL
    if (!is_card(card) || size < 1) return CUDA_ERROR_INVALID_VALUE;
    const std::vector<std::string>& names = settings().names;
    const std::string& full = names[settings().seen[card] % names.size()];
    std::strncpy(name, full.c_str(), size);
    name[size - 1] = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice card) {
    DRIVER_CALL
    if (!is_card(card)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = settings().memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice card) {
    DRIVER_CALL
    if (!is_card(card)) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = stand_in::capability(card) / 10;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = stand_in::capability(card) % 10;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = settings().pools; return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = settings().multiprocessors;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        *value = static_cast<int>(settings().cache);
        return CUDA_SUCCESS;
    default: fail("cuDeviceGetAttribute: attribute %d is not provided", attribute);
    }
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice card) {
    DRIVER_CALL
    if (!is_started) return CUDA_ERROR_NOT_INITIALIZED;
    if (!is_card(card)) return CUDA_ERROR_INVALID_DEVICE;
    *context = &primary(card);
    (*context)->card = card;
    ++(*context)->retained;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice card, unsigned flags) {
    DRIVER_CALL
    if (!is_card(card)) return CUDA_ERROR_INVALID_DEVICE;
    if (primary(card).retained > 0) return CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE;
    return (flags & ~CU_CTX_FLAGS_MASK) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice card) {
    DRIVER_CALL
    if (!is_card(card)) return CUDA_ERROR_INVALID_DEVICE;
    if (primary(card).retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    --primary(card).retained;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
    DRIVER_CALL
    if (context != nullptr && context->retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    current = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
    DRIVER_CALL
    if (!is_started) return CUDA_ERROR_NOT_INITIALIZED;
    *context = current;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
    DRIVER_CALL
    if (current == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    current->queue->run();
    for (CUstream stream : std::vector<CUstream>(current->streams)) stream->queue->run();
    return CUDA_SUCCESS;
}

// The driver's texts for the errors that the stand-in returns.
static const char* const words[][3] = {
    {"1", "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {"2", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {"3", "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {"100", "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {"101", "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {"209", "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {"201", "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {"400", "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {"500", "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {"600", "CUDA_ERROR_NOT_READY", "device not ready"},
    {"708", "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "primary context is active"},
    {"700", "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {"999", "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static CUresult word(CUresult error, int which, const char** text) {
    for (auto& entry : words) {
        if (std::to_string(error) == entry[0]) {
            *text = entry[which];
            return CUDA_SUCCESS;
        }
    }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char** text) { return word(error, 1, text); }

CUresult cuGetErrorString(CUresult error, const char** text) { return word(error, 2, text); }
