// What stands behind the LSTM layers of a window model: attention over time, the readout, norms, and linear layers down
// to the logits. Small beside the layers, so it is plain code: sums are in double, and take no account of the instruction
// set. Letters: T steps, W numbers of a step's output, K logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "aligned.hpp"
#include "exponential.hpp"

namespace caststream {

enum class Readout { last, ends, attention };
enum class Activation { relu, tanh, sigmoid };

struct Linear {
    int inputs, outputs;
    std::vector<float> weights, bias;  // (outputs, inputs), (outputs,)
};

// The outputs of the last layer for one window: T rows, `stride` floats apart, of the forward half and the backward one.
struct Outputs {
    const float* rows;
    ptrdiff_t stride;
    int64_t steps;
    int size, forward;

    const float* at(int64_t step) const { return rows + step * stride; }
};

struct Head {
    Readout readout = Readout::last;
    std::vector<double> scale, shift;  // of the batch norm; empty: there is none
    std::vector<double> gain, offset;  // of the layer norm; empty: there is none
    double epsilon = 0.0;              // of the layer norm
    Activation activation = Activation::relu;
    std::vector<Linear> layers;  // all but the last are followed by the activation

    int outputs() const { return layers.back().outputs; }  // K

    // The logits (K,) go to `logits`, the attention (T,) to `attention`.
    void run(const Outputs& outputs, float* logits, float* attention) const {
        const std::vector<double> weights = attend(outputs);
        for (int64_t t = 0; t < outputs.steps; ++t) attention[t] = static_cast<float>(weights[t]);
        std::vector<float> features = read_out(outputs, weights);
        normalise(features);
        for (size_t i = 0; i < layers.size(); ++i) features = apply(layers[i], features, i + 1 < layers.size());
        std::copy(features.begin(), features.end(), logits);
    }

  private:
    // Softmax over time of the L2 norm of each step's output.
    static std::vector<double> attend(const Outputs& outputs) {
        std::vector<double> weights(outputs.steps);
        for (int64_t t = 0; t < outputs.steps; ++t) weights[t] = norm(outputs.at(t), outputs.size);
        const double highest = *std::max_element(weights.begin(), weights.end());
        double total = 0.0;
        for (double& weight : weights) total += weight = exponential(weight - highest);
        for (double& weight : weights) weight /= total;
        return weights;
    }

    // In UNITS sums side by side, which a compiler makes vectors of.
    static double norm(const float* x, int size) {
        double sums[UNITS] = {};
        int i = 0;
        for (; i + UNITS <= size; i += UNITS) {
            for (int j = 0; j < UNITS; ++j) sums[j] += static_cast<double>(x[i + j]) * x[i + j];
        }
        for (int j = 0; i < size; ++i, ++j) sums[j] += static_cast<double>(x[i]) * x[i];
        double sum = 0.0;
        for (double each : sums) sum += each;
        return std::sqrt(sum);
    }

    std::vector<float> read_out(const Outputs& outputs, const std::vector<double>& weights) const {
        const float* last = outputs.at(outputs.steps - 1);
        if (readout != Readout::attention) {
            std::vector<float> found(last, last + outputs.size);
            const float* first = outputs.at(0);
            if (readout == Readout::ends) std::copy(first + outputs.forward, first + outputs.size, &found[outputs.forward]);
            return found;
        }
        std::vector<double> mean(outputs.size, 0.0);
        for (int64_t t = 0; t < outputs.steps; ++t) {
            const float* x = outputs.at(t);
            for (int i = 0; i < outputs.size; ++i) mean[i] += weights[t] * x[i];
        }
        return std::vector<float>(mean.begin(), mean.end());
    }

    void normalise(std::vector<float>& x) const {
        for (size_t i = 0; i < scale.size(); ++i) x[i] = static_cast<float>(x[i] * scale[i] + shift[i]);
        if (gain.empty()) return;
        double mean = 0.0, variance = 0.0;
        for (float each : x) mean += each;
        mean /= x.size();
        for (float each : x) variance += (each - mean) * (each - mean);
        const double deviation = std::sqrt(variance / x.size() + epsilon);
        for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((x[i] - mean) / deviation * gain[i] + offset[i]);
    }

    std::vector<float> apply(const Linear& layer, const std::vector<float>& x, bool activate) const {
        std::vector<float> found(layer.outputs);
        const float* weights = layer.weights.data();
        for (int k = 0; k < layer.outputs; ++k, weights += layer.inputs) {
            double sum = layer.bias[k];
            for (int i = 0; i < layer.inputs; ++i) sum += static_cast<double>(weights[i]) * x[i];
            found[k] = static_cast<float>(activate ? activated(static_cast<float>(sum)) : sum);
        }
        return found;
    }

    // What is not a number stays so.
    double activated(double x) const {
        if (activation == Activation::relu) return x < 0.0 ? 0.0 : x;
        return activation == Activation::tanh ? hyperbolic_tangent(x) : 1.0 / (1.0 + exponential(-x));
    }
};

}  // namespace caststream
