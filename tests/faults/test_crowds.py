"""Many bad peers at once: those who say nothing or a byte a second, beside good senders (T16); thousands of
associations of every end, one after the other (T18).

`DICORE_FAULTS=torture` takes the counts of column B: 2,000 + 2,000 for a minute, 10,000 associations."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable

import attacks
import pytest

import wire
from conftest import Serving

ALL = os.environ.get("DICORE_FAULTS") == "torture"
MIB = 1 << 20
CROWD = 2000 if ALL else 300  # silent, and as many who drip
ROUNDS = 600 if ALL else 40  # of a sender, ten in a second
ASSOCIATIONS = 10_000 if ALL else 2_000


class Senders:
    """Eight good peers, each storing an instance every 100 ms, late or not."""

    def __init__(self, port: int) -> None:
        self.done = 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(port, n), daemon=True) for n in range(8)]

    def _send(self, port: int, number: int) -> None:
        name = wire.instance_uid(700 + number)
        data = wire.ct_data_set(name, side=128)
        begin = time.monotonic()
        try:
            with wire.associate(port) as connection:
                for turn in range(ROUNDS):
                    time.sleep(max(0.0, begin + turn / 10 - time.monotonic()))
                    assert wire.store(connection, name, data, turn % 65535 + 1) == 0
                    if time.monotonic() < begin + ROUNDS / 10 + 1:
                        with self._lock:
                            self.done += 1
                wire.release(connection)
        except BaseException as error:
            self.errors.append(error)

    def run(self) -> float:
        """The share of the stores that were done in time."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(ROUNDS / 10 + 60)
            assert not thread.is_alive()
        assert not self.errors, self.errors[0]
        return self.done / (8 * ROUNDS)


def test_t16_slow_loris_beside_good_senders(serve: Serving) -> None:
    """Half of the crowd has sent half an A-ASSOCIATE-RQ, the others send one byte of it a second. ARTIM frees all."""
    artim = 20.0 if ALL else 2.5
    served = serve(None, "--durability", "relaxed", "--timeout", f"artim={artim}", "--metrics-port", "0")
    alone = Senders(served.port).run()
    served.settled(base := served.connections, within=30)
    rss, before = served.rss, served.counters()["timeout_artim"]
    crowd = [wire.connect(served.port) for _ in range(2 * CROWD)]
    stop = threading.Event()
    try:
        for connection in crowd[:CROWD]:
            connection.sendall(attacks.GOOD_RQ[:60])

        def drip() -> None:
            at = 0
            while not stop.wait(1):
                for connection in crowd[CROWD:]:
                    attacks.send(connection, [attacks.GOOD_RQ[at : at + 1]])
                at += 1

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        beside = Senders(served.port).run()
        waiting = set(crowd)
        poller = select.poll()
        of = {connection.fileno(): connection for connection in crowd}
        for number in of:
            poller.register(number, select.POLLIN)
        deadline = time.monotonic() + artim + 30
        while waiting:  # everybody's connection is closed, without a word
            assert time.monotonic() < deadline, f"{len(waiting)} of {len(crowd)} were not freed"
            for number, _ in poller.poll(1000):
                connection = of[number]
                poller.unregister(number)
                waiting.discard(connection)
                with contextlib.suppress(ConnectionError):
                    assert connection.recv(100) == b""
        stop.set()
        dripping.join()
    finally:
        stop.set()
        for connection in crowd:
            connection.close()
    assert served.counters()["timeout_artim"] - before == 2 * CROWD
    assert beside >= 0.9 * alone, f"{beside:.0%} of the stores in time, {alone:.0%} alone"
    served.settled(base, within=30)
    assert served.peak_rss < rss + 64 * MIB
    assert served.stop() == 0


def ended_well(connection: socket.socket) -> None:
    connection.sendall(attacks.GOOD_RQ)
    assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
    assert wire.echo(connection) == 0
    wire.release(connection)


def rejected(connection: socket.socket) -> None:
    wrong = attacks.GOOD_RQ.replace(wire.APPLICATION_CONTEXT.encode(), b"1.2.840.10008.3.1.1.9")
    connection.sendall(wrong)
    answer = wire.receive_pdu(connection)
    assert answer is not None
    assert (answer.kind, bytes(answer.body[1:4])) == (wire.RJ, bytes((1, 1, 2)))


def aborted(connection: socket.socket) -> None:
    connection.sendall(attacks.GOOD_RQ)
    assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
    connection.sendall(attacks.store_command(71) + wire.data_pdu(3, bytes(10_000), command=False, last=False))
    connection.sendall(wire.pdu(wire.ABORT, bytes(4)))
    assert wire.receive_pdu(connection) is None


def timed_out(connection: socket.socket) -> None:
    assert wire.receive_pdu(connection) is None  # ARTIM


ENDS: list[Callable[[socket.socket], None]] = [ended_well, rejected, aborted, timed_out]


def test_t18_thousands_of_associations_of_every_end_leave_nothing(serve: Serving) -> None:
    """The class of DCMTK's CVE-2026-50254: something stays of each association. Here nothing does."""
    served = serve(None, "--durability", "relaxed", "--timeout", "artim=0.3", "--metrics-port", "0")

    def some(count: int) -> None:
        while count > 0:
            batch = [(wire.connect(served.port), ENDS[n % 4]) for n in range(min(count, 200))]
            for connection, end in sorted(batch, key=lambda one: ENDS.index(one[1])):
                with connection:
                    end(connection)
            count -= len(batch)

    some(800)
    served.settled(base := served.connections, within=30)
    before = served.counters()
    rss, threads = served.rss, served.threads
    some(ASSOCIATIONS)
    served.settled(base, within=30)
    after = served.counters()
    for name in ("released", "rejected", "aborted_by_peer", "timeout_artim"):
        assert after[name] - before[name] == ASSOCIATIONS // 4, name
    assert (after["associations_open"], after["in_flight"]) == (0, 0)
    assert served.threads <= threads
    grown = served.rss - rss
    assert grown < 512 * 1024 + ASSOCIATIONS, (
        f"{grown} bytes for {ASSOCIATIONS} associations"
    )  # pages of an allocator, and 1 KiB per 1,000
    assert served.stop() == 0


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_t18_handed_over_associations_leave_nothing_either(serve: Serving, how: str) -> None:
    """Associations that propose a query go from the engine to the event loop, and are counted there and back."""
    served = serve(None, "--durability", "relaxed", "--metrics-port", "0", "--limit", "associations=20")
    find = wire.associate_rq(
        [wire.context(1, attacks.FIND, [wire.IMPLICIT]), wire.context(3, wire.VERIFICATION, [wire.IMPLICIT])]
    )
    for _ in range(10):
        connections = [wire.connect(served.port) for _ in range(20)]
        for connection in connections:
            connection.sendall(find)
        for connection in connections:
            assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
        with wire.connect(served.port) as refused:  # the 21st, whatever it proposes
            refused.sendall(attacks.GOOD_RQ)
            answer = wire.receive_pdu(refused)
            assert answer is not None
            assert (answer.kind, bytes(answer.body[1:4])) == (wire.RJ, bytes((2, 3, 2)))
        for connection in connections:
            if how == "RST":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, attacks.RESET)
            connection.close()
        deadline = time.monotonic() + 20
        while served.counters()["associations_open"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with wire.associate(served.port) as good:
        assert wire.echo(good) == 0
        wire.release(good)
    assert served.counters()["limit_associations"] == 10
    assert served.stop() == 0
