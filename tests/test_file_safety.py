"""Files are written where a path points, and nowhere else: not through a link that somebody has prepared, not by a name
that came with the data."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.data.outputs import create_file
from core.errors import CaststreamError
from core.models.checkpoint import write_checkpoint
from core.offline.predict import predict
from core.training.snapshot import check_writable
from core.whole_file import whole_file
from replay.progress import ReplayProgress, progress_place
from replay.run import replay
from stream_app.local.broker import LocalBroker
from stream_app.local.kafka_config import java_properties
from tests.files import write_castings, write_signals
from tests.sinks import MemorySink

TOKEN = "0123456789abcdef"


def write_hdf5(path: Path) -> None:
    with create_file(path):
        pass


def write_lines(path: Path) -> None:
    write_castings(path.parent / "casts.h5", [120])
    predict(path.parent / "casts.h5", path)


def write_progress(path: Path) -> None:
    ReplayProgress("f", 1, 1, "t", "r", 0, 1, False, [0]).save(path)


def write_model(path: Path) -> None:
    write_checkpoint(path, {"model_state_dict": {"w": torch.zeros(1)}})


@pytest.mark.parametrize("write", [write_hdf5, write_lines, write_progress, write_model])
def test_a_link_prepared_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "out"
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    monkeypatch.setattr(secrets, "token_hex", lambda count: TOKEN)
    (tmp_path / f".out.{TOKEN}.partial").symlink_to(victim)

    with pytest.raises((CaststreamError, FileExistsError)):
        write(path)

    assert victim.read_text() == "untouched"
    assert not path.exists()


def test_temporary_names_cannot_be_guessed_and_fit_the_file_system(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as one, whole_file(tmp_path / "a") as other:
        assert one != other
        one.touch()
        other.touch()
    for letter in ("x", "鋼"):  # of one byte and of three
        write_hdf5(tmp_path / (letter * (250 // len(letter.encode()))))


def test_json_lines_go_through_a_link_and_into_what_is_no_file(tmp_path: Path) -> None:
    write_castings(tmp_path / "casts.h5", [120])
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "link").symlink_to("target")

    for name in ("null", "link"):
        predict(tmp_path / "casts.h5", tmp_path / name)

    assert (tmp_path / "null").is_symlink()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert b'"probability"' in (tmp_path / "target").read_bytes()


@pytest.mark.parametrize("write", [write_hdf5, check_writable])
def test_what_is_no_plain_file_is_never_replaced(tmp_path: Path, write: Callable[[Path], None]) -> None:
    pipe = tmp_path / "pipe.h5"
    os.mkfifo(pipe)

    with pytest.raises(CaststreamError, match="no plain file"):
        write(pipe)

    assert pipe.is_fifo()


def test_names_that_come_with_a_run_are_no_paths(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "inside"
    inside.mkdir(parents=True)
    write_signals(inside / "f.h5", rows=1, steps=2)
    names = {"topic_signal": "../../t", "topic_casting": "t"}
    sink = MemorySink()

    replay(
        inside / "f.h5",
        client_config={},
        data_dir=inside / "data",
        speed=float("inf"),
        run="../../up",
        sink=sink,
        **names,
    )
    predict(inside / "f.h5", inside / "out.jsonl", run="../../up")

    assert b'"../../up-0"' in sink.records[0][1]
    assert b'"sequence":"../../up-0"' in (inside / "out.jsonl").read_bytes()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    place = progress_place(inside / "data", inside / "f.h5", "", "../../t")
    assert found == {"a/inside/f.h5", "a/inside/out.jsonl", str(place.relative_to(tmp_path))}
    assert place.parent == inside / "data" / "replay"


def test_the_progress_of_a_file_with_a_long_name_has_a_name_that_fits(tmp_path: Path) -> None:
    write_progress(progress_place(tmp_path, tmp_path / ("ü" * 120 + ".h5"), "b", "t"))

    assert len(list((tmp_path / "replay").iterdir())) == 1


def test_the_local_brokers_properties_are_for_its_owner_alone(tmp_path: Path) -> None:
    broker = LocalBroker(tmp_path, port=1, properties={"ssl.keystore.key": "secret"})
    broker.directory.mkdir()
    broker._write_properties(controller_port=2)
    path = broker.directory / "kafka.properties"

    assert java_properties({"ssl.keystore.key": "secret"}) in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
