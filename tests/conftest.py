"""What every test may ask for: the corpus, real peers, event loops of every kind, a `dicore serve` process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"
T = TypeVar("T")


def absent(what: str) -> None:
    """Something that a test needs is not on this machine: a skip for a developer, a failure in CI."""
    if IN_CI:
        pytest.fail(f"{what}: required in CI")
    pytest.skip(what, allow_module_level=True)


# ---- corpora and peers
_OPTIONAL_MODULES = {"torch", "av"}  # hundreds of megabytes each, for one test: skipped in CI too


def peer_module(name: str) -> Any:
    """The Python package that a test compares with (extra `test`)."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if name.partition(".")[0] in _OPTIONAL_MODULES:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
        absent(f"{name} cannot be imported ({error}): pip install '.[test]'")


def corpus_folder() -> Path:
    return Path(os.environ.get("DICORE_CORPUS", ROOT.parent / "shared" / "corpus"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder with `dev/` and `malformed/`: DICORE_CORPUS, else shared/corpus beside the repository."""
    folder = corpus_folder()
    if not folder.is_dir():
        absent(f"no corpus at {folder} (set DICORE_CORPUS)")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> str:
    """The version of DCMTK, whose tools (dcmsend, storescp, storescu, echoscu) are on the PATH."""
    missing = [tool for tool in ("dcmsend", "storescp", "storescu", "echoscu") if not shutil.which(tool)]
    if missing:
        absent(f"DCMTK is not installed ({', '.join(missing)}): apt-get install dcmtk")
    return subprocess.run(["dcmsend", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


@pytest.fixture(scope="session")
def strace() -> str:
    path = shutil.which("strace")
    if path is None:
        absent("strace is not installed: apt-get install strace")
    assert path is not None
    works = subprocess.run([path, "-f", "-o", os.devnull, "true"], capture_output=True)
    if works.returncode:
        absent("strace may not trace here (ptrace is forbidden)")
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def port() -> int:
    """A port that nobody listens on. To be told a port, prefer port 0 where the program offers it."""
    return free_port()


class _Checkpoint(threading.Event):
    """An event that knows whether somebody is blocked by it."""

    blocked = 0

    def wait(self, timeout: float | None = None) -> bool:
        with self._cond:  # type: ignore[attr-defined]
            self.blocked += 1
            try:
                return bool(self._cond.wait_for(self.is_set, timeout))  # type: ignore[attr-defined]
            finally:
                self.blocked -= 1


@pytest.fixture(scope="session", autouse=True)
def pynetdicom_waits_for_its_reactor() -> None:
    """pynetdicom 3.0.4 as requestor: `send_*` pauses the reactor, but takes it for paused also when it has just gone on
    (between `_reactor_checkpoint.wait()` and `_is_paused = False`). A peer that answers at once is then read by the
    reactor ("Received unexpected C-STORE service message") and `send_*` waits for its timeout: once in a few hundred
    messages here. So `_is_paused` says here whether the reactor is blocked, and nothing else changes."""
    try:
        from pynetdicom.association import Association
    except ImportError:
        return
    begin = Association.__init__

    def with_checkpoint(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._reactor_checkpoint = _Checkpoint()
        self._reactor_checkpoint.set()

    def paused(self: Any) -> bool:
        checkpoint = self._reactor_checkpoint
        if self._kill:  # it has ended: nothing waits for anything
            return bool(self.__dict__.get("_paused", False))
        if threading.current_thread() is self:  # a handler that sends: the reactor is in it
            return True
        return isinstance(checkpoint, _Checkpoint) and checkpoint.blocked > 0 and not checkpoint.is_set()

    Association.__init__ = with_checkpoint
    Association._is_paused = property(paused, lambda self, value: self.__dict__.__setitem__("_paused", value))


# ---- event loops
def run_on(kind: str, coroutine: Coroutine[Any, Any, T], timeout: float = 60) -> T:
    """Run `coroutine` on a fresh loop ('asyncio', 'debug', 'uvloop'); whatever the loop could only log is a failure."""
    factory = None
    if kind == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    problems: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "transport creation for incoming" in context["message"] and isinstance(context.get("exception"), OSError):
            return  # a TLS handshake of a peer that failed: said by the loop in debug mode only
        problems.append(f"{context['message']}: {context.get('exception')!r}")

    async def within_time() -> T:
        asyncio.get_running_loop().set_exception_handler(note)
        async with asyncio.timeout(timeout):  # no task of its own: a test may count them
            result = await coroutine
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            await asyncio.wait(left, timeout=1)  # what was cancelled needs a turn to end
            problems.extend(f"still running: {task!r}" for task in left if not task.done())
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with asyncio.Runner(debug=kind == "debug", loop_factory=factory) as runner:
            result = runner.run(within_time())
            gc.collect()  # exceptions that nobody fetched are reported when their task or future goes
            runner.run(asyncio.sleep(0))
    if problems:
        pytest.fail("the event loop was left with:\n" + "\n".join(problems))
    return result


@pytest.fixture(params=["asyncio", "debug", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """run(coroutine, timeout=60) -> its result, on asyncio's loop, the same in debug mode, and uvloop."""
    kind = request.param
    if kind == "uvloop":
        try:
            import uvloop  # noqa: F401 only whether it is there
        except ImportError:
            absent("uvloop is not installed")
    return lambda coroutine, timeout=60: run_on(kind, coroutine, timeout)


# ---- the two drivers of a server
@pytest.fixture(scope="session")
def driver() -> str:
    """How `dicore serve` serves. tests/server and tests/faults run with each driver: one conformance suite."""
    return "auto"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" in metafunc.fixturenames and Path(metafunc.module.__file__ or "").parent.name in ("server", "faults"):
        metafunc.parametrize("driver", ["engine", "asyncio"], scope="session")


# ---- dicore as a process
def counts_of(metrics: str) -> dict[str, int]:
    """The counters and gauges in the text of /metrics, both drivers together, by the names of `Listener.counters`."""
    found: dict[str, int] = {}
    for line in metrics.splitlines():
        if line and not line.startswith(("#", "dicore_phase_")):
            name, value = line.split()
            name = name.partition("{")[0].removeprefix("dicore_").removesuffix("_total")
            found[name] = found.get(name, 0) + int(float(value))
    return found


def dicore_command() -> list[str]:
    """`dicore` of the very package that the tests import, whatever script stands on the PATH."""
    return [sys.executable, "-m", "dicore"]


@dataclass
class Served:
    """A `dicore serve` that listens. `process` is what was started: the wrapper, where there is one."""

    process: subprocess.Popen[str]
    store: Path
    port: int
    log: Path
    wrapped: bool = False
    ae_title: str = "DICORE"
    metrics_port: int = 0

    @property
    def pid(self) -> int:
        """The server itself, below its wrapper (strace)."""
        if not self.wrapped:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

    @property
    def rss(self) -> int:
        return self._status("VmRSS") * 1024

    @property
    def peak_rss(self) -> int:
        return self._status("VmHWM") * 1024

    def forget_peak(self) -> None:
        """`peak_rss` begins anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def counters(self) -> dict[str, int]:
        """What its /metrics say, by the names of `Listener.counters` (started with --metrics-port 0)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            return counts_of(answer.read().decode())

    def settled(self, connections: int, within: float = 20) -> None:
        """It has closed what it had open for peers that are gone: no more than `connections` stand."""
        deadline = time.monotonic() + within
        while self.connections > connections:
            assert time.monotonic() < deadline, f"{self.connections} connections are open, {connections} before"
            time.sleep(0.01)

    @property
    def threads(self) -> int:
        return self._status("Threads")

    @property
    def connections(self) -> int:
        """Its open sockets. (Other descriptors come when a segment or the index is first used.)"""
        found = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(link).startswith("socket:")
        return found

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL, to all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@dataclass
class Serving:
    """serve(store, *options, env=..., wrapper=[...]) -> Served; what still runs at the end of the test is killed."""

    folder: Path
    driver: str = "auto"
    started: list[Served] = field(default_factory=list)

    def __call__(
        self,
        store: Path | None = None,
        *options: str,
        env: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> Served:
        """`command`: another program that takes STORE_DIR and options, and says its port in a line of JSON."""
        path = store if store is not None else self.folder / "store"
        log = self.folder / f"serve-{len(self.started)}.log"
        program = command or [*dicore_command(), "serve"]
        command = [*wrapper, *program, str(path), "--port", "0", "--json", "--driver", self.driver, *options]
        with open(log, "wb") as opened:
            process = subprocess.Popen(
                command,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=opened,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()  # says where it listens, once it does
        if not line:
            process.wait(60)
            pytest.fail(f"dicore serve ended with {process.returncode}: {log.read_text()[-2000:]}")
        said = json.loads(line)
        served = Served(process, path, said["port"], log, bool(wrapper), metrics_port=said.get("metrics_port", 0))
        self.started.append(served)
        return served


@pytest.fixture
def serve(tmp_path: Path, driver: str) -> Iterator[Serving]:
    serving = Serving(tmp_path, driver)
    try:
        yield serving
    finally:
        for served in serving.started:
            served.kill()
            assert served.process.stdout is not None
            served.process.stdout.close()
            shutil.rmtree(served.store / "segments", ignore_errors=True)  # a GiB each, and many tests


def dicore_cli(
    *arguments: str | Path, check: bool = True, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `dicore ARGUMENTS` to its end."""
    result = subprocess.run(
        [*dicore_command(), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | (env or {}),
    )
    if check and result.returncode:
        pytest.fail(f"dicore {' '.join(map(str, arguments))}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result


# ---- one line for what a newcomer sees
def pytest_report_header() -> str:
    folder = corpus_folder()
    tools = [tool for tool in ("dcmsend", "strace", "cmake") if shutil.which(tool)]
    return f"corpus: {folder if folder.is_dir() else 'none'}; found: {', '.join(tools) or 'no peers'}; CI: {IN_CI}"


@pytest.fixture
def files(instances: list[Any], tmp_path: Path) -> Path:
    """A module's `instances`, synthetic ones, as a folder of files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number, instance in enumerate(instances):
        (folder / f"{number}.dcm").write_bytes(instance.data)
    return folder
