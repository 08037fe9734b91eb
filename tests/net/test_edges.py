"""Edges of the standard that no other test walks along (docs/reference/edges.md lists all), and that list itself."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from netcommon import CT, Memory, Wire, ct, feed, part10

import dicore
import wire
from dicore._native.association import Association
from dicore.net import Commitments, Limits, NormalizedRequest, RetrieveRequest
from dicore.net.transport import _Protocol

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reference" / "edges.md").read_text()
NAMED = re.findall(r"`([\w/]+\.(?:py|c))::(\w+)`", TABLE)
GET = "1.2.840.10008.5.1.4.1.2.2.3"


def acceptor(**options: Any) -> tuple[Any, Wire]:
    listener = dicore.listen(port=0, on_c_store=Memory(), **options)
    protocol, said = _Protocol(listener._hub), Wire()
    protocol.connection_made(said)  # type: ignore[arg-type]
    return protocol, said


def user_items(pdu: wire.Pdu) -> dict[int, bytes]:
    """Of an RQ or AC: sub-item type to its value."""
    at, found = 68, {}
    while at < len(pdu.body):
        kind, size = pdu.body[at], struct.unpack_from(">H", pdu.body, at + 2)[0]
        value = pdu.body[at + 4 : at + 4 + size]
        at += 4 + size
        while kind == 0x50 and value:
            length = struct.unpack_from(">H", value, 2)[0]
            found[value[0]] = value[4 : 4 + length]
            value = value[4 + length :]
    return found


# ---- the list


def test_every_edge_of_the_list_has_a_test() -> None:
    rows = dict(re.findall(r"^\| (\d+) \|(.*)\|$", TABLE, re.M))
    assert [int(number) for number in rows] == list(range(1, 14))
    assert all("::" in row for row in rows.values())


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    assert re.search(rf"^(?:async )?def {name}\(|^static void {name}\(|^class {name}\b|^{name} = ", source, re.M)


# ---- 3, 4: what is not tested, what is not bounded


def test_reserved_bytes_are_not_tested() -> None:
    protocol, said = acceptor()
    rq = bytearray(wire.associate_rq(wire.store_contexts()))
    rq[1] = 0xFF  # of the PDU
    rq[8:10] = b"\xff\xff"
    rq[42:74] = b"\xee" * 32
    feed(protocol, bytes(rq))
    echo = bytearray(wire.data_pdu(1, wire.echo_rq(), command=True))
    echo[1] = 0x7F
    feed(protocol, bytes(echo) + bytes([wire.RELEASE_RQ, 9]) + struct.pack(">I", 4) + b"abcd")
    assert [pdu.kind for pdu in said.pdus()] == [wire.AC, wire.DATA, wire.RELEASE_RP]


def test_the_maximum_length_does_not_bound_an_association_request() -> None:
    protocol, said = acceptor(limits=Limits(pdu=4096))
    contexts = [wire.context(2 * number + 1, CT, [wire.EXPLICIT, wire.IMPLICIT]) for number in range(128)]
    rq = wire.associate_rq(contexts)
    assert len(rq) > 4096
    feed(protocol, rq)
    (answer,) = said.pdus()
    assert answer.kind == wire.AC
    assert user_items(answer)[0x51] == struct.pack(">I", 4096)


# ---- 6: reasons


@pytest.mark.parametrize(("source", "reason", "counts"), [(0, 6, 0), (2, 6, 6), (1, 5, 0)])
def test_an_abort_reason_counts_only_from_the_provider(source: int, reason: int, counts: int) -> None:
    protocol, _ = acceptor()
    feed(protocol, wire.associate_rq(wire.store_contexts()))
    feed(protocol, wire.pdu(wire.ABORT, bytes([0, 0, source, reason])))
    assert protocol.why == f"aborted by the peer (source {source}, reason {counts})"


# ---- 8: the operations window


def test_a_window_is_asked_for_only_when_it_is_wanted() -> None:
    async def main() -> None:
        seen: list[dict[int, bytes]] = []

        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readexactly(6)
            seen.append(user_items(wire.Pdu(1, await reader.readexactly(struct.unpack(">BxI", head)[1]))))
            writer.close()

        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        for window in (1, 5):
            with pytest.raises(dicore.errors.NetworkError):
                await dicore.connect(f"A@127.0.0.1:{server.sockets[0].getsockname()[1]}", window=window)
        server.close()
        assert 0x53 not in seen[0]
        assert seen[1][0x53] == b"\0\5\0\5"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("offered", "answered"), [(None, None), ((9, 1), (4, 1)), ((2, 3), (2, 3)), ((0, 0), (4, 4)), ((1, 0), (1, 4))]
)
def test_a_window_is_lowered_and_never_answered_unasked(offered: Any, answered: Any) -> None:
    protocol, said = acceptor(window=4)
    items = b"" if offered is None else wire.item(0x53, struct.pack(">HH", *offered))
    feed(protocol, wire.associate_rq(wire.store_contexts(), user_items=items))
    got = user_items(said.pdus()[0]).get(0x53)
    assert got == (None if answered is None else struct.pack(">HH", *answered))


# ---- 9: roles


def test_without_a_role_a_get_sends_no_instance(run: Any) -> None:
    """PS3.7 D.3.3.4: no item, so the requestor is the SCU only; what a C-GET would send is a failed sub-operation."""

    async def main() -> None:
        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            yield 1
            yield part10(*ct(1))

        async with dicore.listen(port=0, on_c_get=get) as scp:
            reader, writer = await asyncio.open_connection("127.0.0.1", scp.port)

            async def pdu() -> wire.Pdu:
                head = await reader.readexactly(6)
                return wire.Pdu(head[0], await reader.readexactly(struct.unpack(">BxI", head)[1]))

            contexts = [wire.context(1, GET, [wire.IMPLICIT]), wire.context(3, CT, [wire.EXPLICIT])]
            command = wire.command_set(
                wire.element(0x00000002, wire.uid(GET)),
                wire.element(0x00000100, wire.us(0x0010)),
                wire.element(0x00000110, wire.us(1)),
                wire.element(0x00000700, wire.us(0)),
                wire.element(0x00000800, wire.us(1)),
            )
            keys = wire.data_pdu(1, wire.element(0x00080052, b"STUDY "), command=False)
            writer.write(wire.associate_rq(contexts) + wire.data_pdu(1, command, command=True) + keys)
            answer = await pdu()
            assert answer.kind == wire.AC
            assert 0x54 not in user_items(answer)
            status = 0xFF00
            while status == 0xFF00:
                fields = wire.parse_command((await pdu()).body[6:])
                assert int.from_bytes(fields[0x00000100], "little") == 0x8010
                status = int.from_bytes(fields[0x00000900], "little")
            assert status == 0xA702
            assert int.from_bytes(fields[0x00001022], "little") == 1
            writer.close()

    run(main())


# ---- 11: a C-CANCEL that comes too late


def test_the_core_answers_no_cancel_and_waits_for_nothing() -> None:
    core = Association(artim=30, request=30, network=60, dimse=60, idle=300)
    assert core.connected()
    core.receive(wire.associate_rq())
    assert core.accept()
    core.output()
    cancel = wire.command_set(
        wire.element(0x00000100, wire.us(0x0FFF)),
        wire.element(0x00000120, wire.us(7)),
        wire.element(0x00000800, wire.us(0x0101)),
    )
    ((kind, command, last),) = core.receive(wire.data_pdu(1, cancel, command=True))
    assert (kind, command.responded_to, last) == ("command", 7, True)
    assert core.pending == 0
    assert core.output() == b""
    assert core.deadline(1000) == 1300  # idle


# ---- 13: a transaction


def test_a_transaction_uid_dies_with_its_report() -> None:
    async def main() -> None:
        commitments = Commitments()
        commitments.expect("1.2.9")

        class Report:
            event_type = 1
            dataset = dicore.Dataset.from_bytes(
                wire.explicit(0x00081195, "UI", wire.uid("1.2.9")), transfer_syntax=wire.EXPLICIT
            )

        request: NormalizedRequest = Report()  # type: ignore[assignment]
        assert commitments(request) == 0
        assert (await commitments.result("1.2.9", 1)).transaction == "1.2.9"
        assert commitments(request) == 0x0112
        commitments.forget("1.2.9")
        assert commitments(request) == 0x0112

    asyncio.run(main())
