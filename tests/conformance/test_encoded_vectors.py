"""The messages that pynetdicom carries in its tests, read and written again: the same bytes."""

from __future__ import annotations

import importlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

import dicore
import wire
from conftest import peer_module
from dicore._native.command import Command
from dicore._native.net import Link, associate_rebuilt
from dicore.dataset import Dataset
from dicore.errors import ProtocolViolation
from dicore.net import queries
from dicore.net.transport import _Protocol
from dicore.uid import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from net.netcommon import Memory, Wire, feed


def vectors(name: str) -> dict[str, bytes]:
    module = importlib.import_module(f"pynetdicom.tests.{name}")
    return {key: value for key, value in vars(module).items() if isinstance(value, bytes)}


peer_module("pynetdicom")
MESSAGES = vectors("encoded_dimse_msg") | vectors("encoded_dimse_n_msg")
PDUS = vectors("encoded_pdu_items")
TWICE = {"c_move_rsp_cmd_with_dup"}  # an element that comes twice: we refuse to choose

# PDUs that do not come back byte for byte: {name: (why, the two sides made comparable)}.
ORDER = "the sub-items of user information have no order (PS3.8 9.3.2.3): ours ascend"
RESERVED = "a reserved byte is not 00H as it shall be sent (PS3.8 9.3.2.2)"
DIFFERENT = {
    "a_associate_rq_user_async": ORDER,
    "a_associate_rq_role": ORDER,
    "a_associate_rq_user_id_ext_neg": ORDER,
    "a_associate_rq_user_id_user_pass": RESERVED,
    "presentation_context_rq_utf8": RESERVED,
    "p_data_tf_rq": "its group length is 2 more than what follows it (PS3.7 6.3.1)",
    "a_associate_ac_user": "its length field is 14 bytes short of its items (PS3.8 9.3.3)",
    "a_associate_ac_no_ts": "a refused context without transfer syntax: not significant (PS3.8 9.3.3.2); ours: empty",
}
REFUSED = {  # read (or not), and never built
    "a_associate_rq_called": "an AE title of spaces only (PS3.8 table 9-11)",
    "a_associate_rq_calling": "an AE title of spaces only (PS3.8 table 9-11)",
    "application_context_empty": "a UID without a character (PS3.5 9.1); ours is written instead",
    "implementation_class_uid_empty": "a UID without a character (PS3.7 D.3.3.2.1)",
    "implementation_version_name_empty": "a name without a character (PS3.7 D.3.3.2.3); no item is written",
}
ITEMS = {  # item type: where it stands
    0x10: "application", 0x20: "context", 0x21: "context", 0x30: "abstract", 0x40: "transfer", 0x50: "user information",
    0x51: "user", 0x52: "user", 0x53: "user", 0x54: "user", 0x55: "user", 0x56: "user", 0x57: "user", 0x58: "user",
    0x59: "user",
}  # fmt: skip


def test_there_are_as_many_as_there_were() -> None:
    assert (len(PDUS), len(vectors("encoded_dimse_msg")), len(vectors("encoded_dimse_n_msg"))) == (43, 20, 23)


@pytest.mark.parametrize("name", [name for name, value in MESSAGES.items() if value[0] & 1])
def test_command_set_is_read_and_written(name: str) -> None:
    data = MESSAGES[name][1:]  # behind the message control header
    if name in TWICE:
        with pytest.raises(ProtocolViolation):
            Command.parse(data)
        return
    assert Command.parse(data).build() == data
    for end in range(len(data)):
        try:
            again = Command.parse(data[:end])
        except ProtocolViolation:
            continue
        assert len(again.build()) <= len(data) + 10  # cut between two elements: what is left of it


@pytest.mark.parametrize("name", [name for name, value in MESSAGES.items() if not value[0] & 1])
def test_data_set_is_read_and_written(name: str) -> None:
    data = MESSAGES[name][1:]
    dataset = queries.decode(data, IMPLICIT_LITTLE)
    assert len(dataset) > 0
    assert queries.encode(dataset, IMPLICIT_LITTLE) == data
    there: Any = queries.encode(dataset, EXPLICIT_LITTLE)
    assert queries.encode(Dataset.from_bytes(there, transfer_syntax=EXPLICIT_LITTLE), IMPLICIT_LITTLE) == data


