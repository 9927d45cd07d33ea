// One step of up to MAX_ROWS rows through all layers, for one instruction set: lstm_kernel.hpp includes this file once
// for each, as for_each_set.hpp says. Nothing here depends on the number of rows but how often it is done: every number is
// made of the same operations in the same order in any batch.

namespace caststream::INSTRUCTIONS {

// Gates += inputs * weights: `inputs` of rows `stride` apart, `weights` (count, 4, UNITS).
template <int ROWS>
INLINE void accumulate(Vector (&gates)[ROWS][4], const float* inputs, ptrdiff_t stride, const float* weights,
                       ptrdiff_t count) {
    for (ptrdiff_t k = 0; k < count; ++k, weights += 4 * UNITS) {
        // Inputs first: with all four weights held instead, clang runs out of registers and takes half as long again.
        Vector x[ROWS];
        UNROLL for (int r = 0; r < ROWS; ++r) x[r] = splat(inputs[r * stride + k]);
        UNROLL for (int g = 0; g < 4; ++g) {
            Vector w = load(weights + g * UNITS);
            UNROLL for (int r = 0; r < ROWS; ++r) gates[r][g] = fma(x[r], w, gates[r][g]);
        }
    }
}

INLINE void cell(const Vector (&gates)[4], float* c, float* h) {
    Vector after = fma(sigmoid(gates[0]), tanh(gates[2]), load(c) * sigmoid(gates[1]));
    store(c, after);
    store(h, sigmoid(gates[3]) * tanh(after));
}

// LANES units of one layer: their gates stay in registers from the bias to h and c.
template <int ROWS>
INLINE void step_units(const Model& model, const Layer& layer, const float* weights, float* tile, int unit) {
    const ptrdiff_t stride = model.row_size;
    Vector gates[ROWS][4];
    UNROLL for (int r = 0; r < ROWS; ++r) {
        UNROLL for (int g = 0; g < 4; ++g) gates[r][g] = load(weights + g * UNITS);
    }
    weights += 4 * UNITS;
    accumulate<ROWS>(gates, tile + layer.input, stride, weights, layer.input_size);
    accumulate<ROWS>(gates, tile + layer.h, stride, weights + layer.input_size * 4 * UNITS, model.hidden_size);
    UNROLL for (int r = 0; r < ROWS; ++r) {
        float* row = tile + r * stride + unit;
        cell(gates[r], row + layer.c, row + model.fresh);
    }
}

template <int ROWS>
void step_rows(const Model& model, float* tile) {
    for (const Layer& layer : model.layers) {
        const float* weights = layer.weights;
        for (int unit = 0; unit < model.padded; unit += UNITS, weights += layer.block_size) {
            for (int part = 0; part < UNITS; part += LANES) {
                step_units<ROWS>(model, layer, weights + part, tile, unit + part);
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

void step(const Model& model, float* tile, int rows) {
    switch (rows) {
        case 1: return step_rows<1>(model, tile);
        case 2: return step_rows<2>(model, tile);
#if MAX_ROWS > 2
        case 3: return step_rows<3>(model, tile);
#endif
#if MAX_ROWS > 3
        case 4: return step_rows<4>(model, tile);
        case 5: return step_rows<5>(model, tile);
        case 6: return step_rows<6>(model, tile);
#endif
    }
}

// For tests: sigmoid(gates) * tanh(values), in place of the values; `size` is a multiple of LANES.
void activate(const float* gates, float* values, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES) store(values + i, sigmoid(load(gates + i)) * tanh(load(values + i)));
}

constexpr InstructionSet SET{SET_NAME, MAX_ROWS, step, predict, activate};

}  // namespace caststream::INSTRUCTIONS
