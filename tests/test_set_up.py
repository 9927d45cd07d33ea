"""How a checkout is set up: which Python, what pip is set to, which compiler, and that the wait is not silent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.commands import ROOT
from tools import compiler, set_up
from tools.pip_settings import read_list, uv_environment
from tools.tasks import FailedError, Task, run_together

FIND = ROOT / "tools" / "find-python.sh"
MAKE_VENV = ROOT / "tools" / "make-venv.sh"
DATA_DIR = ROOT / "tools" / "data-dir.sh"
SHELL = "/bin/sh"


def program(directory: Path, name: str, body: str) -> Path:
    """A program of this name that is a shell script."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(f"#!{SHELL}\n{body}\n")
    file.chmod(0o755)
    return file


def pythons(directory: Path, **says: str) -> Path:
    """A folder of programs `python3.13`, here `python3_13`, that answer the probe so; "" cannot be run, as a shim."""
    directory.mkdir(exist_ok=True)
    for name, answer in says.items():
        program(directory, name.replace("_", "."), f'echo "{answer}"' if answer else "exit 127")
    return directory


def sh(script: Path, *arguments: str, path: Path | str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    tools = os.pathsep.join(filter(None, [str(path), "/nonexistent"]))
    return subprocess.run(
        [SHELL, str(script), *arguments], capture_output=True, text=True, env={"PATH": tools, **environment}, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("says", "chosen"),
    [
        ({"python3_11": "3.11", "python3_12": "3.12", "python3_13": "3.13"}, "python3.13"),
        ({"python3_11": "3.11", "python3_13": "3.13 headers"}, "python3.11"),
        ({"python3_12": "3.12", "python3_13": ""}, "python3.12"),
        ({"python3_12": "3.12", "python3_13": "not-standard"}, "python3.12"),
        ({"python3": "3.13", "python3_11": ""}, "python3"),
        ({"python3": "3.14", "python3_11": "3.11"}, "python3.11"),
    ],
)
def test_the_newest_python_that_fits_is_taken(tmp_path: Path, says: dict[str, str], chosen: str) -> None:
    found = sh(FIND, path=pythons(tmp_path, **says))

    assert (found.returncode, found.stdout) == (0, f"{tmp_path / chosen}\n")


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({}, "caststream needs Python 3.11 to 3.13 and none was found"),
        ({"python3_13": ""}, "none was found"),
        ({"python3": "3.9"}, "/python3 is Python 3.9"),
        ({"python3": "3.13 venv headers"}, "apt install python3.13-venv python3.13-dev"),
        ({"python3_12": "3.12 headers", "python3": "3.9"}, "python3.12 lacks parts"),
    ],
)
def test_where_no_python_fits_one_line_says_what_to_do(tmp_path: Path, says: dict[str, str], words: str) -> None:
    found = sh(FIND, path=pythons(tmp_path, **says))

    assert (found.returncode, found.stdout) == (1, "")
    assert words in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_the_python_that_is_named_wins_and_no_other_takes_its_place(tmp_path: Path) -> None:
    pythons(tmp_path, python3_11="3.11", python3_13="3.13", mine="3.12", old="3.8", shim="")

    assert sh(FIND, "mine", path=tmp_path).stdout == f"{tmp_path / 'mine'}\n"
    assert "old is Python 3.8" in sh(FIND, "old", path=tmp_path).stderr
    assert "PYTHON=shim does not run" in sh(FIND, "shim", path=tmp_path).stderr


def test_a_python_behind_a_shim_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    shims = pythons(tmp_path / "shims", python3_12="", python3_11="3.11")
    system = pythons(tmp_path / "a system", python3_12="3.12")

    assert sh(FIND, path=f"{shims}:{system}").stdout == f"{system / 'python3.12'}\n"


def test_the_python_of_these_tests_fits() -> None:
    assert sh(FIND, sys.executable).stdout == f"{sys.executable}\n"


