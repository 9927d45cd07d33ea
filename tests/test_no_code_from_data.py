"""Nothing that is read becomes code: no pickle, no eval, no loader that runs what a file says."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "replay", "stream_app", "examples")
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code"}
CALLS = {"eval", "exec", "__import__"}
UNSAFE = {
    "load": {
        "yaml",
        "torch",
        "np",
        "numpy",
    },  # let pass: torch.load with weights_only=True, np.load with allow_pickle=False
    "load_all": {"yaml"},
    "unsafe_load": {"yaml"},
    "full_load": {"yaml"},
    "read_pickle": {"pd", "pandas"},
    "system": {"os"},
    "popen": {"os"},
    "load_module": {"imp"},
}


def findings(source: str) -> Iterator[str]:
    """What in a module may run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {name.name}" for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    told = {word.arg: word.value for word in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield node.func.id
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        module, name = node.func.value.id, node.func.attr
        safe = (module == "torch" and _is(told.get("weights_only"), True)) or (
            module in ("np", "numpy") and _is(told.get("allow_pickle"), False)
        )
        if module in UNSAFE.get(name, ()) and not safe:
            yield f"{module}.{name}"
    if any(_is(told.get(word), True) for word in ("shell", "allow_pickle")):
        yield "shell=True or allow_pickle=True"


def _is(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_runs_what_it_reads(package: str) -> None:
    paths = list((ROOT / package).rglob("*.py"))

    assert paths
    for path in paths:
        with tokenize.open(path) as file:
            assert list(findings(file.read())) == [], path


def test_no_compiled_module_does() -> None:
    """Cython's own syntax is none of Python's: words are looked for."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.pyx")]

    assert paths
    for path in paths:
        text = path.read_text()
        assert not any(word in text for word in ("pickle", "marshal", "eval(", "exec(", "__import__(")), path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from marshal import loads",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path)",
        "np.fromfile(path, allow_pickle=True)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_what_would_run_code_is_found(source: str) -> None:
    assert len(list(findings(source))) == 1


@pytest.mark.parametrize("source", ["torch.load(path, weights_only=True)", "yaml.safe_load(text)", "model.eval()"])
def test_what_runs_none_is_let_pass(source: str) -> None:
    assert list(findings(source)) == []
