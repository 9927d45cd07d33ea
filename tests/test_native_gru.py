"""The compiled GRU step against nn.GRU. What it shares with the LSTM's is tested in test_own_weights.py for both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from core.native.lstm import INSTRUCTION_SETS, StepKernel
from tests.recurrent_files import kernel_of

Floats = NDArray[np.float32]
STEPS = 10_000

every_set = pytest.mark.parametrize("instructions", INSTRUCTION_SETS)


class Gru(nn.Module):
    """A GRU with weights up to ``size``, and a linear layer."""

    def __init__(self, features: int, hidden: int, layers: int, outputs: int, size: float = 0.4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.GRU(features, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, outputs)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-size, size)

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        output, after = self.rnn(x, h)
        return self.fc(output), after

    def remember(self, most: float) -> None:
        """Let z be near 1, as where a model remembers for thousands of steps: from 1/2 to sigmoid(most)."""
        hidden = self.rnn.hidden_size
        with torch.no_grad():
            for layer in range(self.rnn.num_layers):
                for name in ("bias_ih", "bias_hh"):
                    getattr(self.rnn, f"{name}_l{layer}")[hidden : 2 * hidden] = torch.linspace(0, most / 2, hidden)

    def kernel(self, instructions: str) -> StepKernel:
        return kernel_of({name: each.numpy() for name, each in self.state_dict().items()}, instructions)


def advance(kernel: StepKernel, samples: Floats, states: Floats) -> Floats:
    """(B, T, F) to (B, T, K); the states (B, S) in place."""
    batch, steps, features = samples.shape
    runs, times = np.repeat(np.arange(batch), steps), np.tile(np.arange(steps), batch)
    flat = kernel.advance(samples.reshape(-1, features), runs, times, np.full(batch, steps), states)
    return flat.reshape(batch, steps, -1)


@every_set
@pytest.mark.parametrize("sizes", [(5, 64, 2, 1), (1, 1, 1, 1), (17, 19, 3, 4), (12, 50, 1, 3)])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 13])
def test_a_step_equals_torch(instructions: str, sizes: tuple[int, int, int, int], rows: int) -> None:
    model, random = Gru(*sizes), np.random.default_rng(rows)
    samples = random.normal(size=(rows, 1, sizes[0])).astype(np.float32)
    states = random.uniform(-1, 1, (rows, sizes[2] * sizes[1])).astype(np.float32)
    before = torch.from_numpy(states).view(rows, sizes[2], sizes[1]).transpose(0, 1).contiguous()  # (L, B, H)
    with torch.no_grad():
        expected, after = model(torch.from_numpy(samples), before)

    found = advance(model.kernel(instructions), samples, after_all := states.copy())

    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(after_all, after.transpose(0, 1).reshape(rows, -1).numpy(), rtol=0, atol=1e-6)


def waves(rows: int, features: int) -> Floats:
    """Noisy sinusoids, (B, STEPS, F)."""
    random = np.random.default_rng(3)
    periods, sizes = random.uniform(5, 300, (rows, 1, features)), random.uniform(0.5, 2, (rows, 1, features))
    noise = random.normal(0, 0.1, (rows, STEPS, features))
    return (np.sin(np.arange(STEPS)[None, :, None] / periods) * sizes + noise).astype(np.float32)


@pytest.mark.parametrize(("remember", "size"), [(0, 0.4), (9, 0.2), (12, 0.2)])
def test_ten_thousand_steps_equal_torch_with_a_long_memory_too(remember: int, size: float) -> None:
    """Where z rounds otherwise than torch's at every step, that adds up to more than 1e-6 here."""
    model, samples = Gru(5, 24, 2, 3, size), waves(3, 5)
    model.remember(remember)
    with torch.no_grad():
        expected = model(torch.from_numpy(samples))[0].numpy()

    for instructions in INSTRUCTION_SETS:
        found = advance(model.kernel(instructions), samples, np.zeros((3, 2 * 24), np.float32))

        np.testing.assert_allclose(found, expected, rtol=0, atol=6e-7)


@every_set
def test_what_is_not_a_number_stays_in_its_row(instructions: str) -> None:
    model, random = Gru(5, 20, 2, 2), np.random.default_rng(1)
    samples, states = random.normal(size=(13, 1, 5)).astype(np.float32), np.zeros((13, 40), np.float32)
    expected = advance(model.kernel(instructions), samples, after := states.copy())
    samples[4, 0, 0] = np.nan

    found = advance(model.kernel(instructions), samples, states)

    others = np.arange(13) != 4
    np.testing.assert_array_equal(found[others], expected[others])
    np.testing.assert_array_equal(states[others], after[others])
    assert np.isnan(found[4]).all()
