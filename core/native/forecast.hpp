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
constexpr double NO_SURPRISE = -1.0, NO_DISTANCE = -HUGE_VAL;  // a surprise and a distance there
constexpr double LARGEST_LOGARITHM = 170.0, LEAST_STD = 1e-37;
// One distance counts for no more, so that one wild sample does not hold an alarm for long.
constexpr double LARGEST_DISTANCE = 6.0;

// The least variance of distances that counts: a field that hardly ever moves is forecast too well, and would rule all others.
constexpr double LEAST_VARIANCE = 0.1;

// An average over the horizon sees what lasts, and lingers behind what is short: a third and a tenth of it go beside it.
constexpr int SPANS = 3;
constexpr double PARTS[SPANS] = {1.0, 3.0, 10.0};

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

// How the first n numbers of a sample lie in what was kept: what was expected of each, and its distance in standard
// deviations. NaN where the forecast has a number that is not finite.
inline void judge(const ForecastShape& shape, const float* sample, const float* kept, double* expected, double* distances) {
    const int n = shape.numbers;
    const float *before = kept + 1, *means = before + (shape.changes ? n : 0), *logarithms = means + n;
    if (kept[0] == 0 || !are_finite(before, shape.kept() - 1)) {
        fill(expected, n, kept[0] == 0 ? NOTHING_YET : NAN);
        fill(distances, n, kept[0] == 0 ? NO_DISTANCE : NAN);
        return;
    }
    for (int i = 0; i < n; ++i) {
        const double from = shape.changes ? before[i] : 0.0, std = std_of(logarithms[i]);
        const double least = shape.least[i] > LEAST_STD ? shape.least[i] : LEAST_STD;
        expected[i] = from + means[i];
        distances[i] = ((sample[i] - from) - means[i]) / (std > least ? std : least);
    }
}

// Keep the forecast that is made at a sample.
inline void keep(const ForecastShape& shape, const float* sample, const float* forecast, float* kept) {
    const int n = shape.numbers;
    *kept++ = 1.0f;
    if (shape.changes) std::memcpy(kept, sample, n * sizeof(float)), kept += n;
    std::memcpy(kept, forecast, 2 * n * sizeof(float));
}

inline double surprise(const double* distances, int n) {
    if (distances[0] == NO_DISTANCE) return NO_SURPRISE;
    double sum = 0.0;
    for (int i = 0; i < n; ++i) sum += distances[i] * distances[i];
    const double found = std::sqrt(sum / n);
    return found > FLT_MAX ? FLT_MAX : found;
}

inline float moved(float average, double value, double steps) {
    const double before = average;
    return static_cast<float>(before + (value - before) / steps);
}

// By how many nats the last distances are likelier of N(m, v) than of N(0, 1), on average: m and v are their own mean and
// variance. Given are the averages of the distances and of their squares less 1.
inline double divergence(double mean, double excess) {
    const double square = mean * mean, found = (1.0 + excess) - square;
    const double variance = found > LEAST_VARIANCE ? found : LEAST_VARIANCE;
    return (square + (variance - 1.0) - logarithm(variance)) / 2.0;
}

// The ratio of number i: the mean over the spans. Of each the averages of n distances stand before those of n squares less 1.
inline double ratio_of(const float* averages, int n, int i) {
    double sum = 0.0;
    for (int span = 0; span < SPANS; ++span, averages += 2 * n) sum += divergence(averages[i], averages[n + i]);
    return sum / SPANS;
}

// Move the averages of a likelihood ratio on, kept as float32, all 0 at first. Return the largest ratio. Without a forecast, or
// with one that is no number, they stay.
inline double likelihood_ratio(const double* distances, int n, double horizon, const float* before, float* after) {
    std::memcpy(after, before, 2 * SPANS * n * sizeof(float));
    if (std::isnan(distances[0]) || distances[0] == NO_DISTANCE) return std::isnan(distances[0]) ? NAN : NOTHING_YET;
    for (int span = 0; span < SPANS; ++span) {
        const double part = horizon / PARTS[span], steps = part > 1.0 ? part : 1.0;
        float* averages = after + 2 * span * n;
        for (int i = 0; i < n; ++i) {
            const double distance = std::fmin(std::fmax(distances[i], -LARGEST_DISTANCE), LARGEST_DISTANCE);
            averages[i] = moved(averages[i], distance, steps);
            averages[n + i] = moved(averages[n + i], distance * distance - 1.0, steps);
        }
    }
    double largest = -DBL_MAX;
    for (int i = 0; i < n; ++i) {
        const double ratio = ratio_of(after, n, i);
        largest = ratio > largest ? ratio : largest;
    }
    return largest;
}

// The place of the first of the largest ratios; none without a ratio.
inline double leading(double ratio, const float* averages, int n) {
    if (std::isnan(ratio) || ratio == NOTHING_YET) return std::isnan(ratio) ? NAN : NO_SURPRISE;
    int largest = 0;
    for (int i = 1; i < n; ++i) largest = ratio_of(averages, n, i) > ratio_of(averages, n, largest) ? i : largest;
    return largest;
}

}  // namespace caststream
