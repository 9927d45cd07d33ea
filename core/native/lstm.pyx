"""The step of an LSTM or a GRU, of many streams at once, and the rows that hold their states; float32, on the CPU.

A run's predictions and state are the same, bit for bit, whatever else is in its batch.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from libcpp cimport bool as cbool
from libcpp.memory cimport unique_ptr
from libcpp.utility cimport pair
from libcpp.vector cimport vector

import numpy as np


cdef extern from "lstm_batch.hpp" namespace "caststream" nogil:
    cdef struct Cell:
        int gates

    const Cell LSTM, GRU

    cdef cppclass Model:
        int features, hidden_size, outputs
        vector[float] mean, std
        Model(const Cell&, int, int, int, int) except +
        int state_size()
        void set_layer(int, const float*, const float*, const float*, const float*)
        void set_output(const float*, const float*)

    cdef cppclass InstructionSet:
        void activate(const float*, float*, int64_t)

    cdef cppclass FlushToZero:
        FlushToZero()

    const InstructionSet* instruction_set(const char*)

    cdef struct Run:
        const float* before
        float* after

    cdef cppclass Batch:
        vector[Run] runs
        cbool arrange(const int64_t*, const int64_t*, int64_t, const int64_t*, int64_t) except +
        void step(const Model&, const InstructionSet&, const float*, float*) except +

ctypedef float* float_pointer

INSTRUCTION_SETS = tuple(name for name in ("avx512", "avx2", "neon", "plain") if instruction_set(name.encode()) != NULL)
"""The sets of this machine, the fastest first."""

cdef enum:
    BLOCK_ROWS = 4096  # of `StateRows`: 4 MiB at 1 KiB each, of which the system gives what is written to


def gated_tanh(gates, values, instructions=INSTRUCTION_SETS[0]):
    """What the kernel makes of float32 arrays (N,) as sigmoid(gates) * tanh(values); for tests."""
    cdef Py_ssize_t size = len(values)
    cdef const InstructionSet* chosen = _instruction_set(instructions)
    cdef const float[::1] wide_gates = _aligned(gates)
    found = _aligned(values)
    cdef float[::1] view = found
    chosen.activate(&wide_gates[0], &view[0], view.shape[0])
    return found[:size].copy()


def _aligned(values):
    """A copy with zeros behind, as the widest vectors want it."""
    room = np.zeros(len(values) + 32, np.float32)
    start = -room.ctypes.data % 64 // 4
    found = room[start : start + (len(values) + 16) // 16 * 16]
    found[: len(values)] = values
    return found


cdef const InstructionSet* _instruction_set(str name) except NULL:
    cdef const InstructionSet* found = instruction_set(name.encode())
    if found == NULL:
        raise ValueError(f"instructions {name!r}: this machine has {', '.join(INSTRUCTION_SETS)}")
    return found


cdef class StepKernel:
    """A batch-first recurrent network (F -> H, L layers) and Linear (H -> K) with weights packed for this machine.

    `LstmKernel` and `GruKernel` say of which cell.

    Args:
        features: F.
        hidden_size: H; fast where it is a multiple of 16.
        layers: L of (weight_ih, weight_hh, bias_ih, bias_hh), float32, as nn.LSTM and nn.GRU have them.
        output: weight (K, H) and bias (K,), K >= 1.
        mean, std: (F,) each, applied to every sample; None: samples go in as they are.
        instructions: one of `INSTRUCTION_SETS`.
    """

    cdef unique_ptr[Model] model
    cdef const InstructionSet* instructions

    def __init__(
        self, int features, int hidden_size, layers, output, mean=None, std=None, instructions=INSTRUCTION_SETS[0]
    ):
        self.instructions = _instruction_set(instructions)
        cdef int outputs = len(output[0])
        if features < 1 or hidden_size < 1 or not layers or outputs < 1:
            raise ValueError(f"sizes {features}, {hidden_size}, {len(layers)}, {outputs}: each must be 1 or more")
        self.model.reset(new Model(self.cell()[0], features, hidden_size, len(layers), outputs))
        cdef int rows = self.cell().gates * hidden_size
        for index, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(layers):
            inputs = hidden_size if index else features
            self._set_layer(
                index,
                _floats(weight_ih, (rows, inputs)),
                _floats(weight_hh, (rows, hidden_size)),
                _floats(bias_ih, (rows,)),
                _floats(bias_hh, (rows,)),
            )
        cdef const float[::1] weight = _floats(output[0], (outputs, hidden_size)), bias = _floats(output[1], (outputs,))
        self.model.get().set_output(&weight[0], &bias[0])
        if mean is not None:
            self.model.get().mean = [<float>value for value in mean]
            self.model.get().std = [<float>value for value in std]
            if len(mean) != features or len(std) != features:
                raise ValueError(f"mean and std must have {features} values each")

    cdef const Cell* cell(self) except NULL:
        raise TypeError("a StepKernel is made as an LstmKernel or a GruKernel")

    def _set_layer(
        self,
        int index,
        const float[::1] weight_ih,
        const float[::1] weight_hh,
        const float[::1] bias_ih,
        const float[::1] bias_hh,
    ):
        self.model.get().set_layer(index, &weight_ih[0], &weight_hh[0], &bias_ih[0], &bias_hh[0])

    @property
    def state_size(self):
        """S, the numbers in one state: h of all layers, then of an LSTM c of all layers."""
        return self.model.get().state_size()

    def advance(self, samples, runs, times, lengths, float[:, ::1] states not None):
        """Step B runs through their samples, and their states (B, S) in place; the predictions (N, K).

        Arguments as `StateRows.step` has them; run b begins and ends in row b.

        Raises:
            ValueError: sizes do not fit each other, or samples are not runs without holes.
        """
        cdef _Step step = _Step(self, samples, runs, times, lengths)
        cdef Py_ssize_t count = step.batch.runs.size(), run
        _check_shape("states", states.shape[0], states.shape[1], count, self.state_size)
        for run in range(count):
            step.batch.runs[run].before = step.batch.runs[run].after = &states[run, 0]
        return step.run()


cdef class LstmKernel(StepKernel):
    """A `StepKernel` of nn.LSTM's cell; S = 2*L*H."""

    cdef const Cell* cell(self) except NULL:
        return &LSTM


