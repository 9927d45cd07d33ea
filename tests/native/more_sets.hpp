// Two more ways to compile the kernels, for tests alone. `single` has one number in a vector and the standard library's
// fused multiply-add: slow and obvious. `wide` has the loops of AVX-512 on processors with AVX2.
#pragma once

#include <cmath>

#include "../../core/native/window_lstm_layers.hpp"

#define INSTRUCTIONS single
#define SET_NAME "single"
#define LANES 1
#define MAX_ROWS 1
#define FMA(a, b, c) (Vector{std::fma((a)[0], (b)[0], (c)[0])})
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#include "../../core/native/vector_math.hpp"
#include "../../core/native/lstm_tile.hpp"
#include "../../core/native/window_lstm_tile.hpp"
#include "../../core/native/end_of_set.hpp"

#ifdef CASTSTREAM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define INSTRUCTIONS wide
#define SET_NAME "wide"
#define LANES 16
#define MAX_ROWS 6
#define FMA(a, b, c) fma_of_halves<Vector>(a, b, c)
#define MIN(a, b) ((a) < (b) ? (a) : (b))
namespace caststream::wide {
template <typename Vector>
INLINE Vector fma_of_halves(const Vector& a, const Vector& b, const Vector& c) {
    Vector sum;
    for (int half = 0; half < 2; ++half) {
        const size_t at = half * sizeof(__m256);
        __m256 x, y, z;
        std::memcpy(&x, reinterpret_cast<const char*>(&a) + at, sizeof(x));
        std::memcpy(&y, reinterpret_cast<const char*>(&b) + at, sizeof(y));
        std::memcpy(&z, reinterpret_cast<const char*>(&c) + at, sizeof(z));
        z = _mm256_fmadd_ps(x, y, z);
        std::memcpy(reinterpret_cast<char*>(&sum) + at, &z, sizeof(z));
    }
    return sum;
}
}  // namespace caststream::wide
#include "../../core/native/vector_math.hpp"
#include "../../core/native/lstm_tile.hpp"
#include "../../core/native/window_lstm_tile.hpp"
#include "../../core/native/end_of_set.hpp"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace caststream {

inline const InstructionSet* set_or_more(const char* name) {
    if (!std::strcmp(name, "single")) return &single::SET;
#ifdef CASTSTREAM_X86
    if (!std::strcmp(name, "wide")) return Processor().avx2 ? &wide::SET : nullptr;
#endif
    return instruction_set(name);
}

inline const WindowSet* window_set_or_more(const char* name) {
    if (!std::strcmp(name, "single")) return &single::WINDOW_SET;
#ifdef CASTSTREAM_X86
    if (!std::strcmp(name, "wide")) return Processor().avx2 ? &wide::WINDOW_SET : nullptr;
#endif
    return window_set(name);
}

}  // namespace caststream
