// The kernels without Python, so that they can be compiled for another processor and run by an emulator of it:
// `kernels sets` prints the sets of instructions that this machine has, `kernels KERNEL SET` reads a case from standard
// input and writes what the kernel makes of it to standard output, as plain numbers in this machine's byte order.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../../core/native/lstm_batch.hpp"
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
    const InstructionSet* set = count > 2 ? set_or_more(words[2]) : nullptr;
    if (!set) return std::fputs("usage: kernels sets | kernels KERNEL SET\n", stderr), 2;
    if (kernel == "lstm") return run_steps(LSTM, *set), 0;
    if (kernel == "gru") return run_steps(GRU, *set), 0;
    if (kernel == "gates") return run_gates(*set), 0;
    return std::fputs("no such kernel\n", stderr), 2;
}