def items(pdu: bytes) -> tuple[bytes, list[Any]]:
    """Fixed fields and items; the order of user information items is nobody's business."""

    def parts(data: bytes) -> list[tuple[int, bytes]]:
        found = []
        while data:
            size = struct.unpack(">H", data[2:4])[0]
            found.append((data[0], data[4 : 4 + size]))
            data = data[4 + size :]
        return found

    listed: list[Any] = []
    for kind, body in parts(pdu[74:]):
        if kind == 0x20:
            body = body[:1] + b"\0\0\0" + body[4:]  # reserved
        listed.append((kind, sorted(parts(body)) if kind == 0x50 else body))
    return pdu[:2] + pdu[6:42], listed  # without the length


ASSOCIATE = [name for name, pdu in PDUS.items() if pdu[0] in (1, 2) and name.startswith("a_associate")]
LOOSE = [name for name, item in PDUS.items() if item[0] in ITEMS]
CONTROL = ["a_associate_rj", "a_release_rq", "a_release_rp", "a_abort", "a_p_abort"]
P_DATA = ["p_data_tf", "p_data_tf_rq", "p_data_tf_n_event_report", "presentation_data", "presentation_data_value"]


def test_every_vector_has_a_test() -> None:
    assert sorted([*ASSOCIATE, *LOOSE, *CONTROL, *P_DATA]) == sorted(PDUS)
    assert not set(DIFFERENT) & set(REFUSED)
    same = set(PDUS) - set(DIFFERENT) - set(REFUSED)
    assert (len(same), len(DIFFERENT), len(REFUSED)) == (30, 8, 5)


def whole(pdu: bytes) -> bytes:
    """With the length that it has."""
    return pdu[:2] + struct.pack(">I", len(pdu) - 6) + pdu[6:]


@pytest.mark.parametrize("name", ASSOCIATE)
def test_association_pdu_is_read_and_written(name: str) -> None:
    pdu = PDUS[name]
    if name in REFUSED:
        with pytest.raises(ValueError, match="contract"):
            associate_rebuilt(pdu)
        return
    again = associate_rebuilt(pdu)
    if name not in DIFFERENT:
        assert again == pdu
        return
    assert again != pdu
    if DIFFERENT[name] in (ORDER, RESERVED):
        assert len(again) == len(pdu)
        assert items(again) == items(pdu)
    elif name == "a_associate_ac_user":
        assert again == whole(pdu)
    else:
        theirs, ours = items(pdu), items(again)
        assert ours[0] == theirs[0]
        refused = [
            (kind, body + wire.item(0x40, b"") if kind == 0x21 and len(body) == 4 else body) for kind, body in theirs[1]
        ]
        assert ours[1] == refused


def around(item: bytes) -> bytes:
    """A PDU that has the item, and is in everything else as ours are."""
    ac = item[0] in (0x21, 0x59)
    context, user = wire.context(1, wire.VERIFICATION, [wire.IMPLICIT]), b""
    if ac:
        context = wire.item(0x21, b"\1\0\0\0" + wire.item(0x40, wire.IMPLICIT.encode()))
    application = wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
    first, uid_, information = wire.item(0x51, b"\0\0\x40\0"), wire.item(0x52, b"1.2.3"), None
    match ITEMS[item[0]]:
        case "application":
            application = item
        case "context":
            context = item
        case "abstract":
            context = wire.item(0x20, b"\1\0\0\0" + item + wire.item(0x40, wire.IMPLICIT.encode()))
        case "transfer":
            context = wire.item(0x20, b"\1\0\0\0" + wire.item(0x30, wire.VERIFICATION.encode()) + item)
        case "user information":
            information = item
        case _:
            if item[0] == 0x51:
                first = item
            elif item[0] == 0x52:
                uid_ = item
            else:
                user = item
    information = information or wire.item(0x50, first + uid_ + user)
    head = struct.pack(">Hxx", 1) + b"CALLED".ljust(16) + b"CALLING".ljust(16) + bytes(32)
    return wire.pdu(wire.AC if ac else wire.RQ, head + application + context + information)


