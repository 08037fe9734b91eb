"""Disks that fail a write once (T4), that cannot be read or are cut under a live map (T10), that are slow; writers that
stand still; clocks that jump (T19)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import disks
import pytest
from test_durable import SMALL, Senders, instances, kept, shares

import dicore
import wire
from conftest import Served, Serving, absent
from dicore.errors import StoreError
from faults import HERE, Shim, count, need, private, result, shim

__all__ = ["private", "shim"]
SERVER = [*SMALL, "--segment-size", str(4 << 20)]
STUDY = "1.2.826.0.1.3680043.10.1338.7.1"


@pytest.fixture
def bad_disk(private: None, tmp_path: Path) -> Iterator[disks.NbdDisk]:
    need("nbdkit", "nbdfuse", "mkfs.ext4")
    with disks.NbdDisk(tmp_path / "nbd") as disk:
        yield disk


# ---- T4
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("means", ["direct", "datasync"])
def test_t4_a_write_that_fails_once_is_refused_and_never_believed_later(
    serve: Serving, bad_disk: disks.NbdDisk, means: str
) -> None:
    """EIO from the disk while eight associations store; then it is healed. After the caches are gone, nothing that was
    acknowledged differs."""
    rounds, refusals, acknowledged = count(1, 2, 12), 0, 0
    for turn in range(rounds):
        store = bad_disk.place / "store"
        server = serve(store, command=SERVER, env={"DICORE_COMMIT": means} if means == "datasync" else {})
        before, after = instances(2000 * turn, 240), instances(2000 * turn + 1000, 80)
        senders = Senders(server.port, shares(before))
        while len(senders.statuses) < 30 + turn * 17 % 100 and not senders.errors:
            pass
        bad_disk.fail("pwrite")
        while set(senders.statuses.values()) <= {0} and not senders.errors and len(senders.statuses) < len(before):
            pass
        bad_disk.heal()
        senders.wait()
        assert not senders.errors, senders.errors
        refused = {name for name, status in senders.statuses.items() if status != 0}
        assert {senders.statuses[name] for name in refused} <= {0xA700}
        deadline = time.monotonic() + 30  # new segments are tried once a second
        while True:
            again = Senders(server.port, shares(after | {name: before[name] for name in refused}))
            again.wait()
            if again.acknowledged == after.keys() | refused:
                break
            assert time.monotonic() < deadline, "it does not recover by itself"
        server.kill()
        with bad_disk.platter() as place:
            held = kept(place / "store")
        assert held == before | after
        refusals += len(refused)
        acknowledged += len(held)
        shutil.rmtree(store)
    assert refusals
    result(f"T4 {means}", rounds, f"{refusals} answered A700, {acknowledged} acknowledged, all the same on the platter")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["datasync", "sync", "folder_sync", "allocate", "write"])
def test_t4_the_first_sync_of_a_segment_and_of_its_folder(
    serve: Serving, shim: Shim, tmp_path: Path, what: str
) -> None:
    """The n-th call of each kind fails, from the making of the segment on; whoever is told A700 sends it again."""
    shim_env = shim.env | {"UV_USE_IO_URING": "0"}
    failed = 0
    for nth in range(1, count(2, 3, 12) + 1):
        shim.set(**{what: 0, "failed": 0})
        server = serve(tmp_path / "under" / str(nth), command=SMALL, env=shim_env)
        sent = instances(1000 * nth, 120)
        shim.set(**{what: -nth})
        senders = Senders(server.port, shares(sent))
        senders.wait()
        assert not senders.errors, senders.errors
        assert set(senders.statuses.values()) <= {0, 0xA700}
        refused = sent.keys() - senders.acknowledged
        again = Senders(server.port, [{name: sent[name] for name in refused}])
        again.wait()
        assert again.acknowledged == refused
        server.kill()
        assert kept(server.store) == sent
        failed += shim.get("failed")
    assert failed
    result(f"T4 {what}", nth, f"{failed} failed, nothing acknowledged is lost")


# ---- T10
def retrieve(server: Served) -> tuple[int, bool]:
    """C-GET of everything: how many came, and whether the peer said that all did."""

    async def get() -> tuple[int, bool]:
        came = 0
        try:
            async with dicore.connect(server.address, calling="T10", receive=True) as association:
                answers = association.c_get(level="STUDY", StudyInstanceUID=STUDY)
                async for _ in answers:
                    came += 1
        except dicore.NetworkError:
            return came, False
        return came, answers.status == 0

    return asyncio.run(asyncio.wait_for(get(), 100))


def still_serves(server: Served) -> None:
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    with wire.associate(server.port) as connection:
        name = wire.instance_uid(900_000 + time.monotonic_ns() % 50_000)
        assert wire.store(connection, name, wire.ct_data_set(name, side=32)) == 0
        wire.release(connection)


@pytest.mark.timeout(600)
def test_t10_a_segment_is_cut_while_it_is_served(serve: Serving, tmp_path: Path) -> None:
    for turn in range(count(1, 3, 25)):
        server = serve(tmp_path / f"s{turn}", command=SMALL)
        sent = instances(1000 * turn, 200)
        senders = Senders(server.port, shares(sent))
        senders.wait()
        assert senders.acknowledged == sent.keys()
        assert retrieve(server) == (200, True)
        victim = sorted((server.store / "segments").glob("*.seg"))[0]
        os.truncate(victim, 4096 + 8192 * turn * 7 % 500_000)
        came, all_well = retrieve(server)
        assert came < 200
        assert not all_well
        with wire.associate(server.port) as connection:  # the same bytes again: the stored ones cannot be read
            for name, data in list(sent.items())[:8]:
                assert wire.store(connection, name, data) in (0, 0xA700)
            wire.release(connection)
        still_serves(server)
    result("T10 truncated", turn + 1, "the server lives, C-GET fails")


@pytest.mark.timeout(600)
def test_t10_the_disk_does_not_give_what_is_served(serve: Serving, bad_disk: disks.NbdDisk) -> None:
    failures = 0
    for turn in range(count(1, 2, 25)):
        store = bad_disk.place / f"s{turn % 3}"
        shutil.rmtree(store, ignore_errors=True)
        first = serve(store, command=SMALL)
        sent = instances(1000 * turn, 120)
        Senders(first.port, shares(sent)).wait()
        assert retrieve(first) == (120, True)
        assert first.stop() == 0
        bad_disk.unmount()
        bad_disk.mount()
        server = serve(store, command=SMALL)
        bad_disk.fail("pread")
        _, all_well = retrieve(server)
        failures += not all_well
        assert server.process.poll() is None, server.log.read_text()[-2000:]
        bad_disk.heal()
        os.sync()
        for file in (store / "segments").glob("*.seg"):  # what could not be read is asked for again
            with open(file, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert retrieve(server)[0] == 120
        still_serves(server)
        assert server.stop() == 0
    assert failures
    result("T10 EIO", turn + 1, f"{failures} C-GET failed, the server lives, and gives all when the disk is healed")


# ---- T19
@pytest.mark.timeout(600)
def test_t19_a_slow_disk_holds_the_senders_back(private: None, serve: Serving, tmp_path: Path) -> None:
    need("nbdkit", "nbdfuse", "mkfs.ext4")
    with disks.NbdDisk(tmp_path / "nbd", delay="50ms") as disk:
        server = serve(disk.place / "store", command=SERVER)
        sent = instances(0, count(80, 160, 800))
        base = server.rss
        senders = Senders(server.port, shares(sent))
        senders.wait(300)
        assert senders.acknowledged == sent.keys()
        grown = server.peak_rss - base
        assert grown < 128 << 20, f"{grown >> 20} MiB"
        server.kill()
        with disk.platter() as place:
            assert kept(place / "store") == sent
    result("T19 slow disk", 1, f"50 ms a write: {len(sent)} stored, memory +{grown >> 20} MiB")


def test_t19_a_writer_that_stands_still(tmp_path: Path) -> None:
    """SIGSTOP of a process that writes: another one stores, reads and verifies meanwhile; then it goes on."""
    command = [sys.executable, str(HERE / "busy_store.py"), str(tmp_path / "s"), "1", "300"]
    locked = 0
    for turn in range(count(1, 1, 10)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout
        for _ in range(20 + turn * 5):
            process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        name = wire.instance_uid(turn)
        try:
            with dicore.Store(tmp_path / "s", segment_size=1 << 20) as other:
                assert other.append(wire.CT_IMAGE, name, wire.EXPLICIT, [wire.ct_data_set(name)])
                assert other.verify().ok
                assert name in {row["SOPInstanceUID"] for row in other.find("IMAGE")}
        except StoreError as error:  # it stands still within a transaction of the index: said after 30 s
            assert "locked" in str(error)  # noqa: PT017 it may be the refusal or nothing
            locked += 1
        process.send_signal(signal.SIGCONT)
        process.stdout.read()
        process.stdout.close()
        assert process.wait() in (0, 1) if locked else process.wait() == 0
        with dicore.Store(tmp_path / "s", segment_size=1 << 20) as store:
            assert store.verify().ok
            assert name in store or locked
        shutil.rmtree(tmp_path / "s")
    result("T19 SIGSTOP", turn + 1, f"another process goes on; the index was locked {locked} times")


def faketime_library() -> str:
    for place in ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"):
        if os.path.exists(f"{place}/libfaketimeMT.so.1"):
            return f"{place}/libfaketimeMT.so.1"
    absent("libfaketime is not installed: apt-get install faketime")
    return ""


def test_t19_the_clock_jumps(serve: Serving, tmp_path: Path) -> None:
    """A day ahead, a day back: no timer fires, nobody waits, and what came later is later."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    env = {
        "LD_PRELOAD": faketime_library(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    server = serve(None, command=SMALL, env=env)
    order: list[str] = []
    with wire.associate(server.port) as connection, contextlib.ExitStack():
        for turn, offset in enumerate(["+0", "+1d", "-1d", "+0", "-1d", "+1d"] * count(1, 1, 10)):
            clock.write_text(offset + "\n")
            for n in range(4):
                name = wire.instance_uid(turn * 10 + n)
                assert wire.store(connection, name, wire.ct_data_set(name), n + 1) == 0
                order.append(name)
            threading.Event().wait(0.1)
            assert wire.echo(connection) == 0  # the idle limit of the association did not strike
        wire.release(connection)
    assert server.stop() == 0
    with dicore.Store(server.store) as store:
        assert store.verify().ok
        assert list(store) == order
        received = [store._maps.record(*store._native.find(name)[0])[2] for name in order]
    assert received == sorted(received), "what came later is older"
    result("T19 clock", turn + 1, "jumps of a day: nothing timed out, the order of the records is that of arrival")
