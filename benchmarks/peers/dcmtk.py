"""DCMTK: `storescp --bit-preserving` (one process, writes a file per instance, syncs nothing) and `dcmsend`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.material import data_set
from benchmarks.peers import TICK, Sent, Server, run_timed


class StoreSCP(Server):
    name = "storescp --bit-preserving"

    def command(self) -> Sequence[str]:
        return ["storescp", "-aet", self.ae_title, "--bit-preserving", "-od", str(self.folder), str(self.port)]

    def received(self) -> Iterator[bytes]:
        for path in self.folder.iterdir():
            yield bytes(data_set(path.read_bytes()))


class StoreSCPFork(StoreSCP):
    """A process per association; its CPU is known once they have ended."""

    name = "storescp --fork"
    threads_end = True

    def command(self) -> Sequence[str]:
        return [*super().command()[:-1], "--fork", str(self.port)]

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / TICK


class DcmSend:
    name = "dcmsend"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        command = ["dcmsend", "-aec", Server.ae_title, "--decompress-never", "127.0.0.1", str(port), *map(str, files)]
        return Sent(run_timed(command, nagle=nagle)[0])
