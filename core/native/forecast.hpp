// A forecast that a stream keeps from one step to the next, and how the next sample lies in it.
//
// A forecast of n numbers stands in a stream's state as float32: 1 where there is one, else 0; where its means are changes,
// the n numbers of the sample that it was made at; n means; n natural logarithms of variances. All else is float64, number
// after number, so a row has the same bits in any batch and on any machine.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "exponential.hpp"

namespace caststream {

constexpr double NOTHING_YET = -FLT_MAX;  // expected, or a score, where there is no forecast yet
constexpr double NO_DISTANCE = -1.0;      // the square of a distance, and a surprise, there
constexpr double LARGEST_LOGARITHM = 170.0, LEAST_STD = 1e-37, LARGEST_SQUARE = 100.0;

struct ForecastShape {
    int numbers;   // n
    bool changes;
    const double* least;  // standard deviations, (n,)

    int kept() const { return 1 + (changes ? 3 : 2) * numbers; }
};

// exp of half a logarithm, without the branches of `exponential`: |x| <= LARGEST_LOGARITHM / 2.
inline double std_of(float log_variance) {
    const double wide = log_variance;
    const double held = wide < -LARGEST_LOGARITHM ? -LARGEST_LOGARITHM : wide > LARGEST_LOGARITHM ? LARGEST_LOGARITHM : wide;
    const double x = held * 0.5, round = 0x1.8p52;  // what is added to it is rounded to a whole number
    const double shifted = x * 0x1.71547652b82fep+0 + round, k = shifted - round;
    const double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    double sum = SERIES.factors[TERMS];
    for (int n = TERMS - 1; n >= 0; --n) sum = sum * r + SERIES.factors[n];
    int64_t bits;
    std::memcpy(&bits, &shifted, 8);
    bits = (bits + 1023) << 52;
    double scale;
    std::memcpy(&scale, &bits, 8);
    return sum * scale;
}

inline bool are_finite(const float* numbers, int count) {
    bool all = true;
    for (int i = 0; i < count; ++i) all &= std::fabs(numbers[i]) <= FLT_MAX;
    return all;
}

inline void fill(double* to, int count, double value) {
    for (int i = 0; i < count; ++i) to[i] = value;
}

// How the first n numbers of a sample lie in what was kept: what was expected of each, and the square of its distance in
// standard deviations. NaN where the forecast has a number that is not finite.
inline void judge(const ForecastShape& shape, const float* sample, const float* kept, double* expected, double* squares) {
    const int n = shape.numbers;
    const float *before = kept + 1, *means = before + (shape.changes ? n : 0), *logarithms = means + n;
    if (kept[0] == 0 || !are_finite(before, shape.kept() - 1)) {
        fill(expected, n, kept[0] == 0 ? NOTHING_YET : NAN);
        fill(squares, n, kept[0] == 0 ? NO_DISTANCE : NAN);
        return;
    }
    for (int i = 0; i < n; ++i) {
        const double from = shape.changes ? before[i] : 0.0, std = std_of(logarithms[i]);
        const double least = shape.least[i] > LEAST_STD ? shape.least[i] : LEAST_STD;
        const double distance = ((sample[i] - from) - means[i]) / (std > least ? std : least);
        expected[i] = from + means[i];
        squares[i] = distance * distance;
    }
}

// Keep the forecast that is made at a sample.
inline void keep(const ForecastShape& shape, const float* sample, const float* forecast, float* kept) {
    const int n = shape.numbers;
    *kept++ = 1.0f;
    if (shape.changes) std::memcpy(kept, sample, n * sizeof(float)), kept += n;
    std::memcpy(kept, forecast, 2 * n * sizeof(float));
}

inline double surprise(const double* squares, int n) {
    if (squares[0] < 0) return NO_DISTANCE;
    double sum = 0.0;
    for (int i = 0; i < n; ++i) sum += squares[i];
    const double found = std::sqrt(sum / n);
    return found > FLT_MAX ? FLT_MAX : found;
}

// Move the averages of a likelihood ratio on, which are kept as float32 behind the count of their steps; return the ratio.
// Without a forecast, or with one that is no number, they stay.
inline double likelihood_ratio(const double* squares, int n, double horizon, const float* before, float* after) {
    std::memcpy(after, before, (1 + n) * sizeof(float));
    if (!(squares[0] >= 0)) return squares[0] < 0 ? NOTHING_YET : NAN;
    const double count = before[0] + 1.0 < horizon ? before[0] + 1.0 : horizon;
    double sum = 0.0;
    after[0] = static_cast<float>(count);
    for (int i = 0; i < n; ++i) {
        const double square = squares[i] < LARGEST_SQUARE ? squares[i] : LARGEST_SQUARE;
        const double average = before[1 + i];
        after[1 + i] = static_cast<float>(average + ((square - 1.0) / 2.0 - average) / count);
        sum += after[1 + i];
    }
    return sum / n;
}

// The place of the first of the largest averages; none without a ratio.
inline double leading(double ratio, const float* averages, int n) {
    if (std::isnan(ratio) || ratio == NOTHING_YET) return std::isnan(ratio) ? NAN : NO_DISTANCE;
    int largest = 0;
    for (int i = 1; i < n; ++i) largest = averages[i] > averages[largest] ? i : largest;
    return largest;
}

}  // namespace caststream
