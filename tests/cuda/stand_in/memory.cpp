// The driver's functions for memory. An address of a GPU is the host's with a bit set that no address
// of a process has.
#include "machine.h"

#include <cstring>
#include <map>
#include <sys/mman.h>

using stand_in::Address;
using stand_in::check;
using stand_in::current_card;
using stand_in::enqueue;
using stand_in::fail;
using stand_in::reach;
using stand_in::settings;

static constexpr Address CARD = Address(1) << 47;
static constexpr size_t PAGE = 4096;
// Allocations begin at multiples of this; the rest of the last page is guarded.
static constexpr size_t ALIGN = 256;
// Unwritten memory: NaN in every number format.
static constexpr int UNWRITTEN = 0xff;
static constexpr int GUARD = 0xfd;

struct Allocation {
    size_t bytes;
    int card;
    unsigned char* pages;
    size_t paged;
};

// By address.
static std::map<Address, Allocation>& allocations() {
    static auto* all = new std::map<Address, Allocation>;
    return *all;
}
// Pinned memory of the host, by address.
static std::map<Address, size_t>& pinned() {
    static auto* all = new std::map<Address, size_t>;
    return *all;
}
static std::map<int, size_t>& used() {
    static auto* all = new std::map<int, size_t>;
    return *all;
}
static size_t pinned_bytes = 0;

static size_t up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

static std::map<Address, Allocation>::iterator find(Address at) {
    auto next = allocations().upper_bound(at);
    if (next == allocations().begin()) return allocations().end();
    --next;
    return at < next->first + next->second.bytes ? next : allocations().end();
}

static CUresult reserve(Address* at, size_t bytes, int card) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    size_t counted = up(bytes, 512);
    if (used()[card] + counted > settings().memory) return CUDA_ERROR_OUT_OF_MEMORY;
    size_t inside = up(up(bytes, ALIGN), PAGE), paged = inside + 2 * PAGE;
    void* got = mmap(nullptr, paged, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) fail("the host has no memory for %zu bytes of a card", bytes);
    auto* pages = static_cast<unsigned char*>(got);
    mprotect(pages, PAGE, PROT_NONE);
    mprotect(pages + PAGE + inside, PAGE, PROT_NONE);
    unsigned char* start = pages + PAGE + inside - up(bytes, ALIGN);
    std::memset(pages + PAGE, GUARD, inside);
    std::memset(start, UNWRITTEN, bytes);
    *at = reinterpret_cast<Address>(start) | CARD;
    allocations()[*at] = {bytes, card, pages, paged};
    used()[card] += counted;
    return CUDA_SUCCESS;
}