def test_all_places_name_the_same_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [versions] = re.findall(r'^VERSIONS="(.*)"$', FIND.read_text(), flags=re.MULTILINE)
    tried = sorted(versions.split(), key=lambda version: int(version[2:]))
    named = [line.split()[-1] for line in project["classifiers"] if re.search(r"Python :: 3\.\d", line)]

    assert tried == named
    assert project["requires-python"] == f">={tried[0]},<3.{int(tried[-1][2:]) + 1}"
    assert f'RANGE="{tried[0]} to {tried[-1]}"' in FIND.read_text()
    assert f"Python {tried[0]} to {tried[-1]}" in (ROOT / "README.md").read_text()


def in_checkout(directory: Path) -> Path:
    """A folder with blanks in its name that has the scripts, and a Python 3.12 in one line that copies itself."""
    checkout = directory / "a checkout"
    (checkout / "tools").mkdir(parents=True)
    for script in (FIND, MAKE_VENV):
        (checkout / "tools" / script.name).write_text(script.read_text())
    copy = 'mkdir -p "$4/bin"; rm -f "$4/bin/python"; cp "$0" "$4/bin/python"'
    program(directory, "python3.12", f'[ "$1" = -c ] && echo 3.12 || {{ {copy}; }}')
    return checkout


def make_venv(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    command = [SHELL, "tools/make-venv.sh", python]
    path = f"{checkout.parent}:{os.environ['PATH']}"
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=os.environ | {"PATH": path})


def test_the_virtual_environment_is_made_once_and_kept(tmp_path: Path) -> None:
    checkout = in_checkout(tmp_path)
    python = checkout / ".venv" / "bin" / "python"

    assert make_venv(checkout, "python3.12").returncode == 0
    made = python.stat().st_ino

    assert make_venv(checkout, "").returncode == 0
    assert make_venv(checkout, "python3.12").returncode == 0
    assert python.stat().st_ino == made


def test_a_virtual_environment_of_another_python_is_not_taken_for_the_one_named(tmp_path: Path) -> None:
    checkout = in_checkout(tmp_path)
    (checkout / ".venv").mkdir()
    program(checkout / ".venv" / "bin", "python", "echo 3.10")

    refused = make_venv(checkout, "python3.12")

    assert refused.returncode == 1
    assert "made with Python 3.10" in refused.stderr
    assert "make clean" in refused.stderr


def test_a_virtual_environment_whose_python_is_gone_is_made_again(tmp_path: Path) -> None:
    checkout = in_checkout(tmp_path)
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/nonexistent/python")

    assert make_venv(checkout, "python3.12").returncode == 0
    assert subprocess.run([python, "-c", ""], capture_output=True, text=True).stdout == "3.12\n"


def test_jars_go_into_the_checkout_only_where_the_home_directory_cannot_be_written(tmp_path: Path) -> None:
    def place(**environment: str) -> str:
        return sh(DATA_DIR, path=os.environ["PATH"], **environment).stdout

    inside = f"{ROOT / '.venv' / 'data'}\n"

    assert place(HOME=str(tmp_path)) == ""
    assert place(HOME="/proc") == inside  # nobody can make a folder there, root neither
    assert place() == inside


def test_pips_settings_are_read_in_its_order() -> None:
    lines = ["global.timeout='10'", "install.timeout='20'", ":env:.timeout='30'", "download.timeout='99'", "noise"]

    assert read_list(lines) == {"timeout": "30"}
    assert read_list(reversed(lines)) == {"timeout": "30"}


def test_uv_is_told_what_pip_is_set_to(tmp_path: Path) -> None:
    settings = {
        "index-url": "https://packages.example/simple",
        "extra-index-url": "https://a.example/simple\nhttps://b.example/simple",
        "find-links": f"{tmp_path}\nhttps://wheels.example/\n/not/there",  # which pip passes over
        "cert": "/ca.pem",
        "disable-pip-version-check": "1",
    }

    assert uv_environment(settings) == {
        "UV_DEFAULT_INDEX": "https://packages.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://wheels.example/",
        "SSL_CERT_FILE": "/ca.pem",
    }
    assert uv_environment({}) == {}


@pytest.mark.parametrize("setting", ["only-binary", "constraint", "require-hashes", "no-index", "unheard-of"])
def test_with_a_setting_that_uv_would_not_obey_pip_installs(setting: str) -> None:
    assert uv_environment({"index-url": "https://packages.example/simple", setting: "1"}) is None


