"""The floor: the same bytes over the same loopback into a C sink that only receives and answers (floor.c)."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.material import ROOT
from benchmarks.peers import Sent, Server, run_timed

ANSWER = 160  # bytes of a C-STORE response with its headers


@functools.cache
def program() -> Path:
    source, binary = Path(__file__).with_name("floor.c"), ROOT / "floor"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        ROOT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", binary, source], check=True)
    return binary


class Sink(Server):
    """Has to know the size of a message, since it does not look at what it receives."""

    name = "raw sink"
    keeps = False

    def __init__(self, folder: Path, *, size: int, nagle: bool = False) -> None:
        self._size = size
        super().__init__(folder, nagle=nagle)

    def command(self) -> Sequence[str]:
        return [str(program()), "sink", str(self.port), str(self._size), str(ANSWER)]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def received(self) -> Iterator[bytes]:
        return iter(())


class RawSend:
    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.name = f"raw sender, {connections} connection{'s' * (connections > 1)}"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        size = files[0].stat().st_size
        command = [str(program()), "send", str(port), str(size), str(ANSWER), str(len(files)), str(self.connections)]
        return Sent(float(run_timed(command, nagle=nagle)[1]))
