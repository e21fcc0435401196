// A GPU on the CPU: the threads of a block run on fibers, and barriers, shuffles and tensor-core products
// make them wait for each other as on a GPU. Warps run one at a time until they have to wait, in an order
// that changes. Shared memory starts as NaN, and a block in which all threads wait is a failure. So a barrier
// that is missing, or that some threads do not reach, is noticed.
#pragma once

#include <algorithm>
#include <math.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
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

// The checks that kernels are compiled with do not apply to the functions below. Those that kernels use are
// not inlined, so that unrolled kernels stay small.
#define UNCHECKED __attribute__((no_sanitize("undefined"))) inline
#define CALLED __attribute__((noinline, no_sanitize("undefined")))

namespace host {

constexpr int WARP = 32;
constexpr size_t STACK = 256 * 1024;
// Threads of a block at most.
constexpr int MOST = 1024;

// What the lanes of a warp give each other.
struct Exchange {
    float numbers[WARP];
    const unsigned char* rows[WARP];
    // A product of tensor cores: a and b in 16 bits.
    uint16_t a[16][16], b[16][8];
    float d[16][8];
};

// Exchanges alternate: a lane at the next one does not disturb a lane that still reads this one.
struct Warp {
    int lanes = 0;
    int arrived = 0;
    unsigned turn = 0;
    Exchange exchanges[2];
};

// Runs one thread of a block after another. Without a stack, it is the program itself.
struct Fiber {
#ifdef __x86_64__
    // Where its registers are.
    void* at = nullptr;
#else
    ucontext_t start;
    jmp_buf at;
#endif
    std::unique_ptr<unsigned char[]> stack;
    bool started = false;
};

// A thread.
struct State {
    // The turn whose end it waits for; null if it does not wait.
    const unsigned* turn = nullptr;
    unsigned waited = 0;
    // The number of its fiber; -1 before it starts.
    int fiber = -1;
    bool done = false;
};

struct Block {
    int x = 0, y = 0, threads = 0;
    int current = 0;
    int arrived = 0;
    unsigned turn = 0;
    // Counts every step that lets a thread continue, to tell waiting from a deadlock.
    unsigned long steps = 0;
    State states[MOST];
    Fiber fibers[MOST];
    // Fibers without a thread, and the number of fibers that exist.
    int idle[MOST], idle_count = 0, made = 0;
    Warp warps[MOST / WARP];
    std::vector<unsigned char> shared;
    std::function<void()> body;
    Fiber scheduler;

