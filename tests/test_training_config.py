"""Settings of a training: defaults, then the file, then what was given; a wrong value is refused by name."""

import subprocess
import sys

import msgspec
import pytest
import torch

from core.errors import StartupError
from core.training.config import DefectSettings, SignalSettings, TrainingSettings, read_settings


@pytest.fixture
def write(tmp_path):
    """`write(name, text)`: a settings file."""

    def make(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_without_file_and_options_the_defaults_hold():
    signal, defect = read_settings("signal"), read_settings("defect")

    assert (signal, defect) == (SignalSettings(), DefectSettings())
    assert (signal.epochs, signal.learning_rate, signal.optimizer, signal.schedule) == (10, 1e-4, "adam", "cosine")
    assert (defect.epochs, defect.learning_rate, defect.optimizer, defect.schedule) == (12, 2e-3, "adamw", "one-cycle")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.toml",
            'epochs = 3\nlearning_rate = 1e-4\nhidden_dims = [8]\nschedule = "plateau"\nbidirectional = false\n',
        ),
        ("a.yaml", "epochs: 3\nlearning_rate: 1e-4\nhidden_dims: [8]\nschedule: plateau\nbidirectional: no\n"),
        ("a.YML", "{epochs: '3', learning_rate: 0.0001, hidden_dims: [8], schedule: plateau, bidirectional: false}"),
    ],
)
def test_a_file_is_read_by_its_suffix(write, name, text):
    expected = DefectSettings(epochs=3, learning_rate=1e-4, hidden_dims=(8,), schedule="plateau", bidirectional=False)

    assert read_settings("defect", write(name, text)) == expected


def test_what_is_given_stands_over_the_file_and_the_file_over_the_defaults(write):
    path = write("a.toml", "epochs = 3\nbatch_size = 5\n")
    found = read_settings("signal", path, epochs=4, batch_size=None, max_minutes=2)

    assert (found.epochs, found.batch_size, found.max_minutes, found.hidden_size) == (4, 5, 2.0, 64)


def test_an_empty_file_says_nothing(write):
    assert read_settings("signal", write("a.yaml", "# nothing yet\n")) == SignalSettings()


def test_nothing_may_be_said_of_an_optional_setting(write):
    path = write("a.yaml", "max_minutes: null\nsteps: ~\n")

    assert read_settings("signal", path) == SignalSettings()


def test_no_hidden_layers_are_fine():
    assert read_settings("defect", hidden_dims=[]).hidden_dims == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("epochs = 0", "epochs is 0: must be a whole number of 1 or more"),
        ("epochs = true", "epochs is True: must be a whole number of 1 or more"),
        ("epochs = 1.5", "epochs is 1.5: must be a whole number of 1 or more"),
        ("batch_size = -4", "batch_size is -4: must be a whole number of 1 or more"),
        ("learning_rate = 0", "learning_rate is 0: must be a number above 0, up to 1"),
        ("learning_rate = nan", "learning_rate is nan: must be a number above 0, up to 1"),
        ("learning_rate = 'fast'", "learning_rate is 'fast': must be a number above 0, up to 1"),
        ("optimizer = 'sgd'", "optimizer is 'sgd': must be adam or adamw"),
        ("schedule = 'step'", "schedule is 'step': must be constant, plateau, cosine or one-cycle"),
        ("weight_decay = -1", "weight_decay is -1: must be a number from 0 to 1"),
        ("gradient_clip = inf", "gradient_clip is inf: must be a number of 0 or more (0: no limit)"),
        ("patience = -1", "patience is -1: must be a whole number of 0 or more"),
        ("seed = -1", "seed is -1: must be a whole number from 0 to 2^63-1"),
        ("device = 'gpu'", "device is 'gpu': must be cpu, cuda or cuda:N"),
        ("threads = 0", "threads is 0: must be a whole number from 1 to 1024"),
        ("max_minutes = 0", "max_minutes is 0: must be minutes above 0"),
        ("mixed_precision = 'perhaps'", "mixed_precision is 'perhaps': must be true or false"),
        ("num_layers = 5", "num_layers is 5: must be a whole number from 1 to 4"),
        ("dropout = 0.9", "dropout is 0.9: must be a number from 0 to 0.8"),
        ("readout = 'mean'", "readout is 'mean': must be last, ends or attention"),
        ("target = 'odds'", "target is 'odds': must be label or probability"),
        ("hidden_dims = [8, 0]", "hidden_dims is [8, 0]: must be a list of layer widths, each 1 or more"),
        ("pos_weight = 0", "pos_weight is 0: must be a number above 0, up to 1e9"),
        ("cost_missed = 0", "cost_missed is 0: must be a number above 0, up to 1e9"),
        ("rate = 1", "rate is not a setting of this training: accepted are epochs, batch_size, "),
        ("segment = 5", "segment is not a setting of this training: accepted are epochs, batch_size, "),
    ],
)
def test_a_wrong_value_is_refused_by_file_key_value_and_what_is_accepted(write, line, problem):
    path = write("a.toml", line)
    with pytest.raises(StartupError) as refused:
        read_settings("defect", path)

    assert str(refused.value).startswith(f"{path}: {problem}")


