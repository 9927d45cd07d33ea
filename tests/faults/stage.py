"""What a schedule plays on: a broker that each client reaches by a proxy of its own, and a small disk where wanted.

A Kafka client connects to the address that the broker advertises, so every proxy has a listener of the broker behind it
that advertises the proxy's port. The suite's own clients use the plain listener, which nothing happens to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from stream_app.local.broker import LocalBroker, free_port
from tests.broker import JARS_DIR
from tests.faults.proxy import HOST, Proxy
from tests.pump import write_scored_pump

LOAD = "LOAD"
MOST_WORKERS = 3
WORKERS = tuple(f"W{index}" for index in range(MOST_WORKERS))
SMALL_DISK_BYTES = 400 * 2**20  # the broker wants 200 MiB to be free at its start

BROKER_PROPERTIES = {
    "log.cleaner.backoff.ms": "300",  # the cleaner looks for work this often: compaction falls into recoveries
    "log.initial.task.delay.ms": "1000",
    "group.min.session.timeout.ms": "500",
}


class Stage:
    """A running broker and its proxies, by name: the load's, and one for each worker.

    Args:
        directory: for the broker's data; a small disk is mounted in it when ``small_disk`` is set.
        small_disk: the broker's data lie on a disk that `fill_disk` can fill. Needs root.
    """

    def __init__(self, directory: Path, small_disk: bool = False) -> None:
        self.directory = directory
        self.small_disk = small_disk
        self._disk = directory / "disk"
        ports = {name: free_port() for name in (LOAD, *WORKERS)}
        self.proxies = {name: Proxy(port) for name, port in ports.items()}
        self.broker = self._broker(ports)

    def _broker(self, ports: dict[str, int]) -> LocalBroker:
        plain, controller = free_port(), free_port()
        listeners = {"PLAINTEXT": plain, **ports}
        advertised = {"PLAINTEXT": plain, **{name: proxy.port for name, proxy in self.proxies.items()}}
        names = [*listeners, "CONTROLLER"]
        return LocalBroker(
            self._disk if self.small_disk else self.directory,
            port=plain,
            jars_dir=JARS_DIR,
            properties={
                "listeners": _addresses({**listeners, "CONTROLLER": controller}),
                "advertised.listeners": _addresses(advertised),
                "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
                "controller.quorum.voters": f"1@{HOST}:{controller}",
                **BROKER_PROPERTIES,
            },
        )

    def __enter__(self) -> Stage:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.small_disk:
            self._disk.mkdir()
            options = f"size={SMALL_DISK_BYTES}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "caststream-faults", str(self._disk)], check=True)
        self.data_dir.mkdir()
        self._pump.mkdir()
        write_scored_pump(self._pump)
        try:
            self.broker.start()
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self.proxies.values():
            proxy.close()
        self.broker.stop()
        self._unmount()

    def _unmount(self) -> None:
        if self.small_disk:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=True)

    @property
    def data_dir(self) -> Path:
        """For the workers' data: on the same disk as the broker's."""
        return (self._disk if self.small_disk else self.directory) / "workers"

    @property
    def tasks(self) -> str:
        """The tasks of every schedule: those that ship, and one of a user's own with an ONNX model."""
        return f"signal,casting,{self._pump / 'pump.toml'}"

    @property
    def _pump(self) -> Path:
        return self.directory / "pump"

    def heal(self) -> None:
        """End whatever the network, the disk and the broker suffer from."""
        for proxy in self.proxies.values():
            proxy.heal()
        self.free_disk()
        self.resume_broker()
        self.broker.start()

    def pause_broker(self) -> None:
        """The broker's process stands still."""
        self._signal_broker(signal.SIGSTOP)

    def resume_broker(self) -> None:
        """And goes on."""
        self._signal_broker(signal.SIGCONT)

    def _signal_broker(self, number: signal.Signals) -> None:
        if self.broker.running and self.broker.pid is not None:
            os.kill(self.broker.pid, number)

    def fill_disk(self) -> None:
        """Leave no byte on the small disk."""
        # Written, not allocated: an allocation that fails, because the broker writes too, gives all of it back.
        with (self._disk / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(2**20))

    def free_disk(self) -> None:
        """Give the space back."""
        if self.small_disk:
            (self._disk / "filler").unlink(missing_ok=True)


def can_mount() -> bool:
    """Whether this process may mount a small disk."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


def _addresses(ports: dict[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