    // The order of the threads in their warps, and of the warps; the next place in either.
    int thread_order[MOST], warp_order[MOST / WARP];
    int thread_place = 0, thread_end = 0;
    int warp_place = 0, warp_count = 0;
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

inline void enter();

#ifdef __x86_64__

// Saves the registers that calls preserve on this stack and loads those of another one. It returns with `ret`,
// which processors predict: most fibers continue where the last one stopped.
extern "C" __attribute__((visibility("hidden"))) void host_change_stack(void** from, void* to);
__asm__(".pushsection .text\n"
        ".type host_change_stack, @function\n"
        "host_change_stack:\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
        "ret\n"
        ".popsection\n");

inline void start(Fiber& fiber, size_t size) {
    auto top = reinterpret_cast<uintptr_t>(fiber.stack.get() + size) / 16 * 16;
    // Six registers, the function, and no address to return to.
    auto* words = reinterpret_cast<void**>(top - 64);
    std::fill(words, words + 8, nullptr);
    words[6] = reinterpret_cast<void*>(enter);
    fiber.at = words;
}

UNCHECKED void change(Fiber& from, Fiber& to) { host_change_stack(&from.at, to.at); }

#else

inline void start(Fiber& fiber, size_t size) {
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
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

UNCHECKED void shuffle(int* order, int size) {
    for (int i = size - 1; i > 0; --i) {
        block.seed = block.seed * 1664525u + 1013904223u;
        // One of the first i + 1.
        uint64_t other = static_cast<uint64_t>(block.seed) * (i + 1) >> 32;
        int moved = order[i];
        order[i] = order[other];
        order[other] = moved;
    }
}

UNCHECKED void start_warp() {
    int first = block.warp_order[block.warp_place] * WARP;
    block.thread_place = first;
    block.thread_end = first + block.warps[block.warp_order[block.warp_place]].lanes;
    block.warp_steps = block.steps;
}

UNCHECKED void start_round() {
    block.is_done = true;
    block.round_steps = block.steps;
    shuffle(block.warp_order, block.warp_count);
    block.warp_place = 0;
    start_warp();
}

// The next thread that can run; -1 once all are done. One warp runs until it waits for others, then
// the next: nothing but barriers keeps warps in step.
UNCHECKED int next() {
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
        } else if (++block.warp_place < block.warp_count) {
            start_warp();
        } else if (block.is_done) {
            return -1;
        } else {
            if (block.steps == block.round_steps) fail("all threads wait for each other");
            start_round();
        }
    }
}

// A fiber without a thread: the one used last, whose stack is in the cache.
inline int take_fiber() {
    if (block.idle_count > 0) return block.idle[--block.idle_count];
    Fiber& fiber = block.fibers[block.made];
    // Not cleared, as few of its pages are used.
    fiber.stack.reset(new unsigned char[STACK]);
    // Stacks end at different lines of a page, as their tops would push each other out of the cache.
    start(fiber, STACK - block.made * 448 % 4096);
    return block.made++;
}

// Switches from one fiber to that of a thread, or to the program if `thread` is -1.
UNCHECKED void run(Fiber& from, int thread) {
    if (thread < 0) return change(from, block.scheduler);
    block.current = thread;
    State& state = block.states[thread];
    if (state.fiber < 0) state.fiber = take_fiber();
    change(from, block.fibers[state.fiber]);
}

// Lets others run.
UNCHECKED void yield() {
    Fiber& from = block.fibers[block.states[block.current].fiber];
    int thread = next();
    if (thread != block.current) run(from, thread);
}

// The work of a fiber: one thread after another.
inline void enter() {
    for (;;) {
        block.body();
        State& ended = block.states[block.current];
        ended.done = true;
        ++block.steps;
        int thread = next();
        if (thread >= 0 && block.states[thread].fiber < 0) {
            block.current = thread;
            block.states[thread].fiber = ended.fiber;
        } else {
            block.idle[block.idle_count++] = ended.fiber;
            run(block.fibers[ended.fiber], thread);
        }
    }
}

// Whether this thread is the last to arrive. Then the waiting threads can continue.
UNCHECKED bool is_last(int& arrived, unsigned& turn, int all) {
    if (++arrived < all) return false;
    arrived = 0;
    ++turn;
    ++block.steps;
    return true;
}

// Waits for the end of a turn.
UNCHECKED void wait(const unsigned& turn) {
    State& state = block.states[block.current];
    state.turn = &turn;
    state.waited = turn;
    yield();
    state.turn = nullptr;
}

UNCHECKED Warp& warp() { return block.warps[block.current / WARP]; }
UNCHECKED int lane() { return block.current % WARP; }
// That of the current turn.
UNCHECKED Exchange& exchange(Warp& warp) { return warp.exchanges[warp.turn % 2]; }

UNCHECKED void wait_for_warp(Warp& warp) {
    if (!is_last(warp.arrived, warp.turn, warp.lanes)) wait(warp.turn);
}

// Runs the fibers of the block until all are done.
inline void run_block(unsigned seed) {
    int count = block.threads;
    block.warp_count = (count + WARP - 1) / WARP;
    block.arrived = 0;
    block.seed = seed;
    for (int i = 0; i < count; ++i) {
        block.states[i] = State();
        block.thread_order[i] = i;
    }
    for (int i = 0; i < block.warp_count; ++i) {
        Warp& warp = block.warps[i];
        warp.lanes = std::min(WARP, count - i * WARP);
        warp.arrived = 0;
        shuffle(block.thread_order + i * WARP, warp.lanes);
        block.warp_order[i] = i;
    }
    start_round();
    run(block.scheduler, next());
}

// Runs a kernel over a grid.
inline void launch(int grid_x, int grid_y, int threads, size_t shared, std::function<void()> body) {
    if (threads > MOST) fail("more threads than a block may have");
    block.threads = threads;
    block.body = std::move(body);
    for (int y = 0; y < grid_y; ++y) {
        for (int x = 0; x < grid_x; ++x) {
            block.x = x;
            block.y = y;
            // The bytes beyond the end must not change.
            block.shared.assign(2 * shared + 16, 0xff);
            run_block(static_cast<unsigned>(y * 7919 + x));
            const unsigned char* rest = block.shared.data() + shared;
            // Every byte equals the next one.
            bool is_intact = *rest == 0xff && std::memcmp(rest, rest + 1, shared + 15) == 0;
            if (!is_intact) fail("a write beyond the end of shared memory");
        }
    }
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
CALLED static void block_barrier() {
    host::Block& block = host::block;
    if (!host::is_last(block.arrived, block.turn, block.threads)) host::wait(block.turn);
}

CALLED static float shuffle_xor(float value, int mask) {
    host::Warp& warp = host::warp();
    host::Exchange& all = host::exchange(warp);
    int lane = host::lane();
    all.numbers[lane] = value;
    host::wait_for_warp(warp);
    return all.numbers[lane ^ mask];
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

namespace host {

// The rows of four matrices, one from each lane.
UNCHECKED const unsigned char** rows_of_all(const void* row) {
    Warp& warp = host::warp();
    Exchange& all = exchange(warp);
    all.rows[lane()] = static_cast<const unsigned char*>(row);
    wait_for_warp(warp);
    return all.rows;
}

} // namespace host

CALLED static void load_matrices(uint32_t (&to)[4], const void* row) {
    const unsigned char** rows = host::rows_of_all(row);
    int lane = host::lane();
    for (int i = 0; i < 4; ++i) std::memcpy(&to[i], rows[8 * i + lane / 4] + 4 * (lane % 4), 4);
}

CALLED static void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    const unsigned char** rows = host::rows_of_all(row);
    int lane = host::lane();
    for (int i = 0; i < 4; ++i) {
        uint16_t low, high;
        std::memcpy(&low, rows[8 * i + 2 * (lane % 4)] + 2 * (lane / 4), 2);
        std::memcpy(&high, rows[8 * i + 2 * (lane % 4) + 1] + 2 * (lane / 4), 2);
        to[i] = low | static_cast<uint32_t>(high) << 16;
    }
}

namespace host {

UNCHECKED void widen(const uint16_t (&from)[8], float* to, f16) {
#ifdef __F16C__
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
    for (int i = 0; i < 8; ++i) to[i] = to_float(f16{from[i]});
#endif
}
UNCHECKED void widen(const uint16_t (&from)[8], float* to, bf16) {
    for (int i = 0; i < 8; ++i) {
        uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
        std::memcpy(&to[i], &bits, 4);
    }
}

// d += a · b for the whole warp. Every number of d is summed in ascending order of the depth.
template <class T, int DEPTH> CALLED void multiply_all(Exchange& all) {
    typedef float Eight __attribute__((vector_size(32)));
    float a[16][16], b[16][8];
    for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < DEPTH; k += 8)
            widen(reinterpret_cast<const uint16_t(&)[8]>(all.a[row][k]), &a[row][k], T{});
    }
    for (int k = 0; k < DEPTH; ++k) widen(all.b[k], b[k], T{});
    for (int row = 0; row < 16; ++row) {
        Eight sum, factors;
        std::memcpy(&sum, all.d[row], sizeof sum);
        for (int k = 0; k < DEPTH; ++k) {
            std::memcpy(&factors, b[k], sizeof factors);
            sum += a[row][k] * factors;
        }
        std::memcpy(all.d[row], &sum, sizeof sum);
    }
}

// d += a · b on tensor cores, where lanes hold their parts as device.cuh says: of each 8 of the depth
// two registers of a and one of b. The last lane to arrive computes.
template <class T, int DEPTH>
CALLED void multiply(float (&d)[4], const uint32_t* a, const uint32_t* b) {
    Warp& warp = host::warp();
    Exchange& all = exchange(warp);
    int row = lane() / 4, pair = lane() % 4 * 2;
    for (int i = 0; i < DEPTH / 4; ++i)
        std::memcpy(&all.a[row + 8 * (i % 2)][pair + 8 * (i / 2)], &a[i], 4);
    for (int i = 0; i < DEPTH / 8; ++i) {
        all.b[pair + 8 * i][row] = static_cast<uint16_t>(b[i]);
        all.b[pair + 8 * i + 1][row] = static_cast<uint16_t>(b[i] >> 16);
    }
    for (int i = 0; i < 2; ++i) std::memcpy(&all.d[row + 8 * i][pair], &d[2 * i], 8);
    if (warp.arrived + 1 == warp.lanes) multiply_all<T, DEPTH>(all);
    wait_for_warp(warp);
    for (int i = 0; i < 2; ++i) std::memcpy(&d[2 * i], &all.d[row + 8 * i][pair], 8);
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

// Late on purpose: a copy is made only when it is waited for.
namespace host {
struct Copy {
    void* to;
    const void* from;
    int group;
};
// The copies of a thread, not yet made from `done` on; and the number of the open group.
struct Copies {
    std::vector<Copy> begun;
    size_t done = 0;
    int group = 0;
};
inline Copies copies[MOST];
} // namespace host

CALLED static void copy_begin(void* to, const void* from, bool is_there) {
    std::memset(to, 0xff, 16);
    host::Copies& mine = host::copies[host::block.current];
    mine.begun.push_back({to, is_there ? from : nullptr, mine.group});
}
DEVICE void copy_group() { ++host::copies[host::block.current].group; }
template <int pending> CALLED void copy_wait() {
    host::Copies& mine = host::copies[host::block.current];
    for (; mine.done < mine.begun.size(); ++mine.done) {
        const host::Copy& copy = mine.begun[mine.done];
        if (copy.group + pending >= mine.group) return;
        if (copy.from != nullptr) std::memcpy(copy.to, copy.from, 16);
        else std::memset(copy.to, 0, 16);
    }
    mine.begun.clear();
    mine.done = 0;
}

#endif
