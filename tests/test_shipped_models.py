"""The models that come with the package: their quality on fresh data, their size, and what is said of them."""

from pathlib import Path

import pytest

from core.data.castings import generate_castings
from core.data.signals import generate_signals
from core.models.checkpoint import read_checkpoint
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.training.evaluate_defect import evaluate_defect
from core.training.evaluate_signal import evaluate_signal

KINDS = ("signal", "defect")


@pytest.mark.slow
def test_the_signal_model_is_near_the_filter_on_every_frequency(tmp_path):
    generate_signals(tmp_path / "signals.h5", samples=16, seed=31)
    figures = evaluate_signal(tmp_path / "signals.h5", checkpoint_path("signal")).figures

    assert figures["mse_after_1s"] < 0.0005
    assert figures["mse_after_1s"] < 3 * figures["kalman_mse_after_1s"]
    assert figures["mse_after_1s"] < 0.2 * figures["bandpass_mse_after_1s"]
    assert len(figures["per_frequency"]) == 4
    assert all(one["correlation_after_1s"] > 0.999 for one in figures["per_frequency"])


@pytest.mark.slow
def test_the_signal_model_holds_far_beyond_the_length_that_it_was_trained_on(tmp_path):
    generate_signals(tmp_path / "signals.h5", samples=4, seed=32, steps=40_000)
    figures = evaluate_signal(tmp_path / "signals.h5", checkpoint_path("signal")).figures

    assert figures["mse_after_1s"] < 0.0005


@pytest.mark.slow
def test_the_defect_model_is_near_the_limit(tmp_path):
    generate_castings(tmp_path / "casts.h5", casts=600, seed=33)
    figures = evaluate_defect(tmp_path / "casts.h5", checkpoint_path("defect")).figures

    assert figures["auc"] > 0.92
    assert figures["auc"] > figures["auc_limit"] - 0.02
    assert figures["brier"] < 1.1 * figures["brier_limit"]  # of 600 casts: chance moves it by a few per cent


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_carries_what_it_needs_and_its_card_names_it(kind):
    path = checkpoint_path(kind)
    content, card = read_checkpoint(path), path.with_suffix(".md").read_text()

    assert fingerprint(load_model(path, kind)) in card
    assert f"caststream train {kind}" in card
    assert content["training"]["epochs"] >= 1
    assert (kind == "signal") or content["decision"]["threshold"] == pytest.approx(1 / 11)


def test_the_checkpoints_are_small():
    assert sum(checkpoint_path(kind).stat().st_size for kind in KINDS) < 5_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_of_the_full_training_is_that_of_the_model(kind):
    from core.training.config import read_settings

    settings = read_settings(kind, Path(__file__).parent.parent / "examples" / f"{kind}.toml")
    stored = read_checkpoint(checkpoint_path(kind))["training"]
    told = {name: stored[name] for name in ("epochs", "batch_size", "learning_rate", "schedule", "seed")}

    assert told == {name: getattr(settings, name) for name in told}
