// The card on the CPU: every thread of a block is a fiber, and barriers, shuffles and tensor-core
// products make fibers wait for each other as threads of a card do. Warps run one at a time for as
// long as they can, in an order that changes, shared memory begins as NaN, and a block in which
// everyone waits is a failure, so that a barrier that is missing or that not all threads reach is
// seen.
#pragma once

#include <algorithm>
#include <math.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>
#ifdef __F16C__
#include <immintrin.h>
#endif
#ifndef __x86_64__
#include <csetjmp>
#include <ucontext.h>
#endif

#define DEVICE static inline
#ifndef KERNEL
#define KERNEL(threads) static void
#endif
#define CROWDED_KERNEL(threads, blocks) KERNEL(threads)
#define SHARED(type, name, count) alignas(16) static type name[count]
#define LAUNCH_SHARED(name) unsigned char* name = host::block.shared.data()

namespace host {

constexpr int WARP = 32;
constexpr size_t STACK = 256 * 1024;

// What lanes of a warp hand to each other, in two turns: who is at the next exchange cannot
// disturb one who still reads the last.
struct Warp {
    int lanes = 0;
    int arrived = 0;
    unsigned turn = 0;
    struct Lane {
        float number;
        const unsigned char* row;
        float left[8], right[4];
    } lane[2][WARP];
};

// A thread of a block, or, without a stack, the program that runs it.
struct Fiber {
#ifdef __x86_64__
    // Where its registers are.
    void* at = nullptr;
#else
    ucontext_t start;
    jmp_buf at;
#endif
    std::vector<unsigned char> stack;
    bool started = false;
};

// What a fiber waits for, apart from its large stack, as all are looked at again and again.
struct State {
    // The turn that it waits to see the end of; null if it waits for none.
    const unsigned* turn = nullptr;
    unsigned waited = 0;
    bool done = false;
};

struct Block {
    int x = 0, y = 0, threads = 0;
    int current = 0;
    int arrived = 0;
    unsigned turn = 0;
    // Counts every step that lets somebody go on, to tell waiting from a deadlock.
    unsigned long steps = 0;
    std::vector<Fiber> fibers;
    std::vector<State> states;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    std::function<void()> body;
    Fiber scheduler;

    // The order of the threads in their warps, and of the warps; the next place in either.
    std::vector<int> thread_order, warp_order;
    int thread_place = 0, thread_end = 0;
    size_t warp_place = 0;
    // Steps when this turn of the warp began, and this round of all warps.
    unsigned long warp_steps = 0, round_steps = 0;
    bool is_done = false;
    unsigned seed = 0;
};

inline Block block;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "kernel on the host: %s\n", what);
    std::exit(1);
}

inline void yield();

inline void enter() {
    // Once for each block: the stack is made once.
    for (;;) {
        block.body();
        block.states[block.current].done = true;
        ++block.steps;
        yield();
    }
}

#ifdef __x86_64__

// Leaves the registers that calls preserve on this stack and takes those of another one.
__attribute__((naked, noinline, unused)) static void change_stack(void**, void*) {
    __asm__("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
            "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
            "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
            "popq %rax\n jmp *%rax\n");
}

inline void start(Fiber& fiber, size_t size) {
    auto top = reinterpret_cast<uintptr_t>(fiber.stack.data() + size) / 16 * 16;
    // Six registers, the function, and no address to return to.
    auto* words = reinterpret_cast<void**>(top - 64);
    std::fill(words, words + 8, nullptr);
    words[6] = reinterpret_cast<void*>(enter);
    fiber.at = words;
}

inline void change(Fiber& from, Fiber& to) { change_stack(&from.at, to.at); }

#else

inline void start(Fiber& fiber, size_t size) {
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = size;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, enter, 0);
}

__attribute__((noinline)) inline void change(Fiber& from, Fiber& to) {
    if (_setjmp(from.at) != 0) return;
    if (to.started) _longjmp(to.at, 1);
    to.started = true;
    setcontext(&to.start);
}

#endif

inline void shuffle(std::vector<int>& order, int first, int size) {
    for (int i = size - 1; i > 0; --i) {
        block.seed = block.seed * 1664525u + 1013904223u;
        std::swap(order[first + i], order[first + (block.seed >> 8) % (i + 1)]);
    }
}

inline void start_warp() {
    int first = block.warp_order[block.warp_place] * WARP;
    block.thread_place = first;
    block.thread_end = std::min(block.threads, first + WARP);
    block.warp_steps = block.steps;
}

inline void start_round() {
    block.is_done = true;
    block.round_steps = block.steps;
    shuffle(block.warp_order, 0, static_cast<int>(block.warp_order.size()));
    block.warp_place = 0;
    start_warp();
}

