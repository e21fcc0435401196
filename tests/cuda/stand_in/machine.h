// The pretend machine behind the stand-in for the CUDA driver and its libraries: cards whose memory
// is the host's, and streams whose work is done by the thread that waits for it.
//
// It is stricter than a card. Addresses of a card's memory cannot be read by the host, memory
// begins as NaN and ends at pages that nobody may touch, addresses never come back after they were
// freed, and queued work is not done before somebody waits for it, so that a wait that is missing
// shows. What a real driver would answer with an undefined result ends the process with a sentence.
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

// Says what is wrong with the use of the libraries, and ends the process.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

// Held during every call, and while work is done: the machine does one thing at a time.
std::recursive_mutex& machine();

// What the environment says of the machine.
struct Settings {
    // STAND_IN_CARDS: how many cards the machine has (1).
    int cards = 1;
    // STAND_IN_MEMORY_MIB: memory of each (4096).
    size_t memory = size_t(4096) << 20;
    // STAND_IN_PINNED_MIB: how much of the host's memory can be pinned (4096).
    size_t pinned = size_t(4096) << 20;
    // STAND_IN_NAMES: what the cards call themselves, with commas between them.
    std::vector<std::string> names;
    // STAND_IN_CAPABILITY: their compute capability (90 for 9.0).
    int capability = 90;
    // STAND_IN_OLD: how many of the first cards have 7.5 instead (0).
    int old = 0;
    // STAND_IN_MULTIPROCESSORS: how many each has (132).
    int multiprocessors = 132;
    // STAND_IN_DRIVER: the newest CUDA version that the driver knows (13000).
    int driver = 13000;
    // STAND_IN_POOLS: 0 for cards without stream-ordered memory.
    bool pools = true;
    // STAND_IN_WORK: `late`, when it is waited for, or `now`, when it is asked for.
    bool late = true;
    // STAND_IN_ALGORITHMS: what cuBLASLt offers, the first first: see blaslt.cpp.
    std::vector<std::string> algorithms;
    // STAND_IN_FAIL: `NAME:N` or `NAME:N:CODE`: the Nth call of a function fails.
    std::string fail_name;
    long fail_call = 0;
    int fail_code = CUDA_ERROR_UNKNOWN;
    // Which of the cards can be seen, by CUDA_VISIBLE_DEVICES.
    std::vector<int> seen;
};
const Settings& settings();

// 0, or what a call of this function is to fail with by STAND_IN_FAIL.
int injected(const char* function);

// Work in the order in which it was asked for.
struct Queue {
    std::deque<Work> work;
    uint64_t asked = 0, done = 0;

    // Does everything up to the `end`th.
    void run(uint64_t end);
    void run() { run(asked); }
};

// Queues work on a stream of the calling thread's context.
void enqueue(const char* function, CUstream stream, Work work);

// The card of the calling thread's context, or −1.
int current_card();

// Ends the process unless `bytes` at an address are memory of one allocation of this card.
void check(const char* function, Address at, size_t bytes, int card);

// Where these bytes are on the host; for work that is being done.
unsigned char* reach(const char* function, Address at, size_t bytes, int card);

// Bytes of the allocation from an address to its end; 0 if it is in none of this card.
size_t room(Address at, int card);

// Ends the process with a word on the allocation that an address of the host is near to.
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

// Begins a function of the driver: one at a time, and failing if it is asked to.
#define DRIVER_CALL                                                                                \
    std::lock_guard<std::recursive_mutex> only(stand_in::machine());                               \
    if (int code = stand_in::injected(__func__)) return static_cast<CUresult>(code);
