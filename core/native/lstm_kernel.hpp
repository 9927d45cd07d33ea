// A float32 LSTM of any depth with a linear output of K numbers a step, for inference: packed weights, and the choice
// of an instruction set. Letters: F features, H hidden units, L layers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define CASTSTREAM_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace caststream {

constexpr int UNITS = 16;            // hidden units whose weights stand together: what the widest vector holds
constexpr float LIMIT = 87.0f;       // exp down to minus this is a normal number
constexpr float TANH_LIMIT = 20.0f;  // of 2|x|: tanh is 1 in float32 from 18.1 on

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

// `input`, `h` and `c` say where these stand in a row of a tile. Weights are (units / UNITS, 1 + input_size + H, 4,
// UNITS): for each block of units the sum of both biases, then the weights of each input, then of each h.
struct Layer {
    int input, input_size, h, c;
    int block_size;
    Floats packed;
    const float* weights;
};

// A row of a tile: the sample, h of all layers, c of all layers, and the h being made. Each begins at a multiple of
// UNITS; the units that fill up H have zero weights, are never read by others and never leave the tile.
struct Model {
    int features, hidden_size, outputs, padded;
    int fresh, row_size;
    std::vector<Layer> layers;
    Floats output_packed;  // (K, padded)
    const float* output;
    std::vector<float> output_bias;
    std::vector<float> mean, std;

    Model(int features_, int hidden_size_, int layer_count, int outputs_)
        : features(features_), hidden_size(hidden_size_), outputs(outputs_), padded(caststream::padded(hidden_size_)),
          output_bias(outputs_, 0.0f), mean(features_, 0.0f), std(features_, 1.0f) {
        const int h = caststream::padded(features), c = h + layer_count * padded;
        fresh = c + layer_count * padded;
        row_size = fresh + padded;
        for (int i = 0; i < layer_count; ++i) add_layer(i, h + i * padded, c + i * padded);
        output_packed = aligned(static_cast<size_t>(outputs) * padded);
        output = output_packed.get();
    }

    int state_size() const { return 2 * static_cast<int>(layers.size()) * hidden_size; }

    // As torch has them: (4H, inputs), (4H, H), (4H,), (4H,); gates in the order input, forget, cell, output.
    void set_layer(int index, const float* inputs, const float* recurrent, const float* bias, const float* bias2) {
        Layer& layer = layers[index];
        for (int unit = 0; unit < hidden_size; ++unit) {
            for (int gate = 0; gate < 4; ++gate) {
                const size_t from = static_cast<size_t>(gate) * hidden_size + unit;
                float* to = layer.packed.get() + static_cast<size_t>(unit / UNITS) * layer.block_size +
                            gate * UNITS + unit % UNITS;
                *to = bias[from] + bias2[from];
                to = spread(to + 4 * UNITS, inputs + from * layer.input_size, layer.input_size);
                spread(to, recurrent + from * hidden_size, hidden_size);
            }
        }
    }

    // As torch has them: (K, H), (K,).
    void set_output(const float* weights, const float* bias) {
        for (int k = 0; k < outputs; ++k, weights += hidden_size) {
            std::memcpy(output_packed.get() + static_cast<size_t>(k) * padded, weights, hidden_size * sizeof(float));
            output_bias[k] = bias[k];
        }
    }

  private:
    void add_layer(int index, int h, int c) {
        const int input = index ? h - padded : 0, input_size = index ? hidden_size : features;
        const int block_size = 4 * UNITS * (1 + input_size + hidden_size);
        Floats packed = aligned(static_cast<size_t>(padded / UNITS) * block_size);
        const float* weights = packed.get();
        layers.push_back({input, input_size, h, c, block_size, std::move(packed), weights});
    }

    static float* spread(float* to, const float* from, int count) {
        for (int k = 0; k < count; ++k, to += 4 * UNITS) *to = from[k];
        return to;
    }
};

struct InstructionSet {
    int max_rows;
    void (*step)(const Model&, float* tile, int rows);
    void (*predict)(const Model&, const float* h, float* to);
    void (*activate)(const float* gates, float* values, int64_t size);
};

}  // namespace caststream

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll_count(8)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#ifdef CASTSTREAM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define INSTRUCTIONS avx512
#define LANES 16
#define MAX_ROWS 6
#define FMA(a, b, c) (Vector) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define MIN(a, b) (Vector) _mm512_maskz_min_ps(0xffff, (__m512)(a), (__m512)(b))
#include "lstm_tile.hpp"
#undef INSTRUCTIONS
#undef LANES
#undef MAX_ROWS
#undef FMA
#undef MIN
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define INSTRUCTIONS avx2
#define LANES 8
#define MAX_ROWS 3
#define FMA(a, b, c) (Vector) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define MIN(a, b) (Vector) _mm256_min_ps((__m256)(a), (__m256)(b))
#include "lstm_tile.hpp"
#undef INSTRUCTIONS
#undef LANES
#undef MAX_ROWS
#undef FMA
#undef MIN
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define INSTRUCTIONS plain
#define LANES 4
#define MAX_ROWS 2
#define FMA(a, b, c) ((a) * (b) + (c))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#include "lstm_tile.hpp"
#undef INSTRUCTIONS
#undef LANES
#undef MAX_ROWS
#undef FMA
#undef MIN

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
#endif

// The set of a name, or null where this machine has none of it.
inline const InstructionSet* instruction_set(const char* name) {
#ifdef CASTSTREAM_X86
    static const Processor processor;
    if (!std::strcmp(name, "avx512")) return processor.avx512 ? &avx512::SET : nullptr;
    if (!std::strcmp(name, "avx2")) return processor.avx2 ? &avx2::SET : nullptr;
#endif
    return std::strcmp(name, "plain") ? nullptr : &plain::SET;
}

// Numbers below 1e-38 count as zero while this lives: processors take 10 % (Zen 4) to many times as long over them.
class FlushToZero {
#ifdef CASTSTREAM_X86
    const unsigned before = _mm_getcsr();

  public:
    FlushToZero() { _mm_setcsr(before | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before); }
#endif
};

}  // namespace caststream