// The next thread that can run; -1 once all are done. One warp runs until it waits for others, then
// the next: nothing but barriers keeps warps in step.
inline int next() {
    for (;;) {
        while (block.thread_place < block.thread_end) {
            int thread = block.thread_order[block.thread_place++];
            const State& state = block.states[thread];
            if (state.done) continue;
            block.is_done = false;
            if (state.turn == nullptr || *state.turn != state.waited) return thread;
        }
        if (block.warp_steps != block.steps) {
            start_warp();
        } else if (++block.warp_place < block.warp_order.size()) {
            start_warp();
        } else if (block.is_done) {
            return -1;
        } else {
            if (block.steps == block.round_steps) fail("all threads wait for each other");
            start_round();
        }
    }
}

// Lets others run.
inline void yield() {
    Fiber& from = block.fibers[block.current];
    int thread = next();
    if (thread == block.current) return;
    if (thread < 0) return change(from, block.scheduler);
    block.current = thread;
    change(from, block.fibers[thread]);
}

inline void wait(int& arrived, unsigned& turn, int all) {
    if (++arrived == all) {
        arrived = 0;
        ++turn;
        ++block.steps;
        return;
    }
    State& state = block.states[block.current];
    state.turn = &turn;
    state.waited = turn;
    yield();
    state.turn = nullptr;
}

// Runs the fibers of the block until all are done.
inline void run_block(unsigned seed) {
    int count = block.threads;
    int made = static_cast<int>(block.fibers.size());
    block.fibers.resize(std::max(count, made));
    for (int i = made; i < count; ++i) {
        Fiber& fiber = block.fibers[i];
        fiber.stack.resize(STACK);
        // Stacks end at different lines of a page, as their tops would push each other out of the cache.
        start(fiber, STACK - i * 448 % 4096);
    }
    block.states.assign(count, State());
    block.warps.resize((count + WARP - 1) / WARP);
    for (Warp& warp : block.warps) warp.lanes = warp.arrived = 0;
    block.arrived = 0;
    block.seed = seed;
    block.thread_order.resize(count);
    for (int i = 0; i < count; ++i) {
        block.thread_order[i] = i;
        ++block.warps[i / WARP].lanes;
    }
    for (int i = 0; i < count; i += WARP) shuffle(block.thread_order, i, std::min(WARP, count - i));
    block.warp_order.resize(block.warps.size());
    for (size_t i = 0; i < block.warps.size(); ++i) block.warp_order[i] = static_cast<int>(i);
    start_round();
    block.current = next();
    change(block.scheduler, block.fibers[block.current]);
}

// Runs a kernel over a grid.
inline void launch(int grid_x, int grid_y, int threads, size_t shared, std::function<void()> body) {
    block.threads = threads;
    block.body = std::move(body);
    for (int y = 0; y < grid_y; ++y) {
        for (int x = 0; x < grid_x; ++x) {
            block.x = x;
            block.y = y;
            // What is beyond the end must stay as it is.
            block.shared.assign(2 * shared + 16, 0xff);
            run_block(static_cast<unsigned>(y * 7919 + x));
            bool is_intact = std::all_of(block.shared.begin() + shared, block.shared.end(),
                                         [](unsigned char byte) { return byte == 0xff; });
            if (!is_intact) fail("a write beyond the end of shared memory");
        }
    }
}

inline Warp& warp() { return block.warps[block.current / WARP]; }
inline int lane() { return block.current % WARP; }

// Hands in what `put` writes, waits for the warp, and gives what all lanes handed in.
template <class Put> inline Warp::Lane* exchange(Put put) {
    Warp& w = warp();
    Warp::Lane* all = w.lane[w.turn % 2];
    put(all[lane()]);
    wait(w.arrived, w.turn, w.lanes);
    return all;
}

inline float of_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

} // namespace host

DEVICE int block_x() { return host::block.x; }
DEVICE int block_y() { return host::block.y; }
DEVICE int thread() { return host::block.current; }
DEVICE void block_barrier() { host::wait(host::block.arrived, host::block.turn, host::block.threads); }

DEVICE float shuffle_xor(float value, int mask) {
    host::Warp::Lane* all = host::exchange([&](host::Warp::Lane& mine) { mine.number = value; });
    return all[host::lane() ^ mask].number;
}

DEVICE float to_float(float x) { return x; }
namespace host {
// Every number of half precision.
inline std::vector<float> halves() {
    std::vector<float> all(1 << 16);
    for (int bits = 0; bits < 1 << 16; ++bits) {
        int exponent = (bits >> 10) & 31, fraction = bits & 1023;
        float size = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
        all[bits] = (bits & 0x8000) != 0 ? -size : size;
    }
    return all;
}
} // namespace host

#ifdef __F16C__
DEVICE float to_float(f16 x) { return _cvtsh_ss(x.bits); }
#else
DEVICE float to_float(f16 x) {
    static const std::vector<float> all = host::halves();
    return all[x.bits];
}
#endif
DEVICE float to_float(bf16 x) { return host::of_bits(static_cast<uint32_t>(x.bits) << 16); }