@pytest.mark.parametrize("name", LOOSE)
def test_item_is_read_and_written(name: str) -> None:
    pdu = around(PDUS[name])
    if name == "implementation_class_uid_empty":
        with pytest.raises(ValueError, match="contract"):
            associate_rebuilt(pdu)
        return
    again = associate_rebuilt(pdu)
    if name == "application_context_empty":
        assert again == around(wire.item(0x10, wire.APPLICATION_CONTEXT.encode()))
    elif name == "implementation_version_name_empty":
        assert len(again) == len(pdu) - 4
        assert PDUS[name] not in again
    elif name in DIFFERENT:
        assert again == pdu.replace(b"\x4d\0\xff\0", b"\x4d\0\0\0") != pdu
    else:
        assert again == pdu
        assert PDUS[name] in again


# ---- what an association says


class Pair:
    """Both our sides of one association, each behind a connection that this end holds."""

    def __init__(self) -> None:
        self.listener = dicore.listen(port=0, on_c_store=Memory())
        self.acceptor, self.said = _Protocol(self.listener._hub), Wire()
        self.acceptor.connection_made(self.said)  # type: ignore[arg-type]
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.link = Link(
            pdu=1 << 20, negotiation=1 << 16, command=1 << 16, artim=1000, request=1000, network=1000, dimse=1000
        )
        syntaxes = [wire.IMPLICIT]
        self.link.propose("A", "B", [(1, wire.VERIFICATION, syntaxes)], b"1.2.3", b"")
        self.link.attach(self.near.fileno())
        self.link.push()
        self.proposal = self.far.recv(4096)

    def establish(self) -> None:
        feed(self.acceptor, self.proposal)
        self.far.sendall(self.said.sent)
        assert [event[0] for event in self.link.pull()] == ["accepted"]
        self.said.sent.clear()

    def sent(self) -> bytes:
        """What the requestor has said."""
        self.link.push()
        return self.far.recv(1 << 16)

    def heard(self, pdu: bytes) -> list[Any]:
        """What the requestor makes of a PDU."""
        self.far.sendall(pdu)
        return list(self.link.pull())

    def close(self) -> None:
        self.link.detach()
        self.far.close()
        self.near.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("name", CONTROL)
def test_control_pdu_is_read_and_written(pair: Pair, name: str) -> None:
    pdu = PDUS[name]
    if name == "a_associate_rj":
        assert pair.heard(pdu) == [("rejected", 1, 1, 1)]
        pair.listener._hub.admit = lambda address: False
        feed(pair.acceptor, pair.proposal)
        assert bytes(pair.said.sent) == pdu
        return
    pair.establish()
    if name == "a_release_rq":
        pair.link.start_release()
        assert pair.sent() == pdu
        feed(pair.acceptor, pdu)
        assert bytes(pair.said.sent) == PDUS["a_release_rp"]
    elif name == "a_release_rp":
        pair.link.start_release()
        assert pair.sent() == PDUS["a_release_rq"]
        assert [event[0] for event in pair.heard(pdu)] == ["released"]
        feed(pair.acceptor, PDUS["a_release_rq"])
        assert bytes(pair.said.sent) == pdu
    else:
        source, reason = pdu[8], pdu[9]
        assert [event[:3] for event in pair.heard(pdu)] == [("aborted", source, reason)]
        other = Pair()
        other.establish()
        other.link.start_abort(source, reason)
        assert other.sent() == pdu
        feed(other.acceptor, pdu)
        assert f"source {source}, reason {reason}" in other.acceptor.why
        other.close()


@pytest.mark.parametrize("name", P_DATA)
def test_p_data_is_read_and_written(pair: Pair, name: str) -> None:
    """The command set that a P-DATA-TF holds, said by us: the same PDU, PDV, fragment."""
    pair.establish()
    data = PDUS[name]
    if name == "presentation_data":  # from the message control header on
        pdu = wire.pdu(wire.DATA, struct.pack(">IB", len(data) + 1, 1) + data)
    elif name == "presentation_data_value":
        pdu = wire.pdu(wire.DATA, data)
    else:
        pdu = data
    command = Command.parse(pdu[12:])
    pair.link.post(1, command)
    if name in DIFFERENT:
        assert pdu[20:24] == struct.pack("<I", len(pdu) - 22)
        pdu = data = pdu[:20] + struct.pack("<I", len(pdu) - 24) + pdu[24:]
    assert pair.sent() == pdu
    assert data in pdu
    feed(pair.acceptor, pdu)
    if command.is_response:
        assert "a response to nothing" in pair.acceptor.why
    else:
        assert wire.response(pair.said.pdus()[0])[:2] == (command.field | 0x8000, command.message_id)
