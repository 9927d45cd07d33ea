"""Where figures come from: the machine, without its name, and the versions of what ran."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from stream_app.local.jars import KAFKA_VERSION

PACKAGES = ("caststream", "torch", "numpy", "msgspec", "faust-streaming", "aiokafka", "confluent-kafka")


def machine() -> dict[str, Any]:
    """Processor, cores that we may use, memory, system; and the load before the benchmark, which should be near 0."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1m_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of Python, Kafka and the packages that take part."""
    return {
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        **{package: version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
