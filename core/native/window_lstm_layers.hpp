// The LSTM layers of a window model, for inference: packed weights, and what each set of instructions has for them.
// Letters: F features, H hidden units.
#pragma once

#include <cstdint>
#include <vector>

#include "lstm_kernel.hpp"

namespace caststream {

// One direction of one layer. Weights stand by blocks of UNITS units: `inputs` (blocks, 1 + input_size, 4, UNITS) are the
// sum of both biases, then the weights of each input; `recurrent` is (blocks, H, 4, UNITS). The gates of a step are
// (blocks, 4, UNITS) numbers. The units that fill up H have zero weights, and nothing reads them.
struct Direction {
    int input_size, hidden_size, padded;
    Floats inputs, recurrent;

    // As torch has them: (4H, inputs), (4H, H), (4H,), (4H,); gates in the order input, forget, cell, output.
    Direction(int inputs_, int hidden, const float* weight_ih, const float* weight_hh, const float* bias,
              const float* bias2)
        : input_size(inputs_), hidden_size(hidden), padded(caststream::padded(hidden)),
          inputs(aligned(static_cast<size_t>(padded / UNITS) * input_block())),
          recurrent(aligned(static_cast<size_t>(padded / UNITS) * recurrent_block())) {
        for (int unit = 0; unit < hidden_size; ++unit) {
            for (int gate = 0; gate < 4; ++gate) {
                const size_t from = static_cast<size_t>(gate) * hidden_size + unit;
                float* to = place(inputs.get(), input_block(), unit, gate);
                *to = bias[from] + bias2[from];
                spread(to + 4 * UNITS, weight_ih + from * input_size, input_size);
                spread(place(recurrent.get(), recurrent_block(), unit, gate), weight_hh + from * hidden_size,
                       hidden_size);
            }
        }
    }

    int gates() const { return 4 * padded; }
    ptrdiff_t input_block() const { return 4 * UNITS * (1 + static_cast<ptrdiff_t>(input_size)); }
    ptrdiff_t recurrent_block() const { return 4 * UNITS * static_cast<ptrdiff_t>(hidden_size); }

  private:
    static float* place(float* packed, ptrdiff_t block, int unit, int gate) {
        return packed + unit / UNITS * block + gate * UNITS + unit % UNITS;
    }

    static void spread(float* to, const float* from, int count) {
        for (int k = 0; k < count; ++k, to += 4 * UNITS) *to = from[k];
    }
};

// h and c of the rows of a tile, (rows, padded) each, and where the next h goes.
struct RowStates {
    const float* h;
    float *c, *next;
};

struct WindowSet {
    const char* name;
    int max_rows;
    // The part of the gates that inputs decide, for `count` steps whose inputs are `stride` floats apart.
    void (*project)(const Direction&, const float* inputs, ptrdiff_t stride, int count, float* gates);
    // One step of up to `max_rows` rows, whose gates so far are `stride` floats apart.
    void (*recur)(const Direction&, const float* gates, ptrdiff_t stride, const RowStates&, int rows);
};

}  // namespace caststream

#define KERNEL_FILE "window_lstm_tile.hpp"
#include "for_each_set.hpp"

namespace caststream {

// The set of a name, or null where this machine has none of it.
inline const WindowSet* window_set(const char* name) { return set_of<WindowSet>(name, EVERY_SET(WINDOW_SET)); }

}  // namespace caststream
