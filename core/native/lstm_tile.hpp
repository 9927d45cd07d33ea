// One step of up to MAX_ROWS rows through all layers, for one instruction set: lstm_kernel.hpp includes this file once
// for each, with LANES (floats in a vector), MAX_ROWS (rows whose gates fit the registers), FMA(a, b, c), MIN(a, b) and
// the namespace INSTRUCTIONS defined. Nothing here depends on the number of rows but how often it is done: every number is
// made of the same operations in the same order in any batch. That needs -ffp-contract=off, or else the compiler fuses
// products and sums as it likes, in each instance of a template differently.

namespace caststream::INSTRUCTIONS {

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Bits __attribute__((vector_size(4 * LANES)));

INLINE Vector splat(float value) { return value - Vector{}; }
INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
INLINE void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
INLINE Vector fma(Vector a, Vector b, Vector c) { return FMA(a, b, c); }

// exp(x) = scale * exp(r): scale is a power of two, |r| <= ln(2) / 2, -LIMIT <= x <= 0.
struct Reduced {
    Vector scale, r;
};

INLINE Reduced reduce(Vector x) {
    const Vector round = splat(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to a whole number
    Vector shifted = fma(x, splat(0x1.715476p+0f), round);
    Bits scale = (reinterpret_cast<Bits>(shifted) << 23) + (127 << 23);
    return {reinterpret_cast<Vector>(scale), fma(shifted - round, splat(-0x1.62e43p-1f), x)};
}

INLINE Vector size_of(Vector x) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & INT32_MAX); }

// With y = e / (1 + e) and e = exp(-|x|): y, or 1 - y. A forget gate that hardly moves rounds the same way at every
// step, and in ten thousand steps of a model with a long memory that adds up to 1e-4; so formula and polynomial are
// those that nn.LSTM uses on this kind of machine, and both round alike. MIN gives its second argument where it is NaN.
INLINE Vector sigmoid(Vector x) {
    Reduced e = reduce(-MIN(splat(LIMIT), size_of(x)));
    Vector p = fma(splat(0x1.0f9f9cp-7f), e.r, splat(0x1.573a1ap-5f));
    p = fma(p, e.r, splat(0x1.555a8p-3f));
    p = fma(p, e.r, splat(0x1.fffdc6p-2f));
    p = fma(p, e.r, splat(0x1.fffff6p-1f));
    p = fma(p, e.r, splat(1.0f)) * e.scale;
    Vector y = p / (splat(1.0f) + p);
    return x > Vector{} ? splat(1.0f) - y : y;
}

// tanh(x) = x + x^3 * q(x^2), |x| <= 0.5625: minimax, to 0.03 ulp.
INLINE Vector small_tanh(Vector x) {
    Vector z = x * x;
    Vector q = fma(splat(-0x1.951d1p-8f), z, splat(0x1.5835b6p-6f));
    q = fma(q, z, splat(-0x1.b90a28p-5f));
    q = fma(q, z, splat(0x1.110c7ap-3f));
    q = fma(q, z, splat(-0x1.555548p-2f));
    return fma(x * z, q, x);
}

// 1 - 2e / (1 + e) with e = exp(-2x), x > 0.5625. exp(r) = 1 + r + r^2 * q(r): minimax, to 0.15 ulp.
INLINE Vector large_tanh(Vector x) {
    Reduced e = reduce(-MIN(splat(TANH_LIMIT), x + x));
    Vector q = fma(splat(0x1.6bec74p-10f), e.r, splat(0x1.1227a8p-7f));
    q = fma(q, e.r, splat(0x1.555674p-5f));
    q = fma(q, e.r, splat(0x1.5554b0p-3f));
    q = fma(q, e.r, splat(0x1.fffffep-2f));
    Vector p = fma(e.scale, fma(e.r * e.r, q, e.r), e.scale);
    return splat(1.0f) - (p + p) / (splat(1.0f) + p);
}

INLINE Vector tanh(Vector x) {
    Vector size = size_of(x), found = size > splat(0.5625f) ? large_tanh(size) : small_tanh(size);
    return reinterpret_cast<Vector>(reinterpret_cast<Bits>(found) | (reinterpret_cast<Bits>(x) & INT32_MIN));
}

