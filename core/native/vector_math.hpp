// Included once for each set of instructions, through vectors.hpp: a vector, its arithmetic, and the functions of gates.
// Every number is made of the same operations in the same order in any batch and in any set.

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

// exp(-|x|). MIN gives its second argument where it is NaN.
INLINE Vector exp_of_minus_size(Vector x) {
    Reduced e = reduce(-MIN(splat(LIMIT), size_of(x)));
    Vector p = fma(splat(0x1.0f9f9cp-7f), e.r, splat(0x1.573a1ap-5f));
    p = fma(p, e.r, splat(0x1.555a8p-3f));
    p = fma(p, e.r, splat(0x1.fffdc6p-2f));
    p = fma(p, e.r, splat(0x1.fffff6p-1f));
    return fma(p, e.r, splat(1.0f)) * e.scale;
}

// With y = e / (1 + e) and e = exp(-|x|): y, or 1 - y. A forget gate that hardly moves rounds the same way at every
// step, and in ten thousand steps of a model with a long memory that adds up to 1e-4; so formula and polynomial are
// those that nn.LSTM uses on this kind of machine, and both round alike.
INLINE Vector sigmoid(Vector x) {
    Vector e = exp_of_minus_size(x), y = e / (splat(1.0f) + e);
    return x > Vector{} ? splat(1.0f) - y : y;
}

// 1 / (1 + exp(-x)), which rounds near 1 as nn.GRU does: where z of a GRU with a long memory rounds otherwise at every
// step, that adds up to ten times the difference.
INLINE Vector sigmoid_by_division(Vector x) {
    Vector e = exp_of_minus_size(x);
    return (x > Vector{} ? splat(1.0f) : e) / (splat(1.0f) + e);
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

// Summed as by a vector of UNITS numbers, whatever LANES is. `size` is a multiple of UNITS.
INLINE float product(const float* h, const float* weights, int size) {
    Vector parts[UNITS / LANES]{};
    for (int i = 0; i < size; i += UNITS) {
        UNROLL for (int p = 0; p < UNITS / LANES; ++p) {
            const int at = i + p * LANES;
            parts[p] = fma(load(h + at), load(weights + at), parts[p]);
        }
    }
    alignas(64) float sums[UNITS];
    for (int p = 0; p < UNITS / LANES; ++p) store(sums + p * LANES, parts[p]);
    for (int half = UNITS / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0];
}

}  // namespace caststream::INSTRUCTIONS
