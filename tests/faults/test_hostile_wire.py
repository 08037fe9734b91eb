"""What a peer sends may be anything. Each case gets the answer of PS3.8 9.2 (table 9-10), costs bounded memory, leaves
no descriptor and no half-stored instance behind, and the next peer is served.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import wire
from conftest import Served, Serving, dicore_cli

MIB = 1 << 20
GROWTH = 64 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, driver: str) -> Iterator[Served]:
    serving = Serving(tmp_path_factory.mktemp("hostile"), driver)
    served = serving(None, "--durability", "relaxed")
    with wire.associate(served.port) as connection:  # whatever the first association sets up belongs to the base
        assert wire.echo(connection) == 0
        assert wire.store(connection, wire.instance_uid(0), wire.ct_data_set(wire.instance_uid(0))) == 0
        wire.release(connection)
    yield served
    assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()
    assert served.process.stdout is not None
    served.process.stdout.close()


@pytest.fixture(autouse=True)
def bounded_and_still_serving(server: Served) -> Iterator[None]:
    """Around every case: memory and descriptors are back, and the next peer stores an instance."""
    rss, connections = server.rss, server.connections
    yield
    server.settled(connections)
    assert server.peak_rss < rss + GROWTH, f"{(server.peak_rss - rss) / MIB:.0f} MiB more than before"
    with wire.associate(server.port) as connection:
        assert wire.echo(connection) == 0
        wire.release(connection)
    server.settled(connections)


def answers(port: int, data: bytes, contexts: Any = None, *, associated: bool = False) -> list[wire.Pdu]:
    """Everything the server says to `data` until it closes or we do, at its A-ABORT or A-ASSOCIATE-RJ."""
    connection = wire.associate(port, contexts) if associated else wire.connect(port)
    said: list[wire.Pdu] = []
    with connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what it said before can still be read
            connection.sendall(data)
        while (got := wire.receive_pdu(connection)) is not None:
            said.append(got)
            if got.kind in (wire.ABORT, wire.RJ, wire.RELEASE_RP):
                break
    return said


def assert_aborts(said: list[wire.Pdu], source: int) -> None:
    """Last, an A-ABORT; `source` 0: the service user (AA-1), 2: the service provider (AA-8), PS3.8 9.3.8."""
    assert said, "closed without an answer"
    assert said[-1].kind == wire.ABORT, said
    assert len(said[-1].body) == 4
    assert said[-1].body[2] == source, said[-1].body.hex()
    if source == 2:
        assert said[-1].body[3] in (0, 1, 2, 4, 5, 6)  # table 9-26
    else:
        assert said[-1].body[3] == 0


GOOD_RQ = wire.associate_rq(wire.store_contexts())
BEFORE = {  # in Sta2, where the table has AA-1 for everything but an A-ASSOCIATE-RQ
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS hello": bytes.fromhex("160301020001000001fc0303") + bytes(500),
    "zeros": bytes(64),
    "PDU type 08H": wire.pdu(8, b"\0\0\0\0"),
    "PDU length FFFFFFFF": b"\x01\x00\xff\xff\xff\xff" + GOOD_RQ[6:],
    "P-DATA before A-ASSOCIATE": wire.data_pdu(1, wire.echo_rq(), command=True),
    "P-DATA of length FFFFFFFF": b"\x04\x00\xff\xff\xff\xff",
    "A-RELEASE-RQ before A-ASSOCIATE": wire.pdu(wire.RELEASE_RQ, bytes(4)),
    "A-ASSOCIATE-AC from a requestor": b"\x02" + GOOD_RQ[1:],
    "A-ASSOCIATE-RQ cut to its header": wire.pdu(wire.RQ, b""),
    "A-ASSOCIATE-RQ with an item past its end": GOOD_RQ[:2] + struct.pack(">I", len(GOOD_RQ) - 6 - 10) + GOOD_RQ[6:-10],
}


@pytest.mark.parametrize("data", BEFORE.values(), ids=list(BEFORE))
def test_before_an_association_it_aborts_as_user(server: Served, data: bytes) -> None:
    assert_aborts(answers(server.port, data), source=0)


def many_pdvs(count: int) -> bytes:
    return wire.pdu(wire.DATA, wire.pdv(3, b"", command=False, last=False) * count)


STORE = wire.data_pdu(3, wire.store_rq(wire.instance_uid(1)), command=True)
HALF = wire.ct_data_set(wire.instance_uid(1))[:300]
AFTER = {  # in Sta6 an invalid PDU is AA-8
    "PDU type 08H": wire.pdu(8, b"\0\0\0\0"),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "PDU length FFFFFFFF": b"\x04\x00\xff\xff\xff\xff",
    "P-DATA longer than we can receive": b"\x04\x00" + struct.pack(">I", 64 * MIB),
    "a second A-ASSOCIATE-RQ": GOOD_RQ,
    "A-ASSOCIATE-AC": b"\x02" + GOOD_RQ[1:],
    "A-RELEASE-RP unasked": wire.pdu(wire.RELEASE_RP, bytes(4)),
    "unknown context": wire.data_pdu(99, wire.echo_rq(), command=True),
    "even context": wire.data_pdu(2, wire.echo_rq(), command=True),
    "PDV longer than its PDU": wire.pdu(wire.DATA, struct.pack(">IBB", 1000, 1, 3) + bytes(100)),
    "PDV of length 0": wire.pdu(wire.DATA, struct.pack(">I", 0)),
    "PDV of length FFFFFFFF": wire.pdu(wire.DATA, struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + bytes(100)),
    "data set before its command": wire.data_pdu(3, HALF, command=False),
    "data set on another context than its command": STORE + wire.data_pdu(1, HALF, command=False),
    "command inside a data set": STORE + wire.data_pdu(3, HALF, command=False, last=False) + STORE,
    "command set that is not one": wire.data_pdu(1, b"\xff" * 64, command=True),
    "command set of 64 MiB": wire.data_pdu(1, bytes(60_000), command=True, last=False) * 1100,
    "command element longer than its set": wire.data_pdu(
        1, struct.pack("<HHI", 0, 0x100, 0xFFFFFFF0) + b"\x30\0", command=True
    ),
}


@pytest.mark.parametrize("data", AFTER.values(), ids=list(AFTER))
def test_inside_an_association_it_aborts_as_provider(server: Served, data: bytes) -> None:
    assert_aborts(answers(server.port, data, associated=True), source=2)


def test_unknown_user_information_is_skipped(server: Served) -> None:
    """PS3.8 D.2 and 9.3.1: 10,000 items that nobody knows fit into the negotiation limit and are skipped."""
    with wire.connect(server.port) as connection:
        connection.sendall(wire.associate_rq(user_items=wire.item(0x5F, b"") * 10_000))
        answer = wire.receive_pdu(connection)
        assert answer is not None
        assert answer.kind == wire.AC
        assert wire.echo(connection) == 0
        wire.release(connection)


def test_negotiation_beyond_its_limit_is_refused(server: Served) -> None:
    item = wire.item(0x56, struct.pack(">H", 25) + wire.CT_IMAGE.encode() + b"\1" * 6)
    data = wire.associate_rq(user_items=item * 1_700)  # as long as the 16-bit length of its parent lets it
    data = data[:2] + struct.pack(">I", 50 * MIB) + data[6:] + bytes(MIB)
    assert_aborts(answers(server.port, data), source=0)


def test_128_contexts_of_40_syntaxes_are_negotiated_or_refused(server: Served) -> None:
    syntaxes = [wire.EXPLICIT, *(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 89))]
    data = wire.associate_rq([wire.context(2 * n + 1, wire.CT_IMAGE, syntaxes) for n in range(128)])
    with wire.connect(server.port) as connection:
        connection.sendall(data)
        answer = wire.receive_pdu(connection)
    assert answer is not None
    assert answer.kind in (wire.AC, wire.RJ, wire.ABORT)


def test_endless_empty_fragments_cost_no_memory(server: Served) -> None:
    """200,000 PDVs without data, legal each: the data set goes on, and ends as what it is."""
    with wire.associate(server.port) as connection:
        connection.sendall(STORE)
        for _ in range(20):
            connection.sendall(many_pdvs(10_000))
        data = wire.ct_data_set(wire.instance_uid(1))
        connection.sendall(wire.data_pdu(3, data, command=False))
        assert wire.response(wire.receive_pdu(connection)) == (0x8001, 1, 0)
        wire.release(connection)
    assert stored(server)[wire.instance_uid(1)] >= 1


def stored(server: Served) -> dict[str, int]:
    """SOP Instance UID: how often `dicore store ls` names it."""
    text = dicore_cli("store", "ls", "--level", "IMAGE", "--json", server.store).stdout
    return {uid: text.count(f'"{uid}"') for uid in {wire.instance_uid(n) for n in range(50)} if uid in text}


@pytest.mark.parametrize("how", ["FIN", "RST", "A-ABORT", "FIN inside a PDU header", "FIN inside a command set"])
def test_end_inside_a_data_set_leaves_nothing(server: Served, how: str) -> None:
    number = 20 + ["FIN", "RST", "A-ABORT", "FIN inside a PDU header", "FIN inside a command set"].index(how)
    data = wire.ct_data_set(wire.instance_uid(number))
    request = wire.data_pdu(3, wire.store_rq(wire.instance_uid(number)), command=True)
    with wire.associate(server.port) as connection:
        if how == "FIN inside a command set":
            connection.sendall(request[:40])
        else:
            connection.sendall(request + wire.data_pdu(3, data[:200], command=False, last=False))
        if how == "RST":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "A-ABORT":
            connection.sendall(wire.pdu(wire.ABORT, bytes(4)))
            assert wire.receive_pdu(connection) is None
        else:
            if how == "FIN inside a PDU header":
                connection.sendall(b"\x04\x00\x00")
            connection.shutdown(socket.SHUT_WR)
            assert wire.receive_pdu(connection) is None  # AA-4: nothing to say to a peer that is gone
    assert wire.instance_uid(number) not in stored(server)


def test_cut_at_every_byte_leaves_no_half_instance(server: Served) -> None:
    """An association with one C-STORE, cut behind every byte of what the peer sends, by FIN and by RST in turn."""
    name = wire.instance_uid(30)
    data = wire.ct_data_set(name, side=4)
    stream = GOOD_RQ + wire.store_message(name, data)
    for end in range(1, len(stream)):
        connection = wire.connect(server.port)
        connection.sendall(stream[:end])
        if end % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert name not in stored(server)
    with wire.associate(server.port) as whole:
        assert wire.store(whole, name, data) == 0
        wire.release(whole)
    assert name in stored(server)


def test_500_silent_peers_keep_nobody_out(server: Served) -> None:
    """Half of them connected only, half inside their A-ASSOCIATE-RQ."""
    silent = [wire.connect(server.port) for _ in range(500)]
    try:
        for connection in silent[::2]:
            connection.sendall(GOOD_RQ[:60])
        with wire.associate(server.port) as good:
            for number in range(20):
                name = wire.instance_uid(35)
                assert wire.store(good, name, wire.ct_data_set(name), number + 1) == 0
            wire.release(good)
    finally:
        for connection in silent:
            connection.close()


def test_what_a_peer_calls_itself_does_not_reach_the_terminal(server: Served) -> None:
    for calling in (b"EVIL\r\n\x1b[31mRED", b"\x00" * 16, b"\xff" * 16, b"'; DROP TABLE"):
        with wire.connect(server.port) as connection:
            connection.sendall(wire.associate_rq(calling=calling))
            answer = wire.receive_pdu(connection)
            assert answer is not None
            assert answer.kind in (wire.AC, wire.RJ, wire.ABORT)
            if answer.kind == wire.AC:
                wire.release(connection)
    log = server.log.read_bytes()
    assert b"\x1b" not in log
    assert b"\x00" not in log


def test_uids_that_are_paths_stay_names(server: Served) -> None:
    """pynetdicom#823: a SOP Instance UID of '../../x' must not become a path, here or in the export."""
    name = "../../../../tmp/dicore-escape"
    data = wire.ct_data_set("1.2.3").replace(
        wire.explicit(0x00080018, "UI", b"1.2.3\0"), wire.explicit(0x00080018, "UI", wire.uid(name))
    )
    with wire.associate(server.port) as connection:
        status = wire.store(connection, name, data)
        wire.release(connection)
    assert status == 0 or status & 0xF000 in (0xA000, 0xC000) or status in (0x0106, 0x0117)
    out = server.store.parent / "out"
    dicore_cli("store", "export", server.store, out)
    assert not list(server.store.parent.parent.rglob("dicore-escape*"))
    assert all(p.resolve().is_relative_to(out.resolve()) for p in out.rglob("*"))


@pytest.mark.usefixtures("bounded_and_still_serving")
@pytest.mark.parametrize("sends", [b"", GOOD_RQ[:50]], ids=["silent", "half an A-ASSOCIATE-RQ"])
def test_artim_closes_a_peer_that_does_not_ask(run: Callable[..., Any], sends: bytes) -> None:
    """PS3.8 AA-2: the timer, here 0.2 s, ends it without a word."""
    import asyncio

    import dicore
    from dicore.net import Timeouts

    async def main() -> None:
        async with dicore.listen(port=0, ae_title="DICORE", timeouts=Timeouts(artim=0.2)) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(sends)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            async with dicore.connect(f"DICORE@127.0.0.1:{listener.port}") as association:
                await association.c_echo()

    run(main())
