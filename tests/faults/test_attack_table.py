"""Every row of the attack table against both drivers: the answer of PS3.8 or the timer, bounded memory, no descriptor
left, nothing half stored, and a good peer that is served all the while."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import attacks
import pytest

import wire
from conftest import Served, Serving, dicore_cli

MIB = 1 << 20
GROWTH = 64 * MIB
ALL = os.environ.get("DICORE_FAULTS") == "torture"
DATASET = (1024 if ALL else 192) * MIB
TABLE = {one.name: one for one in attacks.table(endless_bytes=DATASET + 32 * MIB)}
ARTIM, NETWORK = 1.0, 1.5


class GoodPeer:
    """One that associates, echoes and stores over and over, beside what else happens. `served` counts its rounds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.served = 0
        self.longest = 0.0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._served = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        data = wire.ct_data_set(wire.instance_uid(90))
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                with wire.associate(self.port) as connection:
                    assert wire.echo(connection) == 0
                    assert wire.store(connection, wire.instance_uid(90), data) == 0
                    wire.release(connection)
                with self._served:
                    self.longest = max(self.longest, time.monotonic() - began)
                    self.served += 1
                    self._served.notify_all()
                self._stop.wait(0.02)
        except BaseException as error:
            with self._served:
                self.error = error
                self._served.notify_all()

    def wait(self, rounds: int) -> None:
        """Until it was served `rounds` times more."""
        with self._served:
            wanted = self.served + rounds
            assert self._served.wait_for(lambda: self.error is not None or self.served >= wanted, 60)
        self.check()

    def check(self) -> None:
        if self.error is not None:
            raise AssertionError(f"the good peer was not served: {self.error!r}") from self.error

    def __enter__(self) -> GoodPeer:
        self._thread.start()
        self.wait(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)
        if kind is None:
            self.check()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, driver: str) -> Iterator[Served]:
    serving = Serving(tmp_path_factory.mktemp("attacks"), driver)
    timers = ("--timeout", f"artim={ARTIM}", "--timeout", f"network={NETWORK}")
    served = serving(None, "--durability", "relaxed", *timers, "--limit", f"dataset={DATASET}", "--metrics-port", "0")
    with wire.associate(served.port) as connection:  # whatever the first association sets up belongs to the base
        assert wire.store(connection, wire.instance_uid(0), wire.ct_data_set(wire.instance_uid(0))) == 0
        wire.release(connection)
    attacks.deep_find(served.port, 10)
    yield served
    assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()
    assert served.process.stdout is not None
    served.process.stdout.close()


@pytest.mark.parametrize("name", TABLE)
def test_every_attack_gets_its_answer_and_costs_nobody_anything(server: Served, name: str) -> None:
    attack = TABLE[name]
    server.settled(connections := server.connections)
    server.forget_peak()
    rss = server.rss
    before = server.counters()
    with GoodPeer(server.port) as good:
        said = attack.run(server.port, 20)
        good.wait(1)
    last = said.answer if attack.timer != "artim" or attack.right[0] != "closed" else said.end
    assert last.startswith(attack.right), f"{said.answer}, {said.end} {said.note}"
    for pdu in said.pdus:
        if pdu.kind == wire.ABORT:  # PS3.8 9.3.8: the reason counts if the source is the provider (table 9-26)
            assert len(pdu.body) == 4
            assert pdu.body[2] in (0, 2)
            assert pdu.body[3] in ((0, 1, 2, 4, 5, 6) if pdu.body[2] == 2 else (0,))
    if attack.timer:
        assert said.end in ("closed", "reset"), f"{said.end} after {said.seconds:.1f} s: {said.note}"
        after = server.counters()
        timer = f"timeout_{attack.timer}"
        assert after[timer] > before[timer] or after["limit_unread"] > before["limit_unread"]
    server.settled(connections)
    assert server.peak_rss < rss + GROWTH, f"{(server.peak_rss - rss) / MIB:.0f} MiB more than before"
    assert server.counters()["in_flight"] == 0


def test_what_was_cut_off_was_not_stored(server: Served) -> None:
    """After all of these: only what was answered with a success is there, and the store is whole."""
    text = dicore_cli("store", "ls", "--level", "IMAGE", "--json", server.store).stdout
    for number in (61, 63, 64, 65, 66, 67, 68):
        assert wire.instance_uid(number) not in text
    dicore_cli("store", "verify", server.store)


def test_nothing_of_a_peer_reached_the_log_unescaped(server: Served) -> None:
    attacks.ae_titles(server.port, 10)
    log = server.log.read_bytes()
    assert not set(log) & (set(range(32)) - {10} | {127})


@pytest.fixture
def full_disk(tmp_path: Any) -> Iterator[Any]:
    import subprocess

    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk_is_a700_and_what_was_acknowledged_stays(serve: Serving, full_disk: Any, driver: str) -> None:
    import sys
    from pathlib import Path

    small = [sys.executable, str(Path(__file__).with_name("serve_small.py"))]
    served = serve(full_disk / "store", "--segment-size", str(8 << 20), command=small)
    taken: dict[str, bytes] = {}
    refused = 0
    connection = wire.associate(served.port)
    for number in range(400):
        name = wire.instance_uid(100 + number)
        data = wire.ct_data_set(name, side=512, fill=f"{number:08}".encode())
        status = wire.store(connection, name, data)
        if status == 0:
            taken[name] = data
        else:
            assert status == 0xA700, f"{status:04X}"
            refused += 1
            if refused == 5:
                break
    assert refused == 5
    assert taken
    assert wire.echo(connection) == 0  # it goes on
    wire.release(connection)
    assert served.stop() == 0
    import dicore

    with dicore.Store(full_disk / "store", read_only=True) as store:
        assert {name: bytes(store.record(name))[-len(data) :] for name, data in taken.items()} == taken


# ---- T13: cut at every byte; T15: mutated
def test_t15_a_conversation_with_any_byte_changed(server: Served) -> None:
    """Random bytes of a good conversation are replaced, dropped or doubled: whatever comes is an answer or a close."""
    import random

    order = random.Random(15)
    name = wire.instance_uid(91)
    good = (
        attacks.GOOD_RQ + wire.store_message(name, wire.ct_data_set(name, side=4)) + wire.pdu(wire.RELEASE_RQ, bytes(4))
    )
    connections = server.connections
    rss = server.rss
    with GoodPeer(server.port) as peer:
        for _ in range(5000 if ALL else 300):
            data = bytearray(good)
            for _ in range(order.choice((1, 1, 2, 8))):
                at = order.randrange(len(data))
                match order.randrange(4):
                    case 0:
                        data[at] = order.randrange(256)
                    case 1:
                        data[at : at + order.randrange(1, 5)] = b""
                    case 2:
                        data[at:at] = data[at : at + order.randrange(1, 40)]
                    case _:
                        data[at : at + 4] = order.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            with wire.connect(server.port) as connection:
                attacks.send(connection, [bytes(data)])
                with contextlib.suppress(OSError):
                    connection.shutdown(1)
                said = attacks.listen_to(connection, 20)
                assert said.end != "open"
        peer.check()
    server.settled(connections)
    assert server.rss < rss + GROWTH
