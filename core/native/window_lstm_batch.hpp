// Windows of any lengths through the layers of a bidirectional LSTM and its head, tile by tile: a tile is a few windows of
// about one length, which go through a layer together, forwards and then backwards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "platform.hpp"
#include "window_lstm_head.hpp"
#include "window_lstm_layers.hpp"

namespace caststream {

struct WindowModel {
    int features, hidden_size;
    bool bidirectional;
    std::vector<Direction> directions;  // forward and, if there is one, backward of each layer
    std::vector<float> mean, std;       // of the samples in training; empty: they go in as they are
    std::vector<float> scale, shift;    // of the batch norm of inputs; empty: there is none
    Head head;

    // The next direction: layer by layer, forward first; weights as `Direction` takes them.
    void add_direction(int inputs, const float* weight_ih, const float* weight_hh, const float* bias, const float* bias2) {
        directions.emplace_back(inputs, hidden_size, weight_ih, weight_hh, bias, bias2);
    }

    int ways() const { return bidirectional ? 2 : 1; }
    int layers() const { return static_cast<int>(directions.size()) / ways(); }
    int output_size() const { return ways() * hidden_size; }
    int width() const { return padded(std::max(features, output_size())); }  // of a step's inputs and outputs in memory

    void scaled(const float* sample, float* to) const {
        for (int i = 0; i < features; ++i) {
            float x = sample[i];
            if (!mean.empty()) x = (x - mean[i]) / std[i];
            if (!scale.empty()) x = static_cast<float>(static_cast<double>(x) * scale[i] + shift[i]);  // rounded once
            to[i] = x;
        }
    }
};

// A window's samples (T, F), and where its attention (T,) and its logits (K,) go.
struct Window {
    const float* samples;
    int64_t steps;
    float *attention, *logits;
};

class Tile {
  public:
    // Room for so many windows of up to `longest` steps.
    Tile(const WindowModel& model, const WindowSet& set, int64_t longest)
        : model(model), set(set), padded(caststream::padded(model.hidden_size)), row(longest * model.width()),
          inputs(aligned(set.max_rows * row)), outputs(aligned(set.max_rows * row)),
          gates(aligned(static_cast<size_t>(set.max_rows) * CHUNK * 4 * padded)),
          states(aligned(static_cast<size_t>(3) * set.max_rows * padded)) {}

    // Windows stand longest first.
    void run(const Window* windows, int rows) {
        for (int r = 0; r < rows; ++r) {
            for (int64_t t = 0; t < windows[r].steps; ++t) {
                model.scaled(windows[r].samples + t * model.features, at(inputs, r, t));
            }
        }
        for (int layer = 0; layer < model.layers(); ++layer) {
            for (int way = 0; way < model.ways(); ++way) {
                sweep(model.directions[layer * model.ways() + way], way, windows, rows);
            }
            inputs.swap(outputs);
        }
        for (int r = 0; r < rows; ++r) {
            const Outputs found{at(inputs, r, 0), model.width(), windows[r].steps, model.output_size(), model.hidden_size};
            model.head.run(found, windows[r].logits, windows[r].attention);
        }
    }

  private:
    static constexpr int64_t CHUNK = 24;  // steps whose gates wait in the second cache; a multiple of every `max_rows`

    const WindowModel& model;
    const WindowSet& set;
    const int padded;
    const size_t row;
    Floats inputs, outputs, gates, states;

    float* at(const Floats& rows, int r, int64_t step) const { return rows.get() + r * row + step * model.width(); }

    // One direction of a layer: all steps of all windows, from the beginning or from each window's own end.
    void sweep(const Direction& direction, int way, const Window* windows, int rows) {
        const size_t size = static_cast<size_t>(set.max_rows) * padded;
        std::memset(states.get(), 0, 3 * size * sizeof(float));
        float *h = states.get(), *next = h + size, *c = next + size;
        const ptrdiff_t room = CHUNK * direction.gates();
        for (int64_t start = 0; start < windows[0].steps; start += CHUNK) {
            rows = running(windows, rows, start);
            for (int r = 0; r < rows; ++r) project(direction, way, windows[r].steps, r, start);
            for (int64_t step = start; step < std::min(start + CHUNK, windows[0].steps); ++step) {
                rows = running(windows, rows, step);
                set.recur(direction, gates.get() + (step - start) * direction.gates(), room, {h, c, next}, rows);
                std::swap(h, next);
                for (int r = 0; r < rows; ++r) {
                    float* to = at(outputs, r, way ? windows[r].steps - 1 - step : step) + way * model.hidden_size;
                    std::memcpy(to, h + r * padded, model.hidden_size * sizeof(float));
                }
            }
        }
    }

    void project(const Direction& direction, int way, int64_t steps, int r, int64_t start) {
        const ptrdiff_t stride = way ? -static_cast<ptrdiff_t>(model.width()) : model.width();
        const float* from = at(inputs, r, way ? steps - 1 - start : start);
        const int count = static_cast<int>(std::min(CHUNK, steps - start));
        set.project(direction, from, stride, count, gates.get() + r * CHUNK * direction.gates());
    }

    static int running(const Window* windows, int rows, int64_t step) {
        while (rows > 0 && windows[rows - 1].steps <= step) --rows;
        return rows;
    }
};

// Score W windows whose samples follow each other; logits (W, K), and the attention of all of them in the same order.
inline void score_windows(const WindowModel& model, const WindowSet& set, const float* samples, const int64_t* lengths,
                          int64_t count, float* logits, float* attention) {
    const FlushToZero flush;
    std::vector<Window> windows;
    for (int64_t i = 0; i < count; samples += lengths[i] * model.features, attention += lengths[i], ++i) {
        windows.push_back({samples, lengths[i], attention, logits + i * model.head.outputs()});
    }
    if (windows.empty()) return;
    std::stable_sort(windows.begin(), windows.end(), [](const Window& a, const Window& b) { return a.steps > b.steps; });
    Tile tile(model, set, windows[0].steps);
    const int64_t tiles = (count + set.max_rows - 1) / set.max_rows;
    for (int64_t i = 0, start = 0; i < tiles; ++i) {
        const int64_t end = count * (i + 1) / tiles;  // tiles of equal size: one of a single window would be slow
        tile.run(&windows[start], static_cast<int>(end - start));
        start = end;
    }
}

}  // namespace caststream
