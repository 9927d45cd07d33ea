"""An output of any task as a line to read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from core.tasks.declaration import Declaration
from core.wire.codecs import Codec
from core.wire.records import NOT_FINITE, Prediction, Score

ANY: Codec[dict[str, Any]] = Codec(dict)
"""Reads an output of any task."""
_NEEDED = {"stream", "step", "timestamp_ms"}
_SHOWN_NUMBERS = 8
_SHOWN_BYTES = 200
_WHOLE_BYTES = 10_000


def prediction_line(output: Prediction) -> str:
    """Return the line of a prediction of the task that ships."""
    gap = f"  gap {output.gap}" if output.gap else ""
    if output.prediction is None:
        return f"{_head(output)}  no prediction: {NOT_FINITE}{gap}"
    return f"{_head(output)}  prediction {output.prediction:+.4f}{gap}"


def score_line(output: Score) -> str:
    """Return the line of a score of the task that ships."""
    window = f"window [{output.start}, {output.step + 1})"
    final = "  final" if output.final else ""
    if output.probability is None:
        return f"{_head(output)}  {window}  no probability: {output.reason}{final}"
    peak = f"attention peak {output.attention_peak}"
    return f"{_head(output)}  {window}  probability {output.probability:.3f}  {peak}{final}"


def line_writer(task: Declaration) -> Callable[[dict[str, Any]], str]:
    """Return what writes the line of an output of a declared task. Records of another form are shown as JSON."""
    units = {output.name: f" {output.unit}" if output.unit else "" for output in task.published}

    def line(output: dict[str, Any]) -> str:
        if not output.keys() >= _NEEDED:
            return safe_text(msgspec.json.encode(output), _WHOLE_BYTES)
        parts = [time_text(output["timestamp_ms"]), _word(output["stream"]), _word(output.get("sequence") or "-")]
        parts.append(f"step {_word(output['step'])}")
        if task.window is not None:
            parts.append(f"window [{_word(output.get('start'))}, {_word(_after(output['step']))})")
        parts += _values(output, units)
        parts += ["final"] if output.get("final") is True else []
        parts += [f"gap {_word(output['gap'])}"] if output.get("gap") else []
        return "  ".join(parts)

    return line


def _values(output: dict[str, Any], units: dict[str, str]) -> list[str]:
    if (reason := output.get("reason")) is not None:
        return [f"no {', '.join(units)}: {_word(reason)}"]
    return [f"{name} {_value(output.get(name), unit)}" for name, unit in units.items()]


def _value(held: Any, unit: str = "") -> str:
    if held is None:
        return "none"
    if isinstance(held, dict):
        return _few([f"{_word(name)} {_value(each)}" for name, each in held.items()], " ") + unit
    if isinstance(held, list):
        return f"[{_few([_value(each) for each in held], ', ')}]{unit}"
    return (_number(held) if isinstance(held, float) else _word(held)) + unit


def _few(texts: list[str], between: str) -> str:
    more = f"{between}... ({len(texts)} numbers)" if len(texts) > _SHOWN_NUMBERS else ""
    return between.join(texts[:_SHOWN_NUMBERS]) + more


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"


def _after(step: Any) -> Any:
    return step + 1 if isinstance(step, int) else None


def _word(held: Any) -> str:
    if held is None:
        return "?"
    return safe_text((held if isinstance(held, str) else msgspec.json.encode(held).decode()).encode())


def _head(output: Prediction | Score) -> str:
    sequence = safe_text(output.sequence.encode()) or "-"
    return f"{time_text(output.timestamp_ms)}  {safe_text(output.stream.encode())}  {sequence}  step {output.step}"


def safe_text(data: bytes | None, most_bytes: int = _SHOWN_BYTES) -> str:
    """Show ``data`` on one line, shortened, with control characters and bytes that are no UTF-8 as escapes."""
    if data is None:
        return "none"
    shown = data[:most_bytes].decode("utf-8", "backslashreplace")
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)
    return safe + ("..." if len(data) > most_bytes else "")


def time_text(timestamp_ms: Any) -> str:
    """Return a time of a record to read: anything may stand there."""
    try:
        moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp_ms % 1000:03d}"
    except (OverflowError, ValueError, OSError, TypeError):
        return _word(timestamp_ms)
