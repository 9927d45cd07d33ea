// Includes the file named by the macro KERNEL_FILE once for each set of instructions, each time compiled for that set, with
// these defined:
//   INSTRUCTIONS   the set's namespace in caststream
//   SET_NAME       the same as text
//   LANES          floats in a vector
//   MAX_ROWS       rows whose four gates fit the registers
//   FMA(a, b, c)   a * b + c, rounded once
//   MIN(a, b)      the smaller one; b where either is not a number
// No include guard: each kernel includes this file for itself, and KERNEL_FILE is gone afterwards. Kernels need
// -ffp-contract=off, or else the compiler fuses products and sums as it likes, in each set differently. All sets make the
// same bits of the same numbers: docs/performance.md has them.
#include "exact_fma.hpp"
#include "platform.hpp"

#ifdef CASTSTREAM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define INSTRUCTIONS avx512
#define SET_NAME "avx512"
#define LANES 16
#define MAX_ROWS 6
#define FMA(a, b, c) (Vector) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define MIN(a, b) (Vector) _mm512_maskz_min_ps(0xffff, (__m512)(a), (__m512)(b))
#include KERNEL_FILE
#include "end_of_set.hpp"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define INSTRUCTIONS avx2
#define SET_NAME "avx2"
#define LANES 8
#define MAX_ROWS 3
#define FMA(a, b, c) (Vector) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define MIN(a, b) (Vector) _mm256_min_ps((__m256)(a), (__m256)(b))
#include KERNEL_FILE
#include "end_of_set.hpp"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#ifdef CASTSTREAM_ARM
#define INSTRUCTIONS neon
#define SET_NAME "neon"
#define LANES 4
#define MAX_ROWS 6
#define FMA(a, b, c) (Vector) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#include KERNEL_FILE
#include "end_of_set.hpp"
#endif

#define INSTRUCTIONS plain
#define SET_NAME "plain"
#define LANES 4
#define MAX_ROWS 2
#ifdef CASTSTREAM_X86
#define FMA(a, b, c) (Vector) exact_fma((__m128)(a), (__m128)(b), (__m128)(c))
#else
#define FMA(a, b, c) (Vector{EXACT_FMA(a, b, c, 0), EXACT_FMA(a, b, c, 1), EXACT_FMA(a, b, c, 2), EXACT_FMA(a, b, c, 3)})
#endif
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#include KERNEL_FILE
#include "end_of_set.hpp"

#undef KERNEL_FILE
