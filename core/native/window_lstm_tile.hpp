// One direction of an LSTM layer, for one instruction set: window_lstm_layers.hpp includes this file once for each. What
// inputs add to the gates is summed first, for many steps at once, and waits in memory; h follows step by step. So each
// gate is the sum of the same products in the same order, whatever is computed beside it.

namespace caststream::INSTRUCTIONS {

// The gates of ROWS steps, of one block of units.
template <int ROWS>
void project_block(const Direction& direction, const float* weights, const float* inputs, ptrdiff_t stride,
                   float* gates) {
    for (int part = 0; part < UNITS; part += LANES) {
        Vector sums[ROWS][4];
        UNROLL for (int r = 0; r < ROWS; ++r) {
            UNROLL for (int g = 0; g < 4; ++g) sums[r][g] = load(weights + part + g * UNITS);
        }
        accumulate<ROWS>(sums, inputs, stride, weights + part + 4 * UNITS, direction.input_size);
        UNROLL for (int r = 0; r < ROWS; ++r) {
            UNROLL for (int g = 0; g < 4; ++g) store(gates + r * direction.gates() + part + g * UNITS, sums[r][g]);
        }
    }
}

void project(const Direction& direction, const float* inputs, ptrdiff_t stride, int count, float* gates) {
    const float* weights = direction.inputs.get();
    for (int unit = 0; unit < direction.padded; unit += UNITS, weights += direction.input_block()) {
        float* to = gates + 4 * unit;
        int i = 0;
        for (; i + MAX_ROWS <= count; i += MAX_ROWS) {
            project_block<MAX_ROWS>(direction, weights, inputs + i * stride, stride, to + i * direction.gates());
        }
        for (; i < count; ++i) {
            project_block<1>(direction, weights, inputs + i * stride, stride, to + i * direction.gates());
        }
    }
}

template <int ROWS>
void recur_rows(const Direction& direction, const float* gates, ptrdiff_t stride, const RowStates& states) {
    const float* weights = direction.recurrent.get();
    for (int unit = 0; unit < direction.padded; unit += UNITS, weights += direction.recurrent_block()) {
        for (int part = 0; part < UNITS; part += LANES) {
            Vector sums[ROWS][4];
            UNROLL for (int r = 0; r < ROWS; ++r) {
                UNROLL for (int g = 0; g < 4; ++g) sums[r][g] = load(gates + r * stride + 4 * unit + g * UNITS + part);
            }
            accumulate<ROWS>(sums, states.h, direction.padded, weights + part, direction.hidden_size);
            UNROLL for (int r = 0; r < ROWS; ++r) {
                const ptrdiff_t at = r * direction.padded + unit + part;
                LstmCell::step(sums[r], states.c + at, states.next + at);
            }
        }
    }
}

void recur(const Direction& direction, const float* gates, ptrdiff_t stride, const RowStates& states, int rows) {
    switch (rows) {
        case 1: return recur_rows<1>(direction, gates, stride, states);
        case 2: return recur_rows<2>(direction, gates, stride, states);
#if MAX_ROWS > 2
        case 3: return recur_rows<3>(direction, gates, stride, states);
#endif
#if MAX_ROWS > 3
        case 4: return recur_rows<4>(direction, gates, stride, states);
        case 5: return recur_rows<5>(direction, gates, stride, states);
        case 6: return recur_rows<6>(direction, gates, stride, states);
#endif
    }
}

constexpr WindowSet WINDOW_SET{SET_NAME, MAX_ROWS, project, recur};

}  // namespace caststream::INSTRUCTIONS
