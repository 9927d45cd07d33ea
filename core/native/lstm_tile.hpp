// One step of up to MAX_ROWS rows through all layers, for one instruction set: lstm_kernel.hpp includes this file once
// for each, with LANES (floats in a vector), MAX_ROWS (rows whose gates fit the registers), FMA(a, b, c), MIN, MAX and
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

// exp(x) = scale * (1 + rest), |x| <= LIMIT: scale is a power of two, and rest = exp(r) - 1, |r| <= ln(2) / 2, keeps
// its relative accuracy near 0. The polynomial is the minimax one, to 0.15 ulp.
struct Exponential {
    Vector scale, rest;
};

INLINE Exponential exponential(Vector x) {
    const Vector round = splat(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to a whole number
    Vector shifted = fma(x, splat(0x1.715476p+0f), round);
    Vector n = shifted - round;
    Vector r = fma(n, splat(-0x1.62e4p-1f), x);  // ln(2) in two parts, the first exact in its products
    r = fma(n, splat(-0x1.7f7d1cp-20f), r);
    Vector q = fma(splat(0x1.6bec74p-10f), r, splat(0x1.1227a8p-7f));
    q = fma(q, r, splat(0x1.555674p-5f));
    q = fma(q, r, splat(0x1.5554b0p-3f));
    q = fma(q, r, splat(0x1.fffffep-2f));
    Bits scale = (reinterpret_cast<Bits>(shifted) << 23) + (127 << 23);
    return {reinterpret_cast<Vector>(scale), fma(r * r, q, r)};
}

INLINE Vector power(Exponential e) { return fma(e.scale, e.rest, e.scale); }

// 1 / sigmoid(x). MIN and MAX give their second argument where it is NaN.
INLINE Vector inverse_sigmoid(Vector x) {
    return splat(1.0f) + power(exponential(-MAX(splat(-LIMIT), MIN(splat(LIMIT), x))));
}

// sigmoid(gate) * tanh(x) with one division. tanh is m / (m + 2) with m = exp(2|x|) - 1, and the sign of x: odd to the
// last bit, so that it draws to neither side in ten thousand steps.
INLINE Vector gated_tanh(Vector gate, Vector x) {
    Bits sign = reinterpret_cast<Bits>(x) & INT32_MIN;
    Vector size = reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) ^ sign);
    Exponential e = exponential(MIN(splat(TANH_LIMIT), size + size));
    Vector m = fma(e.scale, e.rest, e.scale - splat(1.0f));
    Vector gated = m / (inverse_sigmoid(gate) * (m + splat(2.0f)));
    return reinterpret_cast<Vector>(reinterpret_cast<Bits>(gated) | sign);
}

// Gates += inputs * weights: `inputs` of rows `stride` apart, `weights` (count, 4, UNITS).
template <int ROWS>
INLINE void accumulate(Vector (&gates)[ROWS][4], const float* inputs, ptrdiff_t stride, const float* weights,
                       ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; ++k, weights += 4 * UNITS) {
        Vector w[4];
        UNROLL for (int g = 0; g < 4; ++g) w[g] = load(weights + g * UNITS);
        UNROLL for (int r = 0; r < ROWS; ++r) {
            Vector x = splat(inputs[r * stride + k]);
            UNROLL for (int g = 0; g < 4; ++g) gates[r][g] = fma(x, w[g], gates[r][g]);
        }
    }
}

INLINE void cell(Vector input, Vector forget, Vector candidate, Vector output, float* c, float* h) {
    Vector after = load(c) / inverse_sigmoid(forget) + gated_tanh(input, candidate);
    store(c, after);
    store(h, gated_tanh(output, after));
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
        cell(gates[r][0], gates[r][1], gates[r][2], gates[r][3], row + layer.c, row + model.fresh);
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

// The output layer, of one row.
inline float predict(const Model& model, const float* h) {
    alignas(64) float sums[LANES];
    Vector sum{};
    for (int i = 0; i < model.padded; i += LANES) sum = fma(load(h + i), load(model.output + i), sum);
    store(sums, sum);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0] + model.output_bias;
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
    for (int64_t i = 0; i < size; i += LANES) store(values + i, gated_tanh(load(gates + i), load(values + i)));
}

constexpr InstructionSet SET{MAX_ROWS, step, predict, activate};

}  // namespace caststream::INSTRUCTIONS
