// exp, ln and tanh in float64 of sums and products alone: C libraries round theirs differently on each kind of processor.
#pragma once

#include <cmath>

namespace caststream {

constexpr double inverse_factorial(int n) {
    double product = 1.0;
    for (int i = 2; i <= n; ++i) product *= i;  // exact up to 18!
    return 1.0 / product;
}

constexpr int TERMS = 14;  // of Taylor's series; what is left out is below 1e-18

struct Series {
    double factors[TERMS + 1];

    constexpr Series() : factors() {
        for (int n = 0; n <= TERMS; ++n) factors[n] = inverse_factorial(n);
    }
};

constexpr Series SERIES;

// To about one unit in the last place. exp(x) = 2^k * exp(r), |r| <= ln(2) / 2.
inline double exponential(double x) {
    if (!(x >= -708.0)) return x < 0.0 ? 0.0 : x;  // what is not a number stays so
    if (x > 709.0) return HUGE_VAL;
    const double round = 0x1.8p52;  // what is added to it is rounded to a whole number
    const double k = (x * 0x1.71547652b82fep+0 + round) - round;
    const double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;  // ln(2) in two parts; the first product is exact
    double sum = SERIES.factors[TERMS];
    for (int n = TERMS - 1; n >= 0; --n) sum = sum * r + SERIES.factors[n];
    return std::ldexp(sum, static_cast<int>(k));
}

// To some units in the last place, of a normal number above 0. x = m * 2^k, and ln(m) = 2 * artanh((m - 1) / (m + 1)).
inline double logarithm(double x) {
    int k;
    double m = std::frexp(x, &k);
    if (m < 0x1.6a09e667f3bcdp-1) m *= 2.0, --k;  // between the roots of a half and of two
    const double s = (m - 1.0) / (m + 1.0), square = s * s;
    double sum = 1.0 / 23.0;
    for (int n = 21; n >= 1; n -= 2) sum = sum * square + 1.0 / n;
    return 2.0 * s * sum + k * 0x1.62e42fefa39efp-1;
}

// To 2e-13 of its size, and to 3e-16.
inline double hyperbolic_tangent(double x) {
    const double size = std::fabs(x);
    if (size < 1e-3) return x - x * x * x / 3.0;
    return std::copysign(1.0 - 2.0 / (1.0 + exponential(2.0 * size)), x);
}

}  // namespace caststream
