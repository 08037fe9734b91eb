"""The floor: the same bytes over the same loopback into a C sink that only receives and answers (floor.c).

`Sink` is fed by `RawSend`, from its own memory. `ScriptedSink` is fed by `dicore.send`: it answers with what a real
receiver answered to the same sender once, so what is measured is the sender, the loopback and one recv() per message.
"""

from __future__ import annotations

import functools
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.material import ROOT, ct
from benchmarks.peers import Sent, Server, dicore, free_port, run_timed

ANSWER = 160  # bytes of a C-STORE response with its headers
RESPONDED_TO = b"\x00\x00\x20\x01\x02\x00\x00\x00"  # (0000,0120), two bytes


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

    def __init__(self, folder: Path, *, side: int, nagle: bool = False) -> None:
        self._size = ct("lean", side, 8)[0].stat().st_size
        super().__init__(folder, nagle=nagle)

    def command(self) -> Sequence[str]:
        return [str(program()), "sink", str(self.port), str(self._size), str(ANSWER)]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def received(self) -> Iterator[bytes]:
        return iter(())


@functools.cache
def recorded(side: int, window: int) -> tuple[int, int, bytes, bytes]:
    """Bytes of the A-ASSOCIATE-RQ and of a message of `dicore.send`, and what the engine answered to both."""
    heard: list[tuple[str, bytes]] = []

    def copy(name: str, source: socket.socket, to: socket.socket) -> None:
        while data := source.recv(1 << 16):
            heard.append((name, data))
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)

    with tempfile.TemporaryDirectory(dir=ROOT) as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        server = dicore.DicoreDiscard(Path(folder) / "d")
        try:
            files, port = ct("lean", side, 8), listener.getsockname()[1]
            sending = threading.Thread(target=dicore.DicoreSend(1, window, echo=False), args=(files, port))
            sending.start()
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", server.port)) as onward:
                back = threading.Thread(target=copy, args=("there", onward, client))
                back.start()
                copy("here", client, onward)
                back.join()
            sending.join()
        finally:
            server.stop()
    here = b"".join(data for name, data in heard if name == "here")
    there = b"".join(data for name, data in heard if name == "there")
    request = 6 + int.from_bytes(here[2:6], "big")
    accept = 6 + int.from_bytes(there[2:6], "big")
    message, rest = divmod(len(here) - request - 10, len(files))  # 10: A-RELEASE-RQ
    answer, other = divmod(len(there) - accept - 10, len(files))
    if rest or other:
        raise RuntimeError("the messages of dicore.send differ in size: there is no script for them")
    return request, message, there[:accept], there[accept : accept + answer]


class ScriptedSink(Sink):
    name = "raw sink that says what dicore.send wants to hear"
    window = 1

    def __init__(self, folder: Path, *, side: int, nagle: bool = False) -> None:
        request, self._size, accept, answer = recorded(side, self.window)
        script = folder.with_suffix(".script")
        script.write_text(f"{accept.hex()}\n{answer.hex()}\n{answer.index(RESPONDED_TO) + len(RESPONDED_TO)}\n")
        self._script = [str(request), str(script)]
        Server.__init__(self, folder, nagle=nagle)

    def command(self) -> Sequence[str]:
        return [*super().command(), *self._script]


class ScriptedSinkWindow4(ScriptedSink):
    window = 4


class RawSend:
    def __init__(self, connections: int, window: int = 1) -> None:
        self.connections, self.window = connections, window
        self.name = f"raw sender, {connections} connection{'s' * (connections > 1)}"
        if window > 1:
            self.name += f", {window} under way"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        size = files[0].stat().st_size
        numbers = (port, size, ANSWER, len(files), self.connections, self.window)
        return Sent(float(run_timed([str(program()), "send", *map(str, numbers)], nagle=nagle)[1]))
