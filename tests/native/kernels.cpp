// The kernels without Python, so that they can be compiled for another processor and run by an emulator of it:
// `kernels sets` prints the sets of instructions that this machine has, `kernels KERNEL SET` reads a case from standard
// input and writes what the kernel makes of it to standard output, as plain numbers in this machine's byte order.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../../core/native/lstm_batch.hpp"
#include "../../core/native/window_lstm_batch.hpp"
#include "more_sets.hpp"

using namespace caststream;

namespace {

template <typename T>
std::vector<T> take(size_t count) {
    std::vector<T> numbers(count);
    if (std::fread(numbers.data(), sizeof(T), count, stdin) != count) {
        std::fputs("standard input ends before the case does\n", stderr);
        std::exit(2);
    }
    return numbers;
}

void give(const std::vector<float>& numbers) { std::fwrite(numbers.data(), sizeof(float), numbers.size(), stdout); }

Model take_model(const Cell& cell, int features, int hidden, int layers, int outputs) {
    Model model(cell, features, hidden, layers, outputs);
    const int rows = cell.gates * hidden;
    for (int i = 0; i < layers; ++i) {
        const auto inputs = take<float>(rows * (i ? hidden : features)), recurrent = take<float>(rows * hidden);
        const auto bias = take<float>(rows), bias2 = take<float>(rows);
        model.set_layer(i, inputs.data(), recurrent.data(), bias.data(), bias2.data());
    }
    const auto weight = take<float>(outputs * hidden), bias = take<float>(outputs);
    model.set_output(weight.data(), bias.data());
    model.mean = take<float>(features);
    model.std = take<float>(features);
    return model;
}

// Sizes F, H, L, K, runs; lengths of runs; weights as torch has them; states; samples. Predictions, then states.
void run_steps(const Cell& cell, const InstructionSet& set) {
    const auto sizes = take<int64_t>(5), lengths = take<int64_t>(sizes[4]);
    const Model model = take_model(cell, sizes[0], sizes[1], sizes[2], sizes[3]);
    auto states = take<float>(sizes[4] * model.state_size());
    std::vector<int64_t> runs, times;
    for (size_t run = 0; run < lengths.size(); ++run) {
        for (int64_t time = 0; time < lengths[run]; ++time) runs.push_back(run), times.push_back(time);
    }
    const auto samples = take<float>(runs.size() * model.features);
    std::vector<float> predictions(runs.size() * model.outputs);
    Batch batch;
    if (!batch.arrange(runs.data(), times.data(), runs.size(), lengths.data(), lengths.size())) std::exit(2);
    for (size_t i = 0; i < lengths.size(); ++i) {
        batch.runs[i].before = batch.runs[i].after = states.data() + i * model.state_size();
    }
    batch.step(model, set, samples.data(), predictions.data());
    give(predictions);
    give(states);
}

Linear take_linear(int inputs, int outputs) {
    return {inputs, outputs, take<float>(inputs * outputs), take<float>(outputs)};
}

// Sizes F, H, L, ways, windows, hidden units of the head, readout, activation; lengths of windows; of each direction weights
// as torch has them; mean, std, scale and shift of samples; scale, shift, gain, offset of what is read out; two linear
// layers; samples. Logits, then attention.
void run_windows(const WindowSet& set) {
    const auto sizes = take<int64_t>(8), lengths = take<int64_t>(sizes[4]);
    WindowModel model;
    model.features = sizes[0], model.hidden_size = sizes[1], model.bidirectional = sizes[3] == 2;
    const int rows = 4 * model.hidden_size, width = model.output_size();
    for (int i = 0; i < sizes[2] * sizes[3]; ++i) {
        const int inputs = i < sizes[3] ? model.features : width;
        const auto weight_ih = take<float>(rows * inputs), weight_hh = take<float>(rows * model.hidden_size);
        const auto bias = take<float>(rows), bias2 = take<float>(rows);
        model.add_direction(inputs, weight_ih.data(), weight_hh.data(), bias.data(), bias2.data());
    }
    for (auto* each : {&model.mean, &model.std, &model.scale, &model.shift}) *each = take<float>(model.features);
    Head& head = model.head;
    for (auto* each : {&head.scale, &head.shift, &head.gain, &head.offset}) *each = take<double>(width);
    head.epsilon = 1e-5;
    head.readout = static_cast<Readout>(sizes[6]), head.activation = static_cast<Activation>(sizes[7]);
    head.layers.push_back(take_linear(width, sizes[5]));
    head.layers.push_back(take_linear(sizes[5], 1));
    size_t steps = 0;
    for (int64_t length : lengths) steps += length;
    const auto samples = take<float>(steps * model.features);
    std::vector<float> logits(lengths.size()), attention(steps);
    score_windows(model, set, samples.data(), lengths.data(), lengths.size(), logits.data(), attention.data());
    give(logits);
    give(attention);
}

// How many; gates; values. A multiple of UNITS. sigmoid(gates) * tanh(values).
void run_gates(const InstructionSet& set) {
    const int64_t count = take<int64_t>(1)[0];
    const Floats gates = aligned(count), values = aligned(count);
    const auto first = take<float>(count), second = take<float>(count);
    std::memcpy(gates.get(), first.data(), count * sizeof(float));
    std::memcpy(values.get(), second.data(), count * sizeof(float));
    const FlushToZero flush;
    set.activate(gates.get(), values.get(), count);
    give({values.get(), values.get() + count});
}

}  // namespace

int main(int count, char** words) {
    const std::string kernel = count > 1 ? words[1] : "";
    if (kernel == "sets") {
        for (const char* name : {"avx512", "avx2", "neon", "plain", "wide", "single"}) {
            if (set_or_more(name)) std::puts(name);
        }
        return 0;
    }
    if (kernel == "windows" && count > 2 && window_set_or_more(words[2])) return run_windows(*window_set_or_more(words[2])), 0;
    const InstructionSet* set = count > 2 ? set_or_more(words[2]) : nullptr;
    if (!set) return std::fputs("usage: kernels sets | kernels KERNEL SET\n", stderr), 2;
    if (kernel == "lstm") return run_steps(LSTM, *set), 0;
    if (kernel == "gru") return run_steps(GRU, *set), 0;
    if (kernel == "gates") return run_gates(*set), 0;
    return std::fputs("no such kernel\n", stderr), 2;
}
