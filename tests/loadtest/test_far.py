"""Generators of a Ray cluster: two nodes on this machine."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import dicore
from dicore import loadtest

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

PLAN = 'duration = "{}s"\nledger = "off"\n[[stream]]\nname = "e"\noperation = "echo"\n{}\n'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of two nodes with one CPU each, on the loopback."""
    command = shutil.which("ray", path=os.path.dirname(sys.executable)) or shutil.which("ray")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": str(Path(dicore.__file__).parents[1]), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    temporary = tmp_path_factory.mktemp("r")
    place = Path("/tmp") / f"dicore-ray-{os.getpid()}"  # a path that Unix sockets have room for
    same = ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    head = ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false", f"--temp-dir={place}"]
    logs = (temporary / "log").open("wb")
    nodes = [
        subprocess.Popen(
            [command, "start", "--block", *arguments, *same], env=environment, stdout=logs, stderr=logs,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
        for arguments in (head,)
    ]  # fmt: skip
    try:
        for _ in range(120):
            if nodes[0].poll() is not None:
                pytest.fail((temporary / "log").read_text())
            check = subprocess.run(
                [command, "health-check", "--address", address], env=environment, capture_output=True, timeout=60
            )
            if check.returncode == 0:
                break
        nodes.append(
            subprocess.Popen(
                [command, "start", "--block", f"--address={address}", *same], env=environment, stdout=logs,
                stderr=logs, stdin=subprocess.DEVNULL, start_new_session=True,
            )
        )  # fmt: skip
        from dicore.loadtest import far

        for _ in range(600):
            if far.places(address) == 2:
                break
            signal.sigtimedwait([], 0.1)
        yield address
    finally:
        ray.shutdown()
        for one in nodes:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
        logs.close()
        shutil.rmtree(place, ignore_errors=True)


def measured(address, load, seconds=6, processes=1, kill=False):
    async def main():
        pids = []

        def progress(state):
            if kill and state.second >= 2 and not pids:
                pids.extend(worker_pids())
                os.kill(pids[0], signal.SIGKILL)

        async with dicore.listen(port=0) as server:
            plan = loadtest.parse(PLAN.format(seconds, load))
            target = f"SCP@127.0.0.1:{server.port}"
            return await loadtest.run(plan, target, ray=address, processes=processes, progress=progress)

    return asyncio.run(main())


def worker_pids():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                title = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::_Generator"):
                found.append(int(entry))
    return found


@pytest.mark.timeout(180)
def test_two_nodes_share_the_arrivals_and_their_report_is_one(cluster):
    load = "arrivals = {model = 'constant', rate = 100}"
    both = measured(cluster, load)
    stream = both.streams[0]
    assert len(both.workers) == 2
    assert stream.intended == stream.operations == 600
    assert stream.errors == 0
    seconds = [stream.seconds[n].intended for n in range(6)]
    assert max(seconds) - min(seconds) <= 4  # the clocks agree
    assert sum(one["CPU seconds"] for one in both.workers) > 0


@pytest.mark.timeout(180)
def test_a_generator_that_is_killed_is_reported_and_the_other_goes_on(cluster):
    result = measured(cluster, "arrivals = {model = 'constant', rate = 100}", kill=True)
    assert 300 + 50 <= result.streams[0].operations < 590
    assert "1 generator process(es) died" in str(result.judgement)
    assert [one["lost"] for one in result.workers].count(True) == 1
