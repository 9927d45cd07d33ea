"""Kafka's jars: whole, checked and fetched once, with another repository in place of the network."""

from __future__ import annotations

import errno
import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.errors import StartupError
from stream_app.local import jars
from stream_app.local.jars import Jar, ensure_jars, pinned_jars


@dataclass
class Repository:
    """jgo's Maven context, as far as it is used: serves ``files`` by artifact name; fails ``failures`` times first."""

    files: dict[str, bytes]
    failures: int = 0
    served: list[str] = field(default_factory=list)
    remote_repos: dict[str, str] = field(default_factory=lambda: {"central": "unused"})
    cache: Path = Path()

    def project(self, group: str, artifact: str) -> Repository:
        self.asked = artifact
        return self

    def at_version(self, version: str) -> Repository:
        self.cached_path = self.cache / self.asked / f"{self.asked}-{version}.jar"
        return self

    def artifact(self) -> Repository:
        return self

    def resolve(self) -> Path:
        if self.cached_path.exists():
            return self.cached_path
        self.cached_path.parent.mkdir(parents=True)
        if self.failures:
            self.failures -= 1
            self.cached_path.write_bytes(b"half a j")  # as jgo leaves it where a download breaks off
            raise OSError("Connection\nbroken")
        self.served.append(self.asked)
        self.cached_path.write_bytes(self.files[self.asked])
        return self.cached_path


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    files = {"one": b"the first", "two": b"the second"}
    pinned = [Jar(hashlib.sha256(content).hexdigest(), "org.example", name, "1.0") for name, content in files.items()]
    served = Repository(files)

    def maven(cache: Path) -> Any:
        served.cache = cache
        return served

    monkeypatch.setattr(jars, "pinned_jars", lambda: pinned)
    monkeypatch.setattr(jars, "_maven", maven)
    return served


def test_the_list_pins_every_jar_by_its_sum() -> None:
    pinned = pinned_jars()

    assert {"kafka_2.13-4.3.0.jar", "kafka-clients-4.3.0.jar", "log4j-slf4j-impl-2.25.4.jar"} <= {
        jar.file_name for jar in pinned
    }
    assert len({jar.file_name for jar in pinned}) == len(pinned) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned)


def test_jars_are_fetched_once_with_a_line_for_each(repository: Repository, tmp_path: Path) -> None:
    lines: list[str] = []

    first = ensure_jars(tmp_path, lines.append)
    again = ensure_jars(tmp_path, lines.append)

    assert [path.read_bytes() for path in first] == [b"the first", b"the second"]
    assert again == first
    assert repository.served == ["one", "two"]
    assert [line.partition(": ")[2] for line in lines] == ["jar 1 of 2, one-1.0.jar", "jar 2 of 2, two-1.0.jar"]
    assert sorted(path.name for path in first[0].parent.iterdir()) == [".lock", "one-1.0.jar", "two-1.0.jar"]


def test_only_what_is_missing_is_fetched(repository: Repository, tmp_path: Path) -> None:
    first, _ = ensure_jars(tmp_path)
    first.unlink()
    repository.served.clear()

    ensure_jars(tmp_path)

    assert repository.served == ["one"]


def test_a_download_that_breaks_off_is_tried_again_from_its_start(repository: Repository, tmp_path: Path) -> None:
    repository.failures = 2

    first, _ = ensure_jars(tmp_path)

    assert first.read_bytes() == b"the first"


def test_a_repository_that_does_not_answer_is_one_line(repository: Repository, tmp_path: Path) -> None:
    repository.failures = 99

    with pytest.raises(StartupError, match=r"^cannot fetch one-1.0.jar from central: Connection broken; .*Maven Cen"):
        ensure_jars(tmp_path)


def test_a_jar_that_was_changed_on_disk_is_refused_by_name_and_sums(repository: Repository, tmp_path: Path) -> None:
    first, _ = ensure_jars(tmp_path)
    first.write_bytes(b"something else")

    with pytest.raises(StartupError) as caught:
        ensure_jars(tmp_path)

    for words in (str(first), hashlib.sha256(b"the first").hexdigest(), "delete it"):
        assert words in str(caught.value)


def test_a_jar_that_was_changed_on_its_way_is_refused_and_not_kept(repository: Repository, tmp_path: Path) -> None:
    repository.files["two"] = b"not the second"

    with pytest.raises(StartupError, match=r"two-1.0.jar is not the file that was pinned.*nothing of it was kept"):
        ensure_jars(tmp_path)

    assert not list(tmp_path.rglob("two*"))
    repository.files["two"] = b"the second"
    assert len(ensure_jars(tmp_path)) == 2


def test_a_disk_that_fills_up_is_one_line(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(repository, "resolve", full, raising=False)

    with pytest.raises(StartupError, match=r"^cannot write in .*: No space left on device; free some space"):
        ensure_jars(tmp_path)


def test_a_directory_that_cannot_be_written_is_one_line(repository: Repository) -> None:
    with pytest.raises(StartupError, match=r"^cannot write in /proc/caststream/kafka-4.3.0: .*--data-dir"):
        ensure_jars(Path("/proc/caststream"))


def test_without_jgo_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jgo.config", None)

    with pytest.raises(StartupError, match=r"pip install 'caststream\[local\]'"):
        ensure_jars(tmp_path)
