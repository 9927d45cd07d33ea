"""The Dockerfile: what it copies is there, what it runs exists, and it runs as an ordinary user."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import PurePosixPath

from stream_app.settings import PREFIX
from tests.commands import PROGRAM, ROOT, parse
from tests.containers import OURS, dockerfile, image_environment, instructions, services, settings_of


def test_the_image_is_named_by_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert {services()[service]["image"] for service in OURS} == {f"{PROGRAM}:{version}"}


def test_the_dockerfile_copies_what_there_is_and_what_the_context_holds() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    sources = [word for rest in dockerfile("COPY") for word in rest.split()[:-1]]

    assert ignored[-1] == "**/__pycache__"
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert {"core", "replay", "stream_app", "setup.py", "constraints.txt", "README.md", "LICENSE"} <= set(sources)


def test_the_image_runs_a_command_that_exists_as_an_ordinary_user() -> None:
    assert dockerfile("ENTRYPOINT") == [f'["{PROGRAM}"]']
    assert parse(ast.literal_eval(dockerfile("CMD")[0]))
    assert dockerfile("USER") == [PROGRAM]
    assert settings_of("worker").data_dir.as_posix() in dockerfile("VOLUME")


def test_the_image_has_a_python_that_the_package_accepts_and_pinned_packages() -> None:
    bases = {rest.split(" AS ")[0] for rest in dockerfile("FROM")}  # compiled for the Python that runs it
    [version] = re.findall(r"^python:(3\.\d+)\.\d+-slim", bases.pop())
    accepted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    installs = [rest for rest in dockerfile("RUN") if "pip install" in rest]

    assert not bases
    assert accepted.split(",")[0] == f">={version}"
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)


def test_the_compiler_stays_in_the_first_stage() -> None:
    names = [name for name, _ in instructions()]
    last = len(names) - names[::-1].index("FROM")
    final = [rest for name, rest in instructions()[last:] if name in {"RUN", "COPY"}]

    assert any("g++" in rest for rest in dockerfile("RUN"))
    assert final
    assert not any("g++" in rest or "pip wheel" in rest for rest in final)


def test_the_image_runs_onnx_models_and_has_no_pytorch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    [installed] = [rest for rest in dockerfile("RUN") if "/wheels/*.whl" in rest]
    [named] = re.findall(rf'"{PROGRAM}\[\$(\w+)\] @ file://\$\(echo /wheels/\*\.whl\)"', installed)
    [chosen] = [rest.partition("=")[2] for rest in dockerfile("ARG") if rest.startswith(f"{named}=")]
    packages = [*project["dependencies"], *extras[chosen]]

    assert any(each.startswith("onnxruntime") for each in packages)
    assert not any(each.startswith("torch") for each in packages)
    assert not any("http" in rest for _, rest in instructions())


def test_paths_in_the_image_are_absolute_or_made_by_it() -> None:
    made = " ".join(dockerfile("RUN"))

    for place in dockerfile("WORKDIR"):
        assert PurePosixPath(place).is_absolute()
    assert f"-o {PROGRAM}" in made
    assert image_environment()[f"{PREFIX}DATA_DIR"] in made
