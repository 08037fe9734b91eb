"""The programs that dicore is measured beside, each driven by its own module, and the little they share."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Server:
    """A storage SCP in a process of its own. Subclasses say how it is started and what it holds afterwards."""

    name = "?"
    ae_title = "DICORE"
    keeps = True  # received() has what was sent
    settles = True  # it comes to rest after starting
    threads_end = False  # ... or children do: then their time is only known in clock ticks
    again = False  # its folder is there, from an earlier run

    def __init__(self, folder: Path, *, nagle: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=self.again)
        self.folder, self.port = folder, free_port()
        env = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | ({} if nagle else {"TCP_NODELAY": "1"})
        self._log = open(folder.parent / f"{folder.name}.log", "wb")  # noqa: SIM115 closed in stop()
        self.process = subprocess.Popen(
            self.command(), env=env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self._await_port()
        if self.settles:
            self._settle()
        self._cpu_before = self._cpu()

    def command(self) -> Sequence[str]:
        raise AssertionError("a peer says how it is started")

    def received(self) -> Iterator[bytes]:
        """The data sets that were kept. Called after stop()."""
        raise AssertionError("a peer says what it holds")

    def _await_port(self) -> None:
        for _ in range(400):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start: {Path(self._log.name).read_text()[-500:]}")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.025)
        raise RuntimeError(f"{self.name} does not listen")

    def _cpu(self) -> float:
        if not self.threads_end:
            tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
            return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _settle(self) -> None:
        """Wait until what it does on starting (fill a segment, build tables) is over."""
        last, quiet = self._cpu(), 0
        while quiet < 4:
            time.sleep(0.1)
            now = self._cpu()
            last, quiet = now, quiet + 1 if now - last <= 1 / TICK else 0

    def usage(self) -> tuple[float, int]:
        """CPU seconds since it was ready, and peak resident bytes."""
        return self._cpu() - self._cpu_before, peak_memory(self.process.pid)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._log.close()


@dataclass(frozen=True)
class Sent:
    seconds: float  # wall time of the sending command or call
    peak: int = 0  # resident bytes of the sender, where it can tell


class Sender(Protocol):
    name: str

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent: ...


def run_timed(command: Sequence[str], *, nagle: bool) -> tuple[float, str]:
    """Wall seconds and output of a command that must succeed."""
    env = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | ({} if nagle else {"TCP_NODELAY": "1"})
    start = time.perf_counter()
    result = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    seconds = time.perf_counter() - start
    output = result.stdout.decode(errors="replace")
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {result.returncode}: {output[-500:]}")
    return seconds, output


def peak_memory(pid: int | str = "self") -> int:
    """Peak resident bytes of a process's present memory map (getrusage would count its parent's, before exec)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
