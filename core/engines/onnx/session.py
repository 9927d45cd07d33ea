"""An ONNX model, opened: one thread, on the CPU, from bytes that were looked at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from core.engines.onnx.contents import Contents, check_contents, read_contents
from core.errors import RunError, StartupError


class Port(NamedTuple):
    """One input or output of a graph: a number in its shape is fixed, a name or None is not."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str  # as ONNX Runtime writes it: tensor(float)

    def __str__(self) -> str:
        return f"'{self.name}' {self.type.removeprefix('tensor')[1:-1]}[{', '.join(map(_size, self.shape))}]"


class Graph:
    """A model that can be run.

    Args:
        file: its name, for messages.
        model: its bytes.

    Raises:
        StartupError: it is no ONNX model, is refused (``check_contents``), or ONNX Runtime is missing or cannot run it.
    """

    def __init__(self, file: str, model: bytes) -> None:
        self.file = file
        self.contents: Contents = read_contents(file, model)
        check_contents(file, self.contents)
        self._session = _open(file, model)
        self.inputs = [_port(each) for each in self._session.get_inputs()]
        self.outputs = [_port(each) for each in self._session.get_outputs()]

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        """Run it once; arrays in, arrays out.

        Raises:
            RunError: the runtime cannot.
        """
        try:
            found: list[Any] = self._session.run(outputs, feed)
        except Exception as error:  # its types are many, and none of them is public
            raise RunError(f"{self.file}: ONNX Runtime cannot run it: {first_line(error)}") from error
        return found


def read_model(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        StartupError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror or error}") from error


def first_line(error: BaseException) -> str:
    """An error's text in one line of bearable length."""
    return " ".join(str(error).split())[:300]


def _open(file: str, model: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise StartupError(
            f"{file}: an ONNX model needs ONNX Runtime: pip install 'caststream[onnx]' ({first_line(error)})"
        ) from error
    options = onnxruntime.SessionOptions()
    # Processes are the unit of scale, and one thread adds in one order.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what it cannot do is raised
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never what the bytes seem to be
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise StartupError(
            f"{file}: ONNX Runtime {onnxruntime.__version__} cannot load it: {first_line(error)}"
        ) from error


def _port(found: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else size or None for size in found.shape)
    return Port(found.name, shape, found.type)


def _size(size: int | str | None) -> str:
    return "?" if size is None else str(size)
