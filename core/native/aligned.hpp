// Float32 numbers that begin where the widest vector may begin.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace caststream {

constexpr int UNITS = 16;  // hidden units whose weights stand together: what the widest vector holds

struct Release {
    void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float[], Release>;

// Zeros, aligned to the widest vector; `size` is a multiple of UNITS.
inline Floats aligned(size_t size) {
    void* memory = std::aligned_alloc(64, (size ? size : UNITS) * sizeof(float));
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0, size * sizeof(float));
    return Floats(static_cast<float*>(memory));
}

inline int padded(int size) { return (size + UNITS - 1) / UNITS * UNITS; }

}  // namespace caststream
