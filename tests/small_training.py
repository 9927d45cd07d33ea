"""A training so small that a test can afford many of them."""

import math
import signal

import msgspec
import numpy as np
import torch

from core.models.checkpoint import read_checkpoint
from core.models.evaluation import evaluating
from core.models.signal_lstm import SignalExtractionLSTM
from core.training.config import SignalSettings
from core.training.extras import require

ROWS, STEPS, BATCH = 8, 12, 2


def settings(**changes):
    given = {"epochs": 4, "batch_size": BATCH, "learning_rate": 0.01, "dropout": 0.3, "schedule": "constant"}
    return SignalSettings(**given | changes)


class Task:
    """Delayed sums of random inputs, in two segments per batch with the state carried on."""

    updates_per_epoch = 2 * ROWS // BATCH

    def __init__(self, chosen, data=1):
        self.settings, self.data = chosen, data
        torch.manual_seed(chosen.seed)
        self.model = SignalExtractionLSTM(hidden_size=8, dropout=chosen.dropout)
        source = np.random.default_rng(data)
        self.inputs = torch.from_numpy(source.normal(size=(ROWS, STEPS, 5)).astype("f4"))
        self.targets = torch.tanh(self.inputs.cumsum(dim=1).sum(dim=2, keepdim=True) / 8)
        self.validations = 0

    def batches(self, epoch):
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(ROWS)
        for rows in np.split(order, ROWS // BATCH):
            self.state = None
            for cut in (slice(0, STEPS // 2), slice(STEPS // 2, STEPS)):
                yield self.inputs[rows, cut], self.targets[rows, cut]

    def loss(self, batch):
        predicted, (h, c) = self.model(batch[0], self.state)
        self.state = h.detach(), c.detach()
        return ((predicted - batch[1]) ** 2).mean()

    def validate(self):
        self.validations += 1
        with evaluating(self.model):
            mse = float(((self.model(self.inputs)[0] - self.targets) ** 2).mean())
        return {"loss": mse, "rmse": math.sqrt(mse)}

    def extras(self):
        return {"training": msgspec.to_builtins(self.settings), "data": {"rows": ROWS, "name": self.data}}

    def figures(self):
        figure = require("matplotlib.figure").Figure(figsize=(1, 1))
        figure.add_subplot().plot([0, torch.rand(1).item()])
        return {"line": figure}


class Losses(Task):
    """A task whose losses on held-out data are given."""

    def __init__(self, chosen, losses):
        super().__init__(chosen)
        self.losses = iter(losses)

    def validate(self):
        return {"loss": next(self.losses)}


def weights(path):
    return read_checkpoint(path)["model_state_dict"]


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(history):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]


def interrupt_at(epoch, update):
    """An `on_progress` in which Ctrl-C is pressed after that update."""

    def tell(progress):
        if (progress.epoch, progress.update) == (epoch, update):
            signal.raise_signal(signal.SIGINT)

    return tell


def events(log_dir):
    loaded = require("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(str(log_dir))
    loaded.Reload()
    return loaded


def scalars(log_dir, tag):
    return events(log_dir).Scalars(tag)
