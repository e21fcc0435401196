// What the kernels need of a GPU: indices, barriers, shuffles, tensor-core products, asynchronous
// copies, and numbers of 16 bits. Under nvcc these are instructions; under any other compiler
// host.h does the same on the CPU, so that tests can run the very same kernels.
//
// GPUs of compute capability 7.5 (Turing) lack some of them. TURING chooses the code that does without:
// no bfloat16, tensor-core products of half the depth, copies that are not asynchronous, and less shared
// memory (64 KiB for a block).
#pragma once

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800 && !defined(TURING)
#define TURING
#endif

#ifdef __CUDACC_RTC__
// NVRTC, which makes the images that are built into the program, has no headers of the host.
using uint16_t = unsigned short;
using uint32_t = unsigned int;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#else
#include <cstddef>
#include <cstdint>
#endif

// Storage of half precision and bfloat16; arithmetic is float.
struct f16 {
    uint16_t bits;
};
struct bf16 {
    uint16_t bits;
};

#ifndef __CUDACC__
#include "host.h"
#else

#define DEVICE __device__ __forceinline__
// A function that is launched by its name, with blocks of `threads` threads.
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
// The same with few enough registers for `blocks` blocks on a multiprocessor.
#define CROWDED_KERNEL(threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks)
// An array that the threads of a block share, of unspecified content.
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
// The shared memory whose size is chosen at launch.
#define LAUNCH_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

DEVICE int block_x() { return blockIdx.x; }
DEVICE int block_y() { return blockIdx.y; }
DEVICE int thread() { return threadIdx.x; }

// Waits for all threads of the block, and makes what they wrote visible.
DEVICE void block_barrier() { __syncthreads(); }

// The value of the lane whose number differs by the bits of `mask`.
DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(f16 x) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
    return value;
}
DEVICE float to_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

// Rounds to nearest, ties to even.
DEVICE void from_float(float value, float& to) { to = value; }
DEVICE void from_float(float value, f16& to) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
}
#ifndef TURING
DEVICE void from_float(float value, bf16& to) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
}

// Two numbers in one register, the first in the lower half.
template <class T> DEVICE uint32_t pack(float low, float high);
template <> DEVICE uint32_t pack<f16>(float low, float high) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
template <> DEVICE uint32_t pack<bf16>(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#endif

// 2^x to within 2 units in the last place; results below the normal range are zero.
DEVICE float exp2_fast(float x) {
    float value;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

// Loads four 8 × 8 matrices of 16-bit numbers from shared memory: lane 8 i + r gives the address
// of row r of matrix i, and lane l gets the two numbers of row l / 4 that are in columns
// 2 (l mod 4) and the next.
DEVICE void load_matrices(uint32_t (&to)[4], const void* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// The same for their transposes.
DEVICE void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

#ifdef TURING

// d += a · b on tensor cores, by a warp: a is [16, 8], b is [8, 8], d is [16, 8] in float. With
// g = lane / 4 and t = lane mod 4, a lane holds of d rows g and g + 8, columns 2 t and 2 t + 1; of
// a the same rows and columns; of b the rows 2 t and 2 t + 1 of column g.
template <class T> DEVICE void multiply_8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b);
template <> DEVICE void multiply_8<f16>(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b));
}

#else

// d += a · b on tensor cores, by a warp: a is [16, 16], b is [16, 8], d is [16, 8] in float. With
// g = lane / 4 and t = lane mod 4, a lane holds of d rows g and g + 8, columns 2 t and 2 t + 1; of
// a the same rows, columns 2 t, 2 t + 1 and those 8 further; of b the rows 2 t, 2 t + 1 and those
// 8 further of column g.
template <class T>
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
DEVICE void multiply<f16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
DEVICE void multiply<bf16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Begins to copy 16 bytes to shared memory, or zeros if there is nothing to copy; `from` is an
// address that may be read in either case.
DEVICE void copy_begin(void* to, const void* from, bool is_there) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    int bytes = is_there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(from), "r"(bytes)
                 : "memory");
}

// Ends a group of copies.
DEVICE void copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies until at most `pending` groups are unfinished.
template <int pending> DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" : : "n"(pending) : "memory");
}