// Gates += inputs * weights: `inputs` of rows `stride` apart, `weights` (count, 4, UNITS).
template <int ROWS>
INLINE void accumulate(Vector (&gates)[ROWS][4], const float* inputs, ptrdiff_t stride, const float* weights,
                       ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; ++k, weights += 4 * UNITS) {
        // Inputs first: with all four weights held instead, clang runs out of registers and takes half as long again.
        Vector x[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) x[r] = splat(inputs[r * stride + k]);
        UNROLL for (int g = 0; g < 4; ++g) {
            Vector w = load(weights + g * UNITS);
            UNROLL for (int r = 0; r < ROWS; ++r) gates[r][g] = fma(x[r], w, gates[r][g]);
        }
    }
}

INLINE void cell(const Vector (&gates)[4], float* c, float* h) {
    Vector after = fma(sigmoid(gates[0]), tanh(gates[2]), load(c) * sigmoid(gates[1]));
    store(c, after);
    store(h, sigmoid(gates[3]) * tanh(after));
}

// LANES units of one layer: their gates stay in registers from the bias to h and c.
template <int ROWS>
INLINE void step_units(const Model& model, const Layer& layer, const float* weights, float* tile, int unit) {
    const ptrdiff_t stride = model.row_size;
    Vector gates[ROWS][4];
    UNROLL for (int r = 0; r < ROWS; ++r) {
        UNROLL for (int g = 0; g < 4; ++g) gates[r][g] = load(weights + g * UNITS);
    }
    weights += 4 * UNITS;
    accumulate<ROWS>(gates, tile + layer.input, stride, weights, layer.input_size);
    accumulate<ROWS>(gates, tile + layer.h, stride, weights + layer.input_size * 4 * UNITS, model.hidden_size);
    UNROLL for (int r = 0; r < ROWS; ++r) {
        float* row = tile + r * stride + unit;
        cell(gates[r], row + layer.c, row + model.fresh);
    }
}

template <int ROWS>
void step_rows(const Model& model, float* tile) {
    for (const Layer& layer : model.layers) {
        const float* weights = layer.weights;
        for (int unit = 0; unit < model.padded; unit += UNITS, weights += layer.block_size) {
            for (int part = 0; part < UNITS; part += LANES) {
                step_units<ROWS>(model, layer, weights + part, tile, unit + part);
            }
        }
        for (int r = 0; r < ROWS; ++r) {  // only now: until here every unit has read the h before
            float* row = tile + r * model.row_size;
            int i = 0;
            for (; i + LANES <= model.hidden_size; i += LANES) store(row + layer.h + i, load(row + model.fresh + i));
            for (; i < model.hidden_size; ++i) row[layer.h + i] = row[model.fresh + i];
        }
    }
}

INLINE float product(const float* h, const float* weights, int size) {
    alignas(64) float sums[LANES];
    Vector sum{};
    for (int i = 0; i < size; i += LANES) sum = fma(load(h + i), load(weights + i), sum);
    store(sums, sum);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0];
}

// The output layer, of one row: K numbers.
inline void predict(const Model& model, const float* h, float* to) {
    const float* weights = model.output;
    for (int k = 0; k < model.outputs; ++k, weights += model.padded) {
        to[k] = product(h, weights, model.padded) + model.output_bias[k];
    }
}

void step(const Model& model, float* tile, int rows) {
    switch (rows) {
        case 1: return step_rows<1>(model, tile);
        case 2: return step_rows<2>(model, tile);
#if MAX_ROWS > 2
        case 3: return step_rows<3>(model, tile);
#endif
#if MAX_ROWS > 3
        case 4: return step_rows<4>(model, tile);
        case 5: return step_rows<5>(model, tile);
        case 6: return step_rows<6>(model, tile);
#endif
    }
}

// For tests: sigmoid(gates) * tanh(values), in place of the values; `size` is a multiple of LANES.
void activate(const float* gates, float* values, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES) store(values + i, sigmoid(load(gates + i)) * tanh(load(values + i)));
}

constexpr InstructionSet SET{MAX_ROWS, step, predict, activate};

}  // namespace caststream::INSTRUCTIONS
