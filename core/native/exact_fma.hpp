// a * b + c of float32, rounded once, where the compiler may not use an instruction for it: on x86 by float64, in which the
// product is exact.
#pragma once

#include "platform.hpp"

#ifdef CASTSTREAM_X86
namespace caststream {

// Float64 has 29 bits more than float32. A sum is half way between two float32 if the first of them alone is set.
constexpr int MORE_BITS = 0x1fffffff, HALF_WAY = 0x10000000;

// Sums that float64 rounded to half way move off it, to the side where the exact sum lies. Not inlined: one in 2^29 sums
// of numbers without a pattern needs it.
__attribute__((noinline, cold)) inline __m128d off_half_way(__m128d product, __m128d c, __m128d sum) {
    const __m128d back = _mm_sub_pd(sum, product), zero = _mm_setzero_pd();
    const __m128d error = _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, back)), _mm_sub_pd(c, back));
    const __m128d side = _mm_mul_pd(error, sum);  // above 0: the exact sum is further from zero
    const __m128i bits = _mm_castpd_si128(sum);
    const __m128i low = _mm_cmpeq_epi32(_mm_and_si128(bits, _mm_set1_epi32(MORE_BITS)), _mm_set1_epi32(HALF_WAY));
    const __m128i half_way = _mm_shuffle_epi32(low, _MM_SHUFFLE(2, 2, 0, 0));
    const __m128i further = _mm_and_si128(half_way, _mm_castpd_si128(_mm_cmpgt_pd(side, zero)));  // -1 where so
    const __m128i nearer = _mm_and_si128(half_way, _mm_castpd_si128(_mm_cmplt_pd(side, zero)));
    return _mm_castsi128_pd(_mm_add_epi64(_mm_sub_epi64(bits, further), nearer));
}

// Tiny results count as zero, as of the instruction, while FlushToZero lives; without it they may be rounded twice.
INLINE __m128 exact_fma(__m128 a, __m128 b, __m128 c) {
    const __m128d low_c = _mm_cvtps_pd(c), high_c = _mm_cvtps_pd(_mm_movehl_ps(c, c));
    const __m128d low = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b));
    const __m128d high = _mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)));
    __m128d low_sum = _mm_add_pd(low, low_c), high_sum = _mm_add_pd(high, high_c);
    const __m128i words = _mm_castps_si128(
        _mm_shuffle_ps(_mm_castpd_ps(low_sum), _mm_castpd_ps(high_sum), _MM_SHUFFLE(2, 0, 2, 0)));
    const __m128i half_way = _mm_cmpeq_epi32(_mm_and_si128(words, _mm_set1_epi32(MORE_BITS)), _mm_set1_epi32(HALF_WAY));
    if (__builtin_expect(_mm_movemask_epi8(half_way), 0)) {
        low_sum = off_half_way(low, low_c, low_sum);
        high_sum = off_half_way(high, high_c, high_sum);
    }
    return _mm_movelh_ps(_mm_cvtpd_ps(low_sum), _mm_cvtpd_ps(high_sum));
}

}  // namespace caststream
#else
// Of lane i of three vectors: an instruction, or else the C library's.
#define EXACT_FMA(a, b, c, i) __builtin_fmaf((a)[i], (b)[i], (c)[i])
#endif