def test_a_wrong_option_is_refused_in_the_same_words():
    with pytest.raises(StartupError, match=r"^segment is 0: must be a whole number of 1 or more$"):
        read_settings("signal", segment=0)
    with pytest.raises(StartupError, match=r"^initialisation is 'zeros': must be constructor, chrono or kalman$"):
        read_settings("signal", initialisation="zeros")


def test_mixed_precision_needs_cuda():
    for make in (read_settings, lambda kind, **given: SignalSettings(**given)):
        with pytest.raises(StartupError, match="mixed_precision is true and device is cpu"):
            make("signal", mixed_precision=True)

    assert SignalSettings(mixed_precision=True, device="cuda").mixed_precision


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert read_settings("signal", device="cuda:1").device == "cuda:1"
    with pytest.raises(StartupError, match="device is cuda:2: torch finds only cuda:0, cuda:1 here"):
        read_settings("signal", device="cuda:2")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "{}", "must end in .toml, .yaml or .yml"),
        ("a.toml", "epochs: 3", "is not TOML: "),
        ("a.yaml", "epochs: [3", "is not YAML: "),
        ("a.yaml", "epochs: 2024-99-99", "is not YAML: "),
        ("a.yaml", "- epochs", "must hold keys and values"),
        ("a.yaml", "epochs", "must hold keys and values"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_by_name(write, name, text, problem):
    path = write(name, text)
    with pytest.raises(StartupError) as refused:
        read_settings("signal", path)

    assert str(refused.value).startswith(f"{path}: ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.toml").mkdir()
    for name, problem in (("no.toml", "No such file"), ("binary.toml", "is not UTF-8"), ("folder.toml", "directory")):
        with pytest.raises(StartupError, match=rf"{name}: .*{problem}"):
            read_settings("signal", tmp_path / name)


@pytest.mark.parametrize("kind", ["signal", "defect"])
def test_every_setting_says_what_is_accepted(kind):
    """Each field refuses a value of another kind in words, not by the name of a Python type."""
    for field in msgspec.structs.fields(type(read_settings(kind))):
        with pytest.raises(StartupError, match=f"^{field.name} is ") as refused:
            read_settings(kind, **{field.name: {"no": "value"}})
        assert "typing" not in str(refused.value)
        assert "<class" not in str(refused.value)


def test_settings_go_through_a_file_of_plain_data():
    settings = DefectSettings(hidden_dims=(4, 2), pos_weight=3.0)

    assert msgspec.convert(msgspec.to_builtins(settings), DefectSettings) == settings
    assert isinstance(settings, TrainingSettings)


def test_reading_settings_loads_neither_torch_nor_yaml():
    code = "import sys; from core.training.config import read_settings; read_settings('signal')"
    code += "; sys.exit(bool({'torch', 'yaml'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weight_decay_is_refused_on_a_filter_that_it_would_detune():
    with pytest.raises(StartupError, match=r"^weight_decay is 0\.01: must be 0 with initialisation kalman"):
        read_settings("signal", weight_decay=0.01)

    assert read_settings("signal", weight_decay=0.01, initialisation="chrono").weight_decay == 0.01