cdef class GruKernel(StepKernel):
    """A `StepKernel` of nn.GRU's cell; S = L*H."""

    cdef const Cell* cell(self) except NULL:
        return &GRU


cdef class _Step:
    """One call: its batch, and what must live until it ends."""

    cdef StepKernel kernel
    cdef Batch batch
    cdef const float[:, ::1] samples
    cdef vector[float] aside  # states that wait,
    cdef vector[pair[float_pointer, float_pointer]] moves  # and where they go: to, from

    def __cinit__(self, StepKernel kernel, const float[:, ::1] samples, runs, times, lengths):
        cdef const int64_t[::1] run_of = _integers(runs), at = _integers(times), counts = _integers(lengths)
        _check_shape("samples", samples.shape[0], samples.shape[1], run_of.shape[0], kernel.model.get().features)
        self.kernel, self.samples = kernel, samples
        cdef Py_ssize_t count = samples.shape[0], rows = counts.shape[0]
        cdef cbool fits = at.shape[0] == count and (count > 0) == (rows > 0)
        if fits and count:
            fits = self.batch.arrange(&run_of[0], &at[0], count, &counts[0], rows)
        if not fits:
            raise ValueError("samples: runs, times and lengths do not describe runs without holes")

    cdef run(self):
        cdef const Model* model = self.kernel.model.get()
        found = np.empty((self.samples.shape[0], model.outputs), np.float32)
        cdef float[:, ::1] predictions = found
        if predictions.shape[0]:
            with nogil:
                self.batch.step(model[0], self.kernel.instructions[0], &self.samples[0, 0], &predictions[0, 0])
        return found


