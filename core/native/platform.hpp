// The sets of instructions that kernels are compiled for, which of them this machine has, and how it rounds tiny numbers.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__) && defined(__GNUC__)
#define CASTSTREAM_X86 1
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__GNUC__)
#define CASTSTREAM_ARM 1
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll_count(8)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

// A constant NAME that for_each_set.hpp made in the namespace of each set, as a list of pointers: for `set_of`.
#if defined(CASTSTREAM_X86)
#define EVERY_SET(NAME) {&avx512::NAME, &avx2::NAME, &plain::NAME}
#elif defined(CASTSTREAM_ARM)
#define EVERY_SET(NAME) {&neon::NAME, &plain::NAME}
#else
#define EVERY_SET(NAME) {&plain::NAME}
#endif

namespace caststream {

#ifdef CASTSTREAM_X86
// What processor and system can do, asked directly: not every compiler's library answers __builtin_cpu_supports.
struct Processor {
    bool avx2 = false, avx512 = false;

    Processor() {
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || (c & MASK_1) != MASK_1) return;
        const unsigned registers = saved_registers();
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        avx2 = (b & bit_AVX2) && (registers & 0x06) == 0x06;
        avx512 = avx2 && (b & MASK_7) == MASK_7 && (registers & 0xe6) == 0xe6;
    }

    bool has(const char* name) const {
        if (!std::strcmp(name, "avx512")) return avx512;
        return std::strcmp(name, "avx2") || avx2;
    }

  private:
    static constexpr unsigned MASK_1 = bit_FMA | bit_OSXSAVE | bit_AVX;
    static constexpr unsigned MASK_7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;

    // Which vector registers the system saves where it changes from one program to another: XCR0.
    static unsigned saved_registers() {
        unsigned low, high;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return low;
    }
};
#else
struct Processor {
    bool has(const char*) const { return true; }
};
#endif

// The member of ``sets`` whose `name` is this, or null where this machine has none of it. ``sets`` is EVERY_SET(...).
template <typename Set>
const Set* set_of(const char* name, std::initializer_list<const Set*> sets) {
    static const Processor processor;
    for (const Set* set : sets) {
        if (!std::strcmp(set->name, name)) return processor.has(name) ? set : nullptr;
    }
    return nullptr;
}

// Numbers below 1e-38 count as zero while this lives: processors take 10 % (Zen 4) to many times as long over them.
class FlushToZero {
#if defined(CASTSTREAM_X86)
    const unsigned before = _mm_getcsr();

  public:
    FlushToZero() { _mm_setcsr(before | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before); }
#elif defined(CASTSTREAM_ARM)
    const uint64_t before = get();

    static uint64_t get() {
        uint64_t bits;
        __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
        return bits;
    }

    static void set(uint64_t bits) { __asm__ volatile("msr fpcr, %0" : : "r"(bits) : "memory"); }

  public:
    FlushToZero() { set(before | 1 << 24); }
    ~FlushToZero() { set(before); }
#endif
};

}  // namespace caststream