DEVICE void from_float(float value, float& to) { to = value; }
DEVICE void from_float(float value, f16& to) {
#ifdef __F16C__
    to.bits = std::isnan(value) ? 0x7fff : _cvtss_sh(value, 0);
#else
    uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    float size = std::fabs(value);
    if (std::isnan(value)) {
        to.bits = 0x7fff;
    } else if (size >= 65520.0f) {
        to.bits = sign | 0x7c00;
    } else {
        // Steps of the number's own binade; rint rounds ties to even.
        int exponent = std::max(size == 0.0f ? -14 : std::ilogb(size), -14);
        int steps = static_cast<int>(std::rint(std::ldexp(size, 10 - exponent)));
        to.bits = static_cast<uint16_t>(sign | (((exponent + 14) << 10) + steps));
    }
#endif
}
DEVICE void from_float(float value, bf16& to) {
    uint32_t bits = host::bits_of(value);
    to.bits = std::isnan(value) ? 0x7fff
                                : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

DEVICE float exp2_fast(float x) { return std::exp2(x); }

DEVICE void load_matrices(uint32_t (&to)[4], const void* row) {
    host::Warp::Lane* all = host::exchange([&](host::Warp::Lane& mine) {
        mine.row = static_cast<const unsigned char*>(row);
    });
    int lane = host::lane();
    for (int i = 0; i < 4; ++i) std::memcpy(&to[i], all[8 * i + lane / 4].row + 4 * (lane % 4), 4);
}

DEVICE void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    host::Warp::Lane* all = host::exchange([&](host::Warp::Lane& mine) {
        mine.row = static_cast<const unsigned char*>(row);
    });
    int lane = host::lane();
    for (int i = 0; i < 4; ++i) {
        uint16_t low, high;
        std::memcpy(&low, all[8 * i + 2 * (lane % 4)].row + 2 * (lane / 4), 2);
        std::memcpy(&high, all[8 * i + 2 * (lane % 4) + 1].row + 2 * (lane / 4), 2);
        to[i] = low | static_cast<uint32_t>(high) << 16;
    }
}

namespace host {
// d += a · b on tensor cores, where lanes hold their parts as device.cuh says: of each 8 of the depth
// two registers of a and one of b.
template <class T, int DEPTH>
inline void multiply(float (&d)[4], const uint32_t* a, const uint32_t* b) {
    auto number = [](const uint32_t* pairs, int which) {
        T one;
        one.bits = static_cast<uint16_t>(pairs[which / 2] >> (16 * (which % 2)));
        return to_float(one);
    };
    Warp::Lane* all = exchange([&](Warp::Lane& parts) {
        for (int i = 0; i < DEPTH / 2; ++i) parts.left[i] = number(a, i);
        for (int i = 0; i < DEPTH / 4; ++i) parts.right[i] = number(b, i);
    });
    int mine = lane();
    for (int i = 0; i < 4; ++i) {
        int row = mine / 4 + 8 * (i / 2), column = 2 * (mine % 4) + i % 2;
        float sum = d[i];
        for (int k = 0; k < DEPTH; ++k) {
            float left = all[4 * (row % 8) + k % 8 / 2].left[(row / 8 + 2 * (k / 8)) * 2 + k % 2];
            sum += left * all[4 * column + k % 8 / 2].right[k / 8 * 2 + k % 2];
        }
        d[i] = sum;
    }
}
} // namespace host

#ifdef TURING

template <class T> DEVICE void multiply_8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
    uint32_t a[2] = {a0, a1};
    host::multiply<T, 8>(d, a, &b);
}

#else

template <class T>
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    uint32_t b[2] = {b0, b1};
    host::multiply<T, 16>(d, a, b);
}

// Late on purpose: what is copied is there only once it has been waited for.
namespace host {
struct Copy {
    void* to;
    const void* from;
};
inline std::vector<std::vector<std::vector<Copy>>> copies;
inline std::vector<std::vector<Copy>>& my_copies() {
    if (copies.size() < static_cast<size_t>(block.threads)) copies.resize(block.threads);
    auto& mine = copies[block.current];
    if (mine.empty()) mine.emplace_back();
    return mine;
}
} // namespace host

DEVICE void copy_begin(void* to, const void* from, bool is_there) {
    std::memset(to, 0xff, 16);
    host::my_copies().back().push_back({to, is_there ? from : nullptr});
}
DEVICE void copy_group() { host::my_copies().emplace_back(); }
template <int pending> DEVICE void copy_wait() {
    auto& groups = host::my_copies();
    // The last group is the one that has not been ended.
    while (groups.size() > pending + 1) {
        for (const host::Copy& copy : groups.front()) {
            if (copy.from != nullptr) std::memcpy(copy.to, copy.from, 16);
            else std::memset(copy.to, 0, 16);
        }
        groups.erase(groups.begin());
    }
}

#endif