#endif

#endif

// From here on a number of the argument's type rounds to infinity.
DEVICE float limit(float) { return INFINITY; }
DEVICE float limit(f16) { return 65520.0f; }
DEVICE float limit(bf16) { return 3.39617752923046e38f; }

// The number, or NaN if it does not fit T: an infinity can vanish from a result, NaN cannot.
template <class T> DEVICE float fit(float value) { return fabsf(value) < limit(T{}) ? value : NAN; }

#if defined(TURING) || !defined(__CUDACC__)
// Two numbers in one register, the first in the lower half.
template <class T> DEVICE uint32_t pack(float low, float high) {
    T first, second;
    from_float(low, first);
    from_float(high, second);
    return first.bits | static_cast<uint32_t>(second.bits) << 16;
}
#endif

#ifdef TURING

// The product of [16, 16] and [16, 8] of other GPUs, in two of half the depth: `a` and `b` are where
// those have them.
template <class T>
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_8<T>(d, a[0], a[1], b0);
    multiply_8<T>(d, a[2], a[3], b1);
}

#endif

// The first type or the second.
template <bool IS_FIRST, class First, class Second> struct Choose {
    using Type = First;
};
template <class First, class Second> struct Choose<false, First, Second> {
    using Type = Second;
};

// Numbers side by side, at an address aligned to all of them or to 16 bytes.
struct alignas(16) Floats4 {
    float at[4];
};
struct alignas(16) Words4 {
    uint32_t at[4];
};
struct alignas(8) Words2 {
    uint32_t at[2];
};

#ifdef TURING

// Copies 16 bytes to shared memory, or zeros if there is nothing to copy. They are there for other threads
// after the next barrier, as copies that are waited for are.
DEVICE void copy_begin(void* to, const void* from, bool is_there) {
    Words4 all = {};
    if (is_there) all = *static_cast<const Words4*>(from);
    *static_cast<Words4*>(to) = all;
}
DEVICE void copy_group() {}
template <int pending> DEVICE void copy_wait() {}

#endif

DEVICE void load(const float* from, float (&to)[4]) {
    Floats4 all = *reinterpret_cast<const Floats4*>(from);
    for (int i = 0; i < 4; ++i) to[i] = all.at[i];
}
DEVICE void load(const float* from, float (&to)[8]) {
    float low[4], high[4];
    load(from, low);
    load(from + 4, high);
    for (int i = 0; i < 4; ++i) {
        to[i] = low[i];
        to[i + 4] = high[i];
    }
}
template <class T, int N> DEVICE void load(const T* from, float (&to)[N]) {
    static_assert(N == 4 || N == 8, "8 or 16 bytes");
    using Words = typename Choose<N == 4, Words2, Words4>::Type;
    Words all = *reinterpret_cast<const Words*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) {
        T number;
        number.bits = static_cast<uint16_t>(all.at[i / 2] >> (16 * (i % 2)));
        to[i] = to_float(number);
    }
}
DEVICE void store(float* to, const float (&from)[4]) {
    *reinterpret_cast<Floats4*>(to) = Floats4{{from[0], from[1], from[2], from[3]}};
}
DEVICE void store(float* to, const float (&from)[8]) {
    *reinterpret_cast<Floats4*>(to) = Floats4{{from[0], from[1], from[2], from[3]}};
    *reinterpret_cast<Floats4*>(to + 4) = Floats4{{from[4], from[5], from[6], from[7]}};
}
template <class T, int N> DEVICE void store(T* to, const float (&from)[N]) {
    using Words = typename Choose<N == 4, Words2, Words4>::Type;
    Words all;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) all.at[i] = pack<T>(from[2 * i], from[2 * i + 1]);
    *reinterpret_cast<Words*>(to) = all;
}

// Two numbers side by side, at an address aligned to both.
struct alignas(8) Floats2 {
    float at[2];
};
DEVICE void store2(float* to, float first, float second) {
    *reinterpret_cast<Floats2*>(to) = Floats2{{first, second}};
}
template <class T> DEVICE void store2(T* to, float first, float second) {
    *reinterpret_cast<uint32_t*>(to) = pack<T>(first, second);
}
