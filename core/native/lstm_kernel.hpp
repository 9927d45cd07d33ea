// A float32 LSTM or GRU of any depth with a linear output of K numbers a step, for inference: packed weights, and the
// choice of an instruction set. Letters: F features, H hidden units, L layers.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "aligned.hpp"
#include "vectors.hpp"

namespace caststream {

constexpr int SUMS = 4;  // that a unit has: its gates are made of them

// A kind of cell. Its gates are in torch's order, and each has the sum that takes its inputs and the sum that takes its
// h. The inputs belong to the first sums, h to the last ones: n of a GRU has two, because r scales one of them.
struct Cell {
    int gates;
    int states;  // carried by a layer: h, or h and c
    int inputs[SUMS], recurrent[SUMS];
};
inline constexpr Cell LSTM{4, 2, {0, 1, 2, 3}, {0, 1, 2, 3}};  // input, forget, cell, output
inline constexpr Cell GRU{3, 1, {1, 2, 0}, {1, 2, 3}};         // r, z, n

// `input`, `h` and `own` say where these stand in a row of a tile; `own` is what the cell reads beside its sums: c of an
// LSTM, h of a GRU. Weights are, for each block of UNITS units, the biases (SUMS, UNITS), then those of each input and
// of each h, (gates, UNITS) each.
struct Layer {
    int input, input_size, h, own;
    int block_size;
    Floats packed;
    const float* weights;
};

// A row of a tile: the sample, h of all layers, of an LSTM c of all layers, and the h being made. Each begins at a
// multiple of UNITS; the units that fill up H have zero weights, are never read by others and never leave the tile.
struct Model {
    const Cell& cell;
    int features, hidden_size, outputs, padded;
    int carried, fresh, row_size;
    std::vector<Layer> layers;
    Floats output_packed;  // (K, padded)
    const float* output;
    std::vector<float> output_bias;
    std::vector<float> mean, std;

    Model(const Cell& cell_, int features_, int hidden_size_, int layer_count, int outputs_)
        : cell(cell_), features(features_), hidden_size(hidden_size_), outputs(outputs_),
          padded(caststream::padded(hidden_size_)), carried(caststream::padded(features_)),
          fresh(carried + cell_.states * layer_count * padded), row_size(fresh + padded), output_bias(outputs_, 0.0f),
          mean(features_, 0.0f), std(features_, 1.0f) {
        for (int i = 0; i < layer_count; ++i) add_layer(i, carried + i * padded, layer_count);
        output_packed = aligned(static_cast<size_t>(outputs) * padded);
        output = output_packed.get();
    }

    int parts() const { return cell.states * static_cast<int>(layers.size()); }  // of a state, H numbers each
    int state_size() const { return parts() * hidden_size; }

    // As torch has them: (gates * H, inputs), (gates * H, H), (gates * H,), (gates * H,).
    void set_layer(int index, const float* inputs, const float* recurrent, const float* bias, const float* bias2) {
        Layer& layer = layers[index];
        for (int unit = 0; unit < hidden_size; ++unit) {
            float* block = layer.packed.get() + static_cast<size_t>(unit / UNITS) * layer.block_size + unit % UNITS;
            set_biases(block, bias + unit, bias2 + unit);
            for (int gate = 0; gate < cell.gates; ++gate) {
                const size_t from = static_cast<size_t>(gate) * hidden_size + unit;
                float* to = block + SUMS * UNITS;
                spread(to + cell.inputs[gate] * UNITS, inputs + from * layer.input_size, layer.input_size);
                to += layer.input_size * cell.gates * UNITS;
                spread(to + (cell.recurrent[gate] - SUMS + cell.gates) * UNITS, recurrent + from * hidden_size,
                       hidden_size);
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
    void add_layer(int index, int h, int layer_count) {
        const int input = index ? h - padded : 0, input_size = index ? hidden_size : features;
        const int own = h + (cell.states - 1) * layer_count * padded;
        const int block_size = UNITS * (SUMS + cell.gates * (input_size + hidden_size));
        Floats packed = aligned(static_cast<size_t>(padded / UNITS) * block_size);
        const float* weights = packed.get();
        layers.push_back({input, input_size, h, own, block_size, std::move(packed), weights});
    }

    void set_biases(float* sums, const float* bias, const float* bias2) const {
        const ptrdiff_t stride = hidden_size;
        for (int gate = 0; gate < cell.gates; ++gate) sums[cell.inputs[gate] * UNITS] = bias[gate * stride];
        for (int gate = 0; gate < cell.gates; ++gate) sums[cell.recurrent[gate] * UNITS] += bias2[gate * stride];
    }

    void spread(float* to, const float* from, int count) const {
        for (int k = 0; k < count; ++k, to += cell.gates * UNITS) *to = from[k];
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
