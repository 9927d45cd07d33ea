// One step of up to MAX_ROWS rows through all layers, for one instruction set: lstm_kernel.hpp includes this file once
// for each, as for_each_set.hpp says. Nothing here depends on the number of rows but how often it is done: every number is
// made of the same operations in the same order in any batch.

namespace caststream::INSTRUCTIONS {

// COUNT sums, from FIRST on, += inputs * weights: `inputs` of rows `stride` apart, `weights` (count, COUNT, UNITS).
template <int ROWS, int FIRST = 0, int COUNT = SUMS>
INLINE void accumulate(Vector (&sums)[ROWS][SUMS], const float* inputs, ptrdiff_t stride, const float* weights,
                       ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; ++k, weights += COUNT * UNITS) {
        // Inputs first: with all weights held instead, clang runs out of registers and takes half as long again.
        Vector x[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) x[r] = splat(inputs[r * stride + k]);
        UNROLL for (int g = 0; g < COUNT; ++g) {
            Vector w = load(weights + g * UNITS);
            UNROLL for (int r = 0; r < ROWS; ++r) sums[r][FIRST + g] = fma(x[r], w, sums[r][FIRST + g]);
        }
    }
}

struct LstmCell {
    static constexpr int GATES = LSTM.gates;

    INLINE void step(const Vector (&sums)[SUMS], float* c, float* h) {
        Vector after = fma(sigmoid(sums[0]), tanh(sums[2]), load(c) * sigmoid(sums[1]));
        store(c, after);
        store(h, sigmoid(sums[3]) * tanh(after));
    }
};

// torch rounds each product here, before it adds. So does this.
struct GruCell {
    static constexpr int GATES = GRU.gates;

    INLINE void step(const Vector (&sums)[SUMS], const float* before, float* h) {
        Vector n = tanh(sums[0] + sigmoid_by_division(sums[1]) * sums[3]);
        store(h, (load(before) - n) * sigmoid_by_division(sums[2]) + n);
    }
};

// LANES units of one layer: their sums stay in registers from the bias to the new state.
template <class CELL, int ROWS>
INLINE void step_units(const Model& model, const Layer& layer, const float* weights, float* tile, int unit) {
    constexpr int GATES = CELL::GATES;
    const ptrdiff_t stride = model.row_size;
    Vector sums[ROWS][SUMS];
    UNROLL for (int r = 0; r < ROWS; ++r) {
        UNROLL for (int s = 0; s < SUMS; ++s) sums[r][s] = load(weights + s * UNITS);
    }
    weights += SUMS * UNITS;
    accumulate<ROWS, 0, GATES>(sums, tile + layer.input, stride, weights, layer.input_size);
    weights += layer.input_size * GATES * UNITS;
    accumulate<ROWS, SUMS - GATES, GATES>(sums, tile + layer.h, stride, weights, model.hidden_size);
    UNROLL for (int r = 0; r < ROWS; ++r) {
        float* row = tile + r * stride + unit;
        CELL::step(sums[r], row + layer.own, row + model.fresh);
    }
}

template <class CELL, int ROWS>
void step_rows(const Model& model, float* tile) {
    for (const Layer& layer : model.layers) {
        const float* weights = layer.weights;
        for (int unit = 0; unit < model.padded; unit += UNITS, weights += layer.block_size) {
            for (int part = 0; part < UNITS; part += LANES) {
                step_units<CELL, ROWS>(model, layer, weights + part, tile, unit + part);
            }
        }
        for (int r = 0; r < ROWS; ++r) {  // only now: until here every unit has read the h before
            float* row = tile + r * model.row_size;
            int i = 0;
            for (; i + LANES <= model.hidden_size; i += LANES) store(row + layer.h + i, load(row + model.fresh + i));
            for (; i < model.hidden_size; ++i) row[layer.h + i] = row[model.fresh + i];
        }
    }
}

// The output layer, of one row: K numbers.
inline void predict(const Model& model, const float* h, float* to) {
    const float* weights = model.output;
    for (int k = 0; k < model.outputs; ++k, weights += model.padded) {
        to[k] = product(h, weights, model.padded) + model.output_bias[k];
    }
}

template <class CELL>
void step_cells(const Model& model, float* tile, int rows) {
    switch (rows) {
        case 1: return step_rows<CELL, 1>(model, tile);
        case 2: return step_rows<CELL, 2>(model, tile);
#if MAX_ROWS > 2
        case 3: return step_rows<CELL, 3>(model, tile);
#endif
#if MAX_ROWS > 3
        case 4: return step_rows<CELL, 4>(model, tile);
        case 5: return step_rows<CELL, 5>(model, tile);
        case 6: return step_rows<CELL, 6>(model, tile);
#endif
    }
}

void step(const Model& model, float* tile, int rows) {
    model.cell.gates == GRU.gates ? step_cells<GruCell>(model, tile, rows) : step_cells<LstmCell>(model, tile, rows);
}

// For tests: sigmoid(gates) * tanh(values), in place of the values; `size` is a multiple of LANES.
void activate(const float* gates, float* values, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES) store(values + i, sigmoid(load(gates + i)) * tanh(load(values + i)));
}

constexpr InstructionSet SET{SET_NAME, MAX_ROWS, step, predict, activate};

}  // namespace caststream::INSTRUCTIONS