def test_a_compiler_is_tried_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    program(tmp_path, "g++", "echo 'too old for from_chars' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compiler.own_compiler_works()

    monkeypatch.setenv("PATH", "/nonexistent")
    assert not compiler.own_compiler_works()

    monkeypatch.setenv("CXX", str(tmp_path / "not there"))
    assert not compiler.own_compiler_works()


def test_the_compiler_from_a_package_compiles_for_any_processor_of_this_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone it takes the processor it runs on: products and sums would be fused, and results differ by machine."""
    programs = tmp_path / "a checkout" / "bin"
    program(tmp_path / "a checkout", "bin", "")  # makes the folder
    (tmp_path / "a checkout" / "bin").unlink()
    program(programs, "python", 'echo "$@"')
    monkeypatch.setattr(sys, "prefix", str(programs.parent))
    assert "CXX" not in compiler.environment() or compiler.environment()["CXX"] != compiler.PROGRAM

    compiler.write_zig_program(programs)
    variables = compiler.environment()
    said = subprocess.run([variables["CXX"], "-c", "a.cpp"], env=variables, capture_output=True, text=True).stdout

    machine = sysconfig.get_platform().removeprefix("linux-")
    headers = Path(sysconfig.get_config_var("INCLUDEPY")).parent  # of Debian's Python some lie beside its own folder
    wanted = f"-m ziglang c++ -target {machine}-linux-gnu.2.28 -idirafter {headers} -c a.cpp"
    assert said.strip() == wanted
    assert variables["LDCXXSHARED"] == f"{variables['CXX']} -shared"


def task(directory: Path, name: str, code: str) -> Task:
    return Task(name, [sys.executable, "-c", code], directory / f"{name}.log")


def test_the_wait_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    heard = tmp_path / "heard"

    def say(line: str) -> None:
        lines.append(line)
        if "slow (at 7 of 9)" in line:
            heard.touch()

    monkeypatch.setattr("tools.tasks.SIGN_OF_LIFE_S", 0.05)
    monkeypatch.setattr("tools.tasks.say", say)
    wait = f"while not pathlib.Path({str(heard)!r}).exists(): time.sleep(0.01)"
    code = f"import pathlib, time\nprint('at 7 of 9', flush=True)\n{wait}"

    run_together([task(tmp_path, "slow", code)])

    assert lines[-1].endswith("slow: done")


def test_a_part_that_fails_shows_its_last_words_and_stops_the_others(tmp_path: Path) -> None:
    endless = task(tmp_path, "endless", "import time\nwhile True: time.sleep(1)")
    broken = task(tmp_path, "broken", "import sys\nsys.exit('no space left on the disk')")

    with pytest.raises(FailedError, match=r"no space left on the disk\nset-up: broken failed"):
        run_together([endless, broken])

    assert not endless.running


def test_set_up_removes_the_metadata_of_an_earlier_version(tmp_path: Path) -> None:
    """Otherwise Faust would look for its driver where it stood before: this folder comes first on Python's path."""
    old = tmp_path / "caststream.egg-info"
    old.mkdir()
    (old / "entry_points.txt").write_text("[faust.transports]\ncaststream = stream_app.transport:Transport\n")

    set_up.remove_old_metadata(tmp_path)
    set_up.remove_old_metadata(tmp_path)

    assert not old.exists()


def test_the_packages_whose_files_the_examples_read_are_pinned_and_come_at_set_up_without_their_own() -> None:
    """They are not imported, so that their requirements, an older numpy among them, stay out."""
    scripts = "".join(path.read_text() for path in (ROOT / "examples").glob("*/make_*.py"))
    read = {name.replace("_", "-") for name in re.findall(r'find_spec\("(\w+)"\)', scripts)}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    others = {re.split("[<>=]", name)[0] for name in set_up.requirements()}

    assert read == {re.split("[<>=]", name)[0] for name in set_up.requirements_of(set_up.EXAMPLES)}
    assert read <= pinned
    assert not read & others
    assert not re.search(r"^\s*(import|from) (aeon|silero_vad)", scripts, flags=re.MULTILINE)
