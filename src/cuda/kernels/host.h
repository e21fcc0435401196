// The card on the CPU: every thread of a block is a fiber, and barriers, shuffles and tensor-core
// products make fibers wait for each other as threads of a card do. Warps run one at a time for as
// long as they can, in an order that changes, shared memory begins as NaN, and a block in which
// everyone waits is a failure, so that a barrier that is missing or that not all threads reach is
// seen.
#pragma once

#include <algorithm>
#include <math.h>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>
#ifdef __F16C__
#include <immintrin.h>
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

struct Fiber {
    ucontext_t start;
    jmp_buf at;
    // The turn that it waits to see the end of; null if it waits for none.
    const unsigned* turn = nullptr;
    unsigned waited = 0;
    std::vector<unsigned char> stack;
    bool started = false, done = false;
};

struct Block {
    int x = 0, y = 0, threads = 0;
    int current = 0;
    int arrived = 0;
    unsigned turn = 0;
    // Counts every step that lets somebody go on, to tell waiting from a deadlock.
    unsigned long steps = 0;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    std::function<void()> body;
    jmp_buf scheduler;
};

inline Block block;

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "kernel on the host: %s\n", what);
    std::exit(1);
}

inline void yield() {
    if (_setjmp(block.fibers[block.current].at) == 0) _longjmp(block.scheduler, 1);
}

inline void enter() {
    // Once for each block: the stack is made once.
    for (;;) {
        block.body();
        block.fibers[block.current].done = true;
        ++block.steps;
        yield();
    }
}

inline void wait(int& arrived, unsigned& turn, int all) {
    if (++arrived == all) {
        arrived = 0;
        ++turn;
        ++block.steps;
        return;
    }
    Fiber& fiber = block.fibers[block.current];
    fiber.turn = &turn;
    fiber.waited = turn;
    yield();
    fiber.turn = nullptr;
}

// Lets a fiber run until it waits or is done.
__attribute__((noinline)) inline void resume(Fiber& fiber) {
    if (_setjmp(block.scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    // Stacks end at different lines of a page, as their tops would push each other out of the cache.
    size_t number = static_cast<size_t>(&fiber - block.fibers.data());
    fiber.start.uc_stack.ss_size = fiber.stack.size() - number * 448 % 4096;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, enter, 0);
    setcontext(&fiber.start);
}

// Runs the fibers of the block until all are done. One warp runs until it waits for others, then
// the next: nothing but barriers keeps warps in step.
inline void run_block(unsigned seed) {
    int count = block.threads;
    block.fibers.resize(count);
    block.warps.assign((count + WARP - 1) / WARP, Warp());
    block.arrived = 0;
    std::vector<int> order(count);
    for (int i = 0; i < count; ++i) {
        order[i] = i;
        ++block.warps[i / WARP].lanes;
        Fiber& fiber = block.fibers[i];
        fiber.done = false;
        fiber.stack.resize(STACK);
    }
    auto shuffle = [&](auto first, int size) {
        for (int i = size - 1; i > 0; --i) {
            seed = seed * 1664525u + 1013904223u;
            std::swap(first[i], first[(seed >> 8) % (i + 1)]);
        }
    };
    for (int i = 0; i < count; i += WARP) shuffle(order.begin() + i, std::min(WARP, count - i));
    std::vector<int> warps(block.warps.size());
    for (size_t i = 0; i < warps.size(); ++i) warps[i] = static_cast<int>(i);
    for (bool is_done = false; !is_done;) {
        is_done = true;
        unsigned long before = block.steps;
        shuffle(warps.begin(), static_cast<int>(warps.size()));
        for (int warp : warps) {
            for (unsigned long last = block.steps - 1; last != block.steps;) {
                last = block.steps;
                for (int i = warp * WARP; i < std::min(count, (warp + 1) * WARP); ++i) {
                    Fiber& fiber = block.fibers[order[i]];
                    if (fiber.done) continue;
                    is_done = false;
                    if (fiber.turn != nullptr && *fiber.turn == fiber.waited) continue;
                    block.current = order[i];
                    resume(fiber);
                }
            }
        }
        if (!is_done && block.steps == before) fail("all threads wait for each other");
    }
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
