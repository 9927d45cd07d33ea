// A batch of runs, stepped tile by tile: a tile is a few runs that go through all their samples before the next tile
// begins, so that their states stay in the first cache.
#pragma once

#include <algorithm>

#include "lstm_kernel.hpp"

namespace caststream {

struct Run {
    int64_t length;
    int64_t first;        // in Batch::places: where its samples stand
    const float* before;  // its state, as the caller holds it
    float* after;         // where its state goes; null: nowhere; may be `before`
};

class Batch {
  public:
    std::vector<Run> runs;

    // Take the samples' places. False where they are not runs without holes.
    bool arrange(const int64_t* run_of, const int64_t* times, int64_t samples, const int64_t* lengths, int64_t count) {
        int64_t total = 0;
        runs.resize(count);
        for (int64_t i = 0; i < count; ++i) {
            if (lengths[i] < 1 || lengths[i] > samples - total) return false;
            runs[i] = {lengths[i], total, nullptr, nullptr};
            total += lengths[i];
        }
        places.assign(samples, -1);
        return total == samples && place(run_of, times, samples);
    }

    // Step all runs. `samples` (N, F) and `predictions` (N, K) are in the caller's order.
    void step(const Model& model, const InstructionSet& set, const float* samples, float* predictions) {
        const FlushToZero flush;
        const int64_t count = runs.size(), tiles = (count + set.max_rows - 1) / set.max_rows;
        if (!count) return;
        sort();
        Floats tile = aligned(static_cast<size_t>(set.max_rows) * model.row_size);
        for (int64_t i = 0, start = 0; i < tiles; ++i) {
            const int64_t end = count * (i + 1) / tiles;  // tiles of equal size: one of a single row would be slow
            fetch(model, end, std::min(count, end + set.max_rows));
            step_tile(model, set, &runs[start], static_cast<int>(end - start), tile.get(), samples, predictions);
            start = end;
        }
    }

  private:
    std::vector<int64_t> places;

    bool place(const int64_t* run_of, const int64_t* times, int64_t samples) {
        const int64_t count = runs.size();
        for (int64_t i = 0; i < samples; ++i) {
            if (run_of[i] < 0 || run_of[i] >= count) return false;
            const Run& run = runs[run_of[i]];
            if (times[i] < 0 || times[i] >= run.length || places[run.first + times[i]] >= 0) return false;
            places[run.first + times[i]] = i;
        }
        return true;
    }

    // Longest first, by counting: rows of a tile end together, or nearly so.
    void sort() {
        int64_t longest = 0, shortest = INT64_MAX;
        for (const Run& run : runs) {
            longest = std::max(longest, run.length);
            shortest = std::min(shortest, run.length);
        }
        if (longest == shortest) return;
        std::vector<int64_t> starts(longest - shortest + 2, 0);
        for (const Run& run : runs) ++starts[longest - run.length + 1];
        for (size_t i = 1; i < starts.size(); ++i) starts[i] += starts[i - 1];
        std::vector<Run> sorted(runs.size());
        for (const Run& run : runs) sorted[starts[longest - run.length]++] = run;
        runs.swap(sorted);
    }

    // States lie anywhere in memory: the next tile's come while this one is computed.
    void fetch(const Model& model, int64_t start, int64_t end) const {
        for (int64_t i = start; i < end; ++i) {
            for (int j = 0; j < model.state_size(); j += UNITS) __builtin_prefetch(runs[i].before + j);
        }
    }

    void step_tile(const Model& model, const InstructionSet& set, const Run* tile_runs, int rows, float* tile,
                   const float* samples, float* predictions) const {
        const int last_h = model.layers.back().h;
        for (int r = 0; r < rows; ++r) load_state(model, tile_runs[r].before, tile + r * model.row_size);
        for (int64_t time = 0; rows > 0; ++time) {
            for (int r = 0; r < rows; ++r) {
                load_sample(model, samples + places[tile_runs[r].first + time] * model.features,
                            tile + r * model.row_size);
            }
            set.step(model, tile, rows);
            for (int r = 0; r < rows; ++r) {
                set.predict(model, tile + r * model.row_size + last_h,
                            predictions + places[tile_runs[r].first + time] * model.outputs);
            }
            for (; rows > 0 && tile_runs[rows - 1].length == time + 1; --rows) {
                store_state(model, tile + (rows - 1) * model.row_size, tile_runs[rows - 1].after);
            }
        }
    }

    static void load_sample(const Model& model, const float* sample, float* row) {
        for (int i = 0; i < model.features; ++i) row[i] = (sample[i] - model.mean[i]) / model.std[i];
    }

    static void load_state(const Model& model, const float* state, float* row) {
        const size_t size = model.hidden_size;
        row += model.carried;
        for (int i = 0; i < model.parts(); ++i) std::memcpy(row + i * model.padded, state + i * size, size * sizeof(float));
    }

    static void store_state(const Model& model, const float* row, float* state) {
        if (!state) return;
        const size_t size = model.hidden_size;
        row += model.carried;
        for (int i = 0; i < model.parts(); ++i) std::memcpy(state + i * size, row + i * model.padded, size * sizeof(float));
    }
};

}  // namespace caststream
