// A float32 LSTM of any depth with a linear output of K numbers a step, for inference: packed weights, and the choice
// of an instruction set. Letters: F features, H hidden units, L layers.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "aligned.hpp"
#include "vectors.hpp"

namespace caststream {

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
    const char* name;
    int max_rows;
    void (*step)(const Model&, float* tile, int rows);
    void (*predict)(const Model&, const float* h, float* to);
    void (*activate)(const float* gates, float* values, int64_t size);
};

}  // namespace caststream

#define KERNEL_FILE "lstm_tile.hpp"
#include "for_each_set.hpp"

namespace caststream {

// The set of a name, or null where this machine has none of it.
inline const InstructionSet* instruction_set(const char* name) { return set_of<InstructionSet>(name, EVERY_SET(SET)); }

}  // namespace caststream