cdef class StateRows:
    """Numbered rows with a state each, in blocks that never move, so that growing takes no time. Row 0 stays zero.

    Args:
        kernel: steps the rows.
    """

    cdef StepKernel kernel
    cdef list blocks
    cdef vector[float*] starts
    cdef Py_ssize_t size

    def __init__(self, StepKernel kernel not None):
        self.kernel = kernel
        self.size = kernel.state_size
        self.blocks = []
        self.grow()

    @property
    def capacity(self):
        """Rows, row 0 included."""
        return self.count()

    cdef Py_ssize_t count(self) noexcept:
        return self.starts.size() * BLOCK_ROWS

    def grow(self):
        """Add a block of rows of zeros."""
        block = np.zeros((BLOCK_ROWS, self.size), np.float32)
        cdef float[:, ::1] view = block
        self.blocks.append(block)
        self.starts.push_back(&view[0, 0])

    cdef float* at(self, int64_t row) except NULL:
        if not 0 <= row < self.count():
            raise IndexError(f"row {row}: there are {self.capacity}")
        return self.starts[row // BLOCK_ROWS] + row % BLOCK_ROWS * self.size

    cdef float* writable(self, int64_t row) except NULL:
        if row == 0:
            raise IndexError("row 0 stays zero")
        return self.at(row)

    def step(self, batch):
        """Step the runs of a `core.step_batch.StepBatch` through their samples; the predictions (N, K) in their order.

        Raises:
            ValueError: sizes do not fit each other, or samples are not runs without holes.
            IndexError: a row or run that is not there, or a target 0.
        """
        samples, runs, times, lengths, starts, targets, last = batch
        cdef _Step step = _Step(self.kernel, samples, runs, times, lengths)
        cdef const int64_t[::1] begin = _integers(starts), rows = _integers(targets), ended = _integers(last)
        cdef Py_ssize_t count = step.batch.runs.size(), run
        if begin.shape[0] != count or rows.shape[0] != ended.shape[0]:
            raise ValueError(f"{begin.shape[0]} starts of {count} runs, {rows.shape[0]} targets of {ended.shape[0]}")
        for run in range(count):
            step.batch.runs[run].before = self.at(begin[run])
        self.route(step, begin, rows, ended)
        predictions = step.run()
        cdef pair[float_pointer, float_pointer] move
        for move in step.moves:
            memcpy(move.first, move.second, self.size * sizeof(float))
        return predictions

    cdef int route(
        self, _Step step, const int64_t[::1] begin, const int64_t[::1] rows, const int64_t[::1] ended
    ) except -1:
        """Where each run's state goes: into the row where it began, or else, as others may still begin in its target,
        aside until all are through."""
        cdef Py_ssize_t run, i
        cdef vector[Py_ssize_t] moved
        for i in range(rows.shape[0]):
            run = ended[i]
            if not 0 <= run < <Py_ssize_t>step.batch.runs.size():
                raise IndexError(f"run {run}: there are {step.batch.runs.size()}")
            if self.writable(rows[i]) == step.batch.runs[run].before:
                step.batch.runs[run].after = self.at(rows[i])
            else:
                moved.push_back(i)
        step.aside.resize(moved.size() * self.size)
        for i in range(<Py_ssize_t>moved.size()):
            run = ended[moved[i]]
            if step.batch.runs[run].after == NULL:
                step.batch.runs[run].after = &step.aside[i * self.size]
            step.moves.push_back(pair[float_pointer, float_pointer](self.at(rows[moved[i]]), step.batch.runs[run].after))
        return 0

    def read(self, rows):
        """A copy of the states in these rows, (n, S)."""
        cdef const int64_t[::1] wanted = _integers(rows)
        found = np.empty((wanted.shape[0], self.size), np.float32)
        cdef float[:, ::1] to = found
        cdef Py_ssize_t i
        for i in range(wanted.shape[0]):
            memcpy(&to[i, 0], self.at(wanted[i]), self.size * sizeof(float))
        return found

    def write(self, int64_t row, state):
        """Put a state (S,) into a row."""
        cdef const float[::1] values = _floats(state, (self.size,))
        memcpy(self.writable(row), &values[0], self.size * sizeof(float))

    def clear(self, int64_t row):
        """Put zeros into a row."""
        memset(self.writable(row), 0, self.size * sizeof(float))


cdef _integers(array):
    return np.ascontiguousarray(array, np.int64)


cdef _floats(array, shape):
    """As a flat float32 array."""
    if np.shape(array) != shape:
        raise ValueError(f"an array of shape {np.shape(array)}, where {shape} is needed")
    return np.ascontiguousarray(array, np.float32).reshape(-1)


cdef _check_shape(name, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t wanted_rows, Py_ssize_t wanted_columns):
    if (rows, columns) != (wanted_rows, wanted_columns):
        raise ValueError(f"{name}: ({rows}, {columns}), where ({wanted_rows}, {wanted_columns}) is needed")
