"""What no peer should send: the answer of PS3.8, bounded memory, and the next peer is served."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from netcommon import Memory, ct, until

import wire
from dicore.net import Timeouts, listen

from test_acceptor import RQ, made, feed  # isort: skip

MIB = 1 << 20
STORE = wire.data_pdu(3, wire.store_rq(wire.instance_uid(1)), command=True)
DATA = ct(1, 2000)[1]


def data(piece: bytes, *, context: int = 3, last: bool = False, command: bool = False) -> bytes:
    return wire.data_pdu(context, piece, command=command, last=last)


BEFORE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("160301020001000001fc0303") + bytes(500),
    "length FFFFFFFF": b"\1\0\xff\xff\xff\xff" + RQ[6:],
    "data before an association": data(wire.echo_rq(), context=1, command=True, last=True),
    "release before an association": wire.pdu(wire.RELEASE_RQ, bytes(4)),
    "an accept": wire.pdu(wire.AC, RQ[6:]),
    "cut items": wire.pdu(wire.RQ, RQ[6:-7]),
    "nothing in it": wire.pdu(wire.RQ, b""),
    "64 KiB": wire.associate_rq(
        [wire.context(2 * i + 1, wire.VERIFICATION, [wire.IMPLICIT] * 100) for i in range(128)]
    ),
}
AFTER = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "length FFFFFFFF": b"\4\0\xff\xff\xff\xff",
    "beyond the maximum": b"\4\0" + struct.pack(">I", MIB + 1),
    "a second request": RQ,
    "unknown context": data(wire.echo_rq(), context=99, command=True, last=True),
    "a data set without a command": data(DATA),
    "a command inside a data set": STORE + data(DATA[:100]) + data(wire.echo_rq(), context=1, command=True, last=True),
    "another context inside a data set": STORE + data(DATA[:100]) + data(DATA[100:], context=1),
    "a PDV longer than its PDU": wire.pdu(wire.DATA, struct.pack(">IBB", 5000, 3, 1) + bytes(10)),
    "a PDV of length 1": wire.pdu(wire.DATA, struct.pack(">IB", 1, 3)),
    "an empty P-DATA": wire.pdu(wire.DATA, b""),
    "no command set": data(b"\xff" * 100, context=1, command=True, last=True),
    "64 MiB of command set": data(bytes(900_000), context=1, command=True) * 70,
    "a response to nothing": data(wire.echo_rq().replace(b"\x30\x00", b"\x30\x80"), context=1, command=True, last=True),
}


@pytest.mark.parametrize("said", BEFORE.values(), ids=list(BEFORE))
def test_before_an_association(said: bytes) -> None:
    listener, protocol, transport = made(Memory())
    feed(protocol, said)
    kinds = [one.kind for one in transport.pdus()]
    assert kinds in ([wire.ABORT], [wire.RJ]), kinds
    assert_over(listener, protocol, transport)


@pytest.mark.parametrize("said", AFTER.values(), ids=list(AFTER))
@pytest.mark.parametrize("step", [11, 1 << 30])
def test_inside_an_association(said: bytes, step: int) -> None:
    sink = Memory()
    listener, protocol, transport = made(sink)
    feed(protocol, RQ)
    feed(protocol, said[:200], step)
    for at in range(200, len(said), 100_000):
        feed(protocol, said[at : at + 100_000])
        assert listener._hub.in_flight < MIB
    last = transport.pdus()[-1]
    assert last.kind == wire.ABORT
    assert last.body[2] in (0, 2)
    assert not sink.stored
    assert_over(listener, protocol, transport)


def assert_over(listener: Any, protocol: Any, transport: Any) -> None:
    """Whatever follows is swallowed, and nothing is held."""
    said = len(transport.sent)
    feed(protocol, wire.data_pdu(1, wire.echo_rq(), command=True) * 3)
    assert len(transport.sent) == said
    assert listener._hub.in_flight == 0
    assert protocol.why
    protocol.connection_lost(None)
    assert not listener._hub.open


def test_a_million_empty_fragments_cost_nothing() -> None:
    listener, protocol, transport = made(Memory())
    feed(protocol, RQ + STORE)
    many = wire.pdu(wire.DATA, wire.pdv(3, b"", command=False, last=False) * 10_000)
    for _ in range(100):
        feed(protocol, many)
        assert listener._hub.in_flight < MIB
    feed(protocol, data(DATA, last=True))
    assert wire.response(transport.pdus()[-1])[2] == 0


def test_unknown_user_items_are_skipped_however_many() -> None:
    """PS3.8 D.2; within the limit of the PDU."""
    _, protocol, transport = made(Memory())
    feed(protocol, wire.associate_rq(user_items=wire.item(0x77, b"") * 15_000))
    assert [one.kind for one in transport.pdus()] == [wire.AC]


def test_many_contexts_and_syntaxes_are_negotiated() -> None:
    contexts = [wire.context(2 * i + 1, f"1.2.3.{i + 1}", [f"1.2.3.4.{j + 1}" for j in range(40)]) for i in range(128)]
    listener, protocol, transport = made(Memory())
    feed(protocol, wire.associate_rq(contexts))
    (said,) = transport.pdus()
    assert said.kind in (wire.AC, wire.RJ, wire.ABORT)  # the PDU has 68 KiB, the limit is 64
    assert said.kind == (wire.AC if len(wire.associate_rq(contexts)) <= 65536 else said.kind)
    assert listener._hub.in_flight == 0


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_an_end_inside_a_data_set_stores_nothing_and_the_next_is_served(run: Any, how: str) -> None:
    def rude(port: int) -> None:
        connection = wire.associate(port)
        connection.sendall(wire.store_message(*ct(1, 300_000))[:200_000])
        if how == "reset":
            connection.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: close sends RST
        connection.close()

    def good(port: int) -> None:
        connection = wire.associate(port)
        assert wire.echo(connection) == 0
        assert wire.store(connection, *ct(2)) == 0
        wire.release(connection)

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            await asyncio.to_thread(rude, scp.port)
            await until(lambda: scp.counters["closed"] == 1)
            assert not sink.stored
            assert scp._hub.in_flight == 0
            await asyncio.to_thread(good, scp.port)
        assert sink.stored == dict([ct(2)])

    run(main())


def test_a_silent_peer_gets_artim_and_good_ones_are_served_meanwhile(run: Any) -> None:
    def silent(port: int) -> bytes:
        with wire.connect(port) as connection:
            return wire.receive_exactly(connection, 1)

    def good(port: int) -> None:
        connection = wire.associate(port)
        assert wire.store(connection, *ct(2)) == 0
        wire.release(connection)

    async def main() -> None:
        async with listen(port=0, on_c_store=Memory(), timeouts=Timeouts(artim=0.2)) as scp:
            waiting = [asyncio.ensure_future(asyncio.to_thread(silent, scp.port)) for _ in range(3)]
            await asyncio.to_thread(good, scp.port)
            assert await asyncio.gather(*waiting) == [b""] * 3
            assert scp.counters["timeout_artim"] == 3

    run(main())
