"""dicore itself: `dicore serve` as anyone starts it, `dicore send` as a command and `dicore.send()` in a warm process.

`python -m benchmarks.peers.dicore PORT ASSOCIATIONS WINDOW echo` is the warm sender: it imports, echoes (with '' for `echo`
to a listener of its own, where the peer takes nothing else than the data), prints a line, then reads one line of JSON (the paths), sends, and prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.material import data_set
from benchmarks.peers import Sent, Server, peak_memory, run_timed


def command_path() -> str:
    return os.path.join(os.path.dirname(sys.executable), "dicore")


class DicoreServe(Server):
    name = "dicore serve"
    durability = "durable"

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "dicore", "serve", str(self.folder / "store"), "--port", str(self.port)),
            *("--ae-title", self.ae_title, "--durability", self.durability),
        ]

    def received(self) -> Iterator[bytes]:
        from dicore import Store

        with Store(self.folder / "store", read_only=True) as store:
            for uid in store:
                yield bytes(data_set(store.record(uid)))


class DicoreServeRelaxed(DicoreServe):
    name = "dicore serve, relaxed"
    durability = "relaxed"


class DicoreServeDurable(DicoreServe):
    name = "dicore serve, durable"


class DicoreServeTwoThreads(DicoreServeRelaxed):
    name = "dicore serve, relaxed, 2 engine threads"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--engine-threads", "2"]


class DicoreServeAsyncio(DicoreServeRelaxed):
    name = "dicore serve, relaxed, on the event loop"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--driver", "asyncio"]


class DicoreServeBusy(DicoreServeRelaxed):
    """With a thread of pure Python that never rests in the same process. Its CPU time counts as the server's."""

    name = "dicore serve, relaxed, a busy Python thread in it"
    settles = False

    def command(self) -> Sequence[str]:
        busy = "import threading\nthreading.Thread(target=lambda: exec('while True: pass'), daemon=True).start()\n"
        program = f"{busy}import sys\nfrom dicore.cli import main\nsys.argv[0] = 'dicore'\nsys.exit(main())"
        return [sys.executable, "-c", program, *super().command()[3:]]


class DicoreServeBesideBusy(DicoreServeRelaxed):
    """The same thread in a process of its own: what it takes from the server by taking a core, and not by the GIL."""

    name = "dicore serve, relaxed, a busy Python process beside it"

    def __init__(self, folder: Path, *, nagle: bool = False) -> None:
        super().__init__(folder, nagle=nagle)
        self._busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def stop(self) -> None:
        self._busy.kill()
        self._busy.wait()
        super().stop()


class DicoreDiscard(DicoreServe):
    """The engine without a store: each data set is checked, summed up and dropped."""

    name = "dicore engine, data sets dropped"
    keeps = False

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.discard", str(self.port)]


class DicoreSend:
    """`dicore.send()` in a warm process; the wall time of the call."""

    def __init__(self, associations: int, window: int = 1, *, echo: bool = True) -> None:
        self.associations, self.window, self.echo = associations, window, echo
        self.name = f"dicore.send, {associations} association{'s' * (associations > 1)}"
        if window > 1:
            self.name += f", window {window}"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        command = [sys.executable, "-m", "benchmarks.peers.dicore", str(port), str(self.associations)]
        command += [str(self.window), "echo" if self.echo else ""]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the sender did not start")
            line = json.dumps([str(f) for f in files]) + "\n"
            process.stdin.write(line)
            process.stdin.flush()
            result = json.loads(process.stdout.readline())
        if result["sent"] != len(files):
            raise RuntimeError(f"dicore.send: {result}")
        return Sent(result["seconds"], result["peak"])


class DicoreSendCommand:
    """`dicore send` as a command, Python's start and imports included."""

    def __init__(self, associations: int) -> None:
        self.associations = associations
        self.name = f"dicore send (command), {associations} association{'s' * (associations > 1)}"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        where = ["--to", f"{Server.ae_title}@127.0.0.1:{port}", "--associations", str(self.associations)]
        return Sent(run_timed([command_path(), "send", str(files[0].parent), *where], nagle=nagle)[0])


async def _warm_sender(port: int, associations: int, window: int, echo: bool) -> None:
    import dicore

    to = f"{Server.ae_title}@127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack:
        warm = to
        if not echo:
            listener = await stack.enter_async_context(dicore.listen(port=0))
            warm = f"DICORE@127.0.0.1:{listener.port}"
        async with dicore.connect(warm) as association:
            await association.c_echo()
    print("ready", flush=True)
    paths = json.loads(sys.stdin.readline())
    start = time.perf_counter()
    report = await dicore.send(paths, to=to, associations=associations, window=window)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "sent": report.sent, "failed": report.failed, "peak": peak_memory()}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    try:
        from uvloop import run  # as the commands do
    except ImportError:
        from asyncio import run
    run(_warm_sender(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), bool(sys.argv[4])))
