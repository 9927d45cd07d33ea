"""The sdist and the wheel hold all that an installation needs: the wheel is used in an empty environment.

`make wheel` compiles; here the compiled parts of this checkout are taken, as they come from the same sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stream_app.local.jars import KAFKA_VERSION, pinned_jars
from stream_app.settings import PREFIX
from tests.broker import JARS_DIR
from tests.commands import ROOT
from tests.no_torch import hide_torch

pytestmark = pytest.mark.slow
pytest.importorskip("Cython", reason="set up before Cython was part of it: make setup")

PACKAGES = ("core", "replay", "stream_app")
PATIENCE_S = 180.0


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command, outside of the checkout and without its settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PYTHON"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sdist")
    setup = (sys.executable, ROOT / "setup.py", "--quiet", "egg_info", "--egg-base", place)
    run(*setup, "sdist", "--dist-dir", place, cwd=ROOT)
    [file] = place.glob("*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist alone, but for what a compiler makes."""
    place = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    [source] = place.iterdir()
    setup = (sys.executable, "setup.py", "--quiet")
    run(
        *setup, "build_py", "--build-lib", place / "lib", cwd=source
    )  # Cython writes its C++ first, as that is older then
    for compiled in compiled_parts():
        target = place / "lib" / compiled.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(compiled, target)
    run(
        *setup,
        "build",
        "--build-lib",
        place / "lib",
        "bdist_wheel",
        "--dist-dir",
        place,
        cwd=source,
        CXX="false",
        CC="false",
    )
    [file] = place.glob("*.whl")
    return file


def compiled_parts() -> list[Path]:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return [file for package in PACKAGES for file in (ROOT / package).glob(f"native/*{suffix}")]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and from this one the packages that it needs: not PyTorch."""
    venv = tmp_path_factory.mktemp("an environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=venv.parent)
    here = sysconfig.get_path("purelib")
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(f"{here}\n")  # its own .pth files, one of this checkout, do not count there
    hide_torch(packages)  # it is no dependency
    return venv / "bin"


def sources(pattern: str) -> set[str]:
    return {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).glob(f"**/{pattern}")}


def test_the_sdist_has_all_sources_and_nothing_compiled(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    patterns = ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.hpp", "*.safetensors", "*.toml")
    wanted = set().union(*(sources(pattern) for pattern in patterns))

    assert wanted <= held
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "stream_app/local/kafka-jars.txt"} <= held
    assert not [name for name in held if name.endswith((".so", ".cpp"))]


def test_the_wheel_has_programs_models_types_and_compiled_parts_but_no_sources(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = set().union(
        *(sources(pattern) for pattern in ("*.py", "*.pyi", "*.safetensors", "*.toml", "*.txt", "py.typed"))
    )

    assert wanted <= held
    assert {str(file.relative_to(ROOT)) for file in compiled_parts()} <= held
    assert not [name for name in held if name.endswith((".pyx", ".pxd", ".hpp", ".cpp"))]
    assert {name.partition("/")[0] for name in held if ".dist-info" not in name} == set(PACKAGES)


def test_the_installed_wheel_does_what_the_checkout_does(installed: Path, tmp_path: Path) -> None:
    caststream, nothing = installed / "caststream", {"PATH": str(installed)}
    where = run(
        installed / "python", "-c", "import core, stream_app; print(core.__file__, stream_app.__file__)", cwd=tmp_path
    )
    assert str(ROOT) not in where.stdout

    assert "predict" in run(caststream, "--help", cwd=tmp_path, **nothing).stdout
    run(caststream, "generate", "castings", "casts.h5", "--casts", "2", cwd=tmp_path, **nothing)
    run(caststream, "predict", "casts.h5", "--output", "scores.jsonl", cwd=tmp_path, **nothing)
    run(caststream, "generate", "signals", "signals.h5", "--samples", "2", "--steps", "50", cwd=tmp_path, **nothing)
    run(caststream, "predict", "signals.h5", "--output", "predictions.jsonl", cwd=tmp_path, **nothing)

    assert (tmp_path / "scores.jsonl").read_text().count("\n") >= 2
    assert (tmp_path / "predictions.jsonl").read_text().count("\n") == 100


def jars_are_there() -> bool:
    return all((JARS_DIR / f"kafka-{KAFKA_VERSION}" / jar.file_name).exists() for jar in pinned_jars())


@pytest.mark.kafka
@pytest.mark.skipif(not jars_are_there(), reason="Kafka's jars are not here: make setup")
def test_the_demo_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    places: dict[str, Any] = {f"{PREFIX}DATA_DIR": str(JARS_DIR)}

    done = run(installed / "caststream", "demo", "--seconds", "10", cwd=tmp_path, **places)

    assert "everything arrived and equals the offline run" in done.stderr
