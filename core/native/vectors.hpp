// Vectors of float32 and the functions of gates, for each set of instructions: in the namespaces avx512, avx2, neon, plain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned.hpp"

namespace caststream {

constexpr float LIMIT = 87.0f;       // exp down to minus this is a normal number
constexpr float TANH_LIMIT = 20.0f;  // of 2|x|: tanh is 1 in float32 from 18.1 on

}  // namespace caststream

#define KERNEL_FILE "vector_math.hpp"
#include "for_each_set.hpp"