static void release(const char* function, Address at) {
    auto found = allocations().find(at);
    if (found == allocations().end()) fail("%s: no memory begins at %#lx", function, at);
    const Allocation& memory = found->second;
    auto* start = reinterpret_cast<unsigned char*>(at & ~CARD);
    auto is_guard = [](const unsigned char* from, const unsigned char* end) {
        for (; from != end; ++from) {
            if (*from != GUARD) return false;
        }
        return true;
    };
    if (!is_guard(memory.pages + PAGE, start)) {
        fail("something was written before an allocation of %zu bytes", memory.bytes);
    }
    if (!is_guard(start + memory.bytes, memory.pages + memory.paged - PAGE)) {
        fail("something was written after an allocation of %zu bytes", memory.bytes);
    }
    // The pages are released, their addresses stay reserved.
    if (mmap(memory.pages, memory.paged, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
        fail("%s: the host cannot take memory back", function);
    }
    used()[memory.card] -= up(memory.bytes, 512);
    allocations().erase(found);
}

// Whether these bytes of the host are pinned.
static bool is_pinned(Address at, size_t bytes) {
    auto next = pinned().upper_bound(at);
    if (next == pinned().begin()) return false;
    --next;
    return at >= next->first && at + bytes <= next->first + next->second;
}

static void check_host(const char* function, const void* at) {
    if (reinterpret_cast<Address>(at) & CARD) {
        fail("%s: %p is an address of a card, where one of the host belongs", function, at);
    }
}

namespace stand_in {

size_t room(Address at, int card) {
    auto found = find(at);
    if (found == allocations().end() || found->second.card != card) return 0;
    return found->first + found->second.bytes - at;
}

void check(const char* function, Address at, size_t bytes, int card) {
    if (bytes == 0) return;
    auto found = find(at);
    if (found == allocations().end()) fail("%s: there is no memory at %#lx", function, at);
    if (found->second.card != card) {
        fail("%s: memory of card %d was given to card %d", function, found->second.card, card);
    }
    if (room(at, card) < bytes) {
        fail("%s: %zu bytes were asked for at byte %zu of an allocation of %zu", function, bytes,
             static_cast<size_t>(at - found->first), found->second.bytes);
    }
}

unsigned char* reach(const char* function, Address at, size_t bytes, int card) {
    check(function, at, bytes, card);
    return reinterpret_cast<unsigned char*>(at & ~CARD);
}

void explain(const void* host, const char* what) {
    Address at = reinterpret_cast<Address>(host) | CARD;
    for (auto& [start, memory] : allocations()) {
        Address first = reinterpret_cast<Address>(memory.pages) | CARD;
        if (at < first || at >= first + memory.paged) continue;
        fail("%s at byte %ld of an allocation of %zu bytes of card %d", what,
             static_cast<long>(at - start), memory.bytes, memory.card);
    }
    fail("%s at %p, where no memory of a card is", what, host);
}

} // namespace stand_in

CUresult cuMemGetInfo(size_t* free, size_t* total) {
    DRIVER_CALL
    if (current_card() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    *total = settings().memory;
    *free = settings().memory - used()[current_card()];
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* at, size_t bytes) {
    DRIVER_CALL
    if (current_card() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    Address found;
    CUresult done = reserve(&found, bytes, current_card());
    if (done == CUDA_SUCCESS) *at = found;
    return done;
}

CUresult cuMemFree(CUdeviceptr at) {
    DRIVER_CALL
    // It waits for all work that may still use it.
    cuCtxSynchronize();
    release(__func__, at);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr* at, size_t bytes, CUstream stream) {
    DRIVER_CALL
    if (!settings().pools) fail("cuMemAllocAsync: the card has no pools");
    int card = stream == nullptr ? current_card() : stream->context->card;
    Address found;
    CUresult done = reserve(&found, bytes, card);
    if (done == CUDA_ERROR_OUT_OF_MEMORY) {
        // Memory freed earlier on the same stream is available.
        cuStreamSynchronize(stream);
        done = reserve(&found, bytes, card);
    }
    if (done == CUDA_SUCCESS) *at = found;
    return done;
}

CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) {
    DRIVER_CALL
    if (allocations().count(at) == 0) fail("cuMemFreeAsync: no memory begins at %#llx", at);
    // The stream determines the GPU: the thread's context does not matter.
    auto queue = stream == nullptr ? nullptr : stream->queue;
    auto work = [at] { release("cuMemFreeAsync", at); };
    if (queue == nullptr) {
        enqueue(__func__, stream, work);
    } else {
        queue->work.push_back(work);
        ++queue->asked;
        if (!settings().late) queue->run();
    }
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    DRIVER_CALL
    if (current_card() < 0) return CUDA_ERROR_INVALID_CONTEXT;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (pinned_bytes + bytes > settings().pinned) return CUDA_ERROR_OUT_OF_MEMORY;
    void* got = mmap(nullptr, up(bytes, PAGE), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(got, UNWRITTEN, bytes);
    pinned()[reinterpret_cast<Address>(got)] = bytes;
    pinned_bytes += bytes;
    *at = got;
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* at) {
    DRIVER_CALL
    auto found = pinned().find(reinterpret_cast<Address>(at));
    if (found == pinned().end()) return CUDA_ERROR_INVALID_VALUE;
    // Remaining pointers into it hit no memory.
    mmap(at, up(found->second, PAGE), PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    pinned_bytes -= found->second;
    pinned().erase(found);
    return CUDA_SUCCESS;
}

CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t bytes, CUstream stream) {
    DRIVER_CALL
    int card = current_card();
    check(__func__, at, bytes, card);
    enqueue(__func__, stream,
            [=] { std::memset(reach("cuMemsetD8Async", at, bytes, card), value, bytes); });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    DRIVER_CALL
    const char* name = "cuMemcpyHtoDAsync";
    int card = current_card();
    check_host(name, from);
    check(name, to, bytes, card);
    Address source = reinterpret_cast<Address>(from);
    if (is_pinned(source, bytes)) {
        enqueue(name, stream, [=] {
            if (!is_pinned(source, bytes)) fail("%s: pinned memory went before it was read", name);
            std::memcpy(reach(name, to, bytes, card), from, bytes);
        });
    } else {
        // Ordinary memory is read before the call returns.
        auto* first = static_cast<const unsigned char*>(from);
        auto copy = std::make_shared<std::vector<unsigned char>>(first, first + bytes);
        enqueue(name, stream,
                [=] { std::memcpy(reach(name, to, bytes, card), copy->data(), bytes); });
    }
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    DRIVER_CALL
    const char* name = "cuMemcpyDtoHAsync";
    int card = current_card();
    check_host(name, to);
    check(name, from, bytes, card);
    Address target = reinterpret_cast<Address>(to);
    bool is_late = is_pinned(target, bytes);
    enqueue(name, stream, [=] {
        if (is_late && !is_pinned(target, bytes))
            fail("%s: pinned memory went before it was written", name);
        std::memcpy(to, reach(name, from, bytes, card), bytes);
    });
    // Ordinary memory is written before the call returns.
    if (!is_late) return cuStreamSynchronize(stream);
    return CUDA_SUCCESS;
}
