// The simulated machine behind the stand-in for the CUDA driver and its libraries: GPUs whose memory
// is the host's, and streams whose work is done by the thread that waits for it.
//
// It is stricter than a real GPU. The host cannot read addresses of a GPU's memory; memory starts as
// NaN and ends at inaccessible pages; freed addresses are never reused; and queued work is not done
// before somebody waits for it, so that a missing wait shows. Where a real driver's result would be
// undefined, the process ends with a message.
#pragma once

#include "cuda.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace stand_in {

using Address = uint64_t;
using Work = std::function<void()>;

// Reports a misuse of the libraries, and ends the process.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

// Held during every call and all work: the machine does one thing at a time.
std::recursive_mutex& machine();

// The machine as the environment describes it.
struct Settings {
    // STAND_IN_CARDS: number of GPUs (1).
    int cards = 1;
    // STAND_IN_MEMORY_MIB: memory of each (4096).
    size_t memory = size_t(4096) << 20;
    // STAND_IN_PINNED_MIB: host memory that can be pinned (4096).
    size_t pinned = size_t(4096) << 20;
    // STAND_IN_NAMES: names of the GPUs, separated by commas.
    std::vector<std::string> names;
    // STAND_IN_CAPABILITY: their compute capability (90 for 9.0).
    int capability = 90;
    // STAND_IN_OLD: number of GPUs, from the first, that have 7.0 instead (0).
    int old = 0;
    // STAND_IN_MULTIPROCESSORS: multiprocessors of each (132).
    int multiprocessors = 132;
    // STAND_IN_CACHE_MIB: second-level cache of each (50).
    size_t cache = size_t(50) << 20;
    // STAND_IN_DRIVER: the newest CUDA version that the driver supports (13000).
    int driver = 13000;
    // STAND_IN_POOLS: 0 for GPUs without stream-ordered memory.
    bool pools = true;
    // STAND_IN_WORK: when work is done: `late`, on waiting for it, or `now`, on queueing it.
    bool late = true;
    // STAND_IN_ALGORITHMS: the algorithms that cuBLASLt offers, in order: see blaslt.cpp.
    std::vector<std::string> algorithms;
    // STAND_IN_PRODUCTS: the kernels of matrix products: `none` cannot be started, `even` give a row the
    // same bits everywhere, `restless` other ones in some calls (none).
    std::string products = "none";
    // STAND_IN_FAIL: `NAME:N` or `NAME:N:CODE`: the Nth call of a function fails.
    std::string fail_name;
    long fail_call = 0;
    int fail_code = CUDA_ERROR_UNKNOWN;
    // The GPUs that are visible by CUDA_VISIBLE_DEVICES.
    std::vector<int> seen;
};
const Settings& settings();

// About half of the calls, without a pattern that could match the sequence of products of a model: the
// last steps of the hash MurmurHash3.
bool is_odd(uint64_t number);

// 0, or the error with which STAND_IN_FAIL makes this call fail.
int injected(const char* function);

// Work in the order in which it was queued.
struct Queue {
    std::deque<Work> work;
    uint64_t asked = 0, done = 0;

    // Does everything up to the `end`th.
    void run(uint64_t end);
    void run() { run(asked); }
};

// Queues work on a stream of the calling thread's context.
void enqueue(const char* function, CUstream stream, Work work);

// The GPU of the calling thread's context, or −1.
int current_card();

// The compute capability of a GPU: 90 for 9.0.
int capability(int card);

// Ends the process unless `bytes` at an address belong to one allocation of this GPU.
void check(const char* function, Address at, size_t bytes, int card);

// Where these bytes are on the host, for work in progress.
unsigned char* reach(const char* function, Address at, size_t bytes, int card);

// Bytes of the allocation from an address to its end; 0 if the address is in none of this GPU.
size_t room(Address at, int card);

// Ends the process with a message about the allocation near a host address.
void explain(const void* host, const char* what);

} // namespace stand_in

struct CUctx_st {
    int card = 0;
    int retained = 0;
    std::shared_ptr<stand_in::Queue> queue = std::make_shared<stand_in::Queue>();
    std::vector<CUstream> streams;
};

struct CUstream_st {
    CUctx_st* context = nullptr;
    std::shared_ptr<stand_in::Queue> queue = std::make_shared<stand_in::Queue>();
};

// Begins a function of the driver: one at a time, failing on request.
#define DRIVER_CALL                                                                                \
    std::lock_guard<std::recursive_mutex> only(stand_in::machine());                               \
    if (int code = stand_in::injected(__func__)) return static_cast<CUresult>(code);
