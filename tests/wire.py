"""DICOM's upper layer by hand: bytes for tests that must not trust dicore to make them (PS3.8 9.3, PS3.7 6.3)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def context(number: int, abstract: str, syntaxes: Sequence[str]) -> bytes:
    names = item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes)
    return item(0x20, struct.pack(">Bxxx", number) + names)


def associate_rq(
    contexts: Sequence[bytes] = (context(1, VERIFICATION, [IMPLICIT]),),
    *,
    called: bytes = b"DICORE",
    calling: bytes = b"TEST",
    user_items: bytes = b"",
    maximum: int = 16384,
) -> bytes:
    user = item(0x51, struct.pack(">I", maximum)) + item(0x52, b"1.2.3.4") + user_items
    head = struct.pack(">Hxx", 1) + called.ljust(16) + calling.ljust(16) + bytes(32)
    return pdu(RQ, head + item(0x10, APPLICATION_CONTEXT.encode()) + b"".join(contexts) + item(0x50, user))


def store_contexts(abstract: str = CT_IMAGE, syntax: str = EXPLICIT) -> list[bytes]:
    return [context(1, VERIFICATION, [IMPLICIT]), context(3, abstract, [syntax])]


def pdv(number: int, data: bytes, *, command: bool, last: bool) -> bytes:
    return struct.pack(">IBB", len(data) + 2, number, command | last << 1) + data


def data_pdu(number: int, data: bytes, *, command: bool, last: bool = True) -> bytes:
    return pdu(DATA, pdv(number, data, command=command, last=last))


def element(tag: int, value: bytes) -> bytes:
    """Implicit VR little endian, as all command sets are."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) & 1)


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0x00000000, struct.pack("<I", len(body))) + body


def echo_rq(message: int = 1) -> bytes:
    return command_set(
        element(0x00000002, uid(VERIFICATION)),
        element(0x00000100, us(0x0030)),
        element(0x00000110, us(message)),
        element(0x00000800, us(0x0101)),
    )


def store_rq(instance: str, message: int = 1, sop_class: str = CT_IMAGE) -> bytes:
    return command_set(
        element(0x00000002, uid(sop_class)),
        element(0x00000100, us(0x0001)),
        element(0x00000110, us(message)),
        element(0x00000700, us(0)),
        element(0x00000800, us(0x0001)),
        element(0x00001000, uid(instance)),
    )


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "UN", "SQ", "UT"):
        return head + struct.pack("<xxI", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def ct_data_set(instance: str, *, side: int = 16, fill: bytes = b"\x11\x22", patient: str = "WIRE01") -> bytes:
    """A small CT image, explicit VR little endian."""
    return b"".join(
        [
            explicit(0x00080016, "UI", uid(CT_IMAGE)),
            explicit(0x00080018, "UI", uid(instance)),
            explicit(0x00080020, "DA", b"20260101"),
            explicit(0x00080060, "CS", b"CT"),
            explicit(0x00100010, "PN", b"Wire^Test "),
            explicit(0x00100020, "LO", patient.encode().ljust(len(patient) + len(patient) % 2)),
            explicit(0x0020000D, "UI", uid("1.2.826.0.1.3680043.10.1338.7.1")),
            explicit(0x0020000E, "UI", uid("1.2.826.0.1.3680043.10.1338.7.2")),
            explicit(0x00280002, "US", us(1)),
            explicit(0x00280004, "CS", b"MONOCHROME2 "),
            explicit(0x00280010, "US", us(side)),
            explicit(0x00280011, "US", us(side)),
            explicit(0x00280100, "US", us(16)),
            explicit(0x00280101, "US", us(12)),
            explicit(0x00280102, "US", us(11)),
            explicit(0x00280103, "US", us(0)),
            explicit(0x7FE00010, "OW", (fill * (side * side))[: 2 * side * side]),
        ]
    )


def instance_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.1338.8.{1_000_000 + number}"


@dataclass(frozen=True)
class Pdu:
    kind: int
    body: bytes


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer when the peer closes first."""
    got = bytearray()
    while len(got) < size:
        try:
            piece = connection.recv(size - len(got))
        except ConnectionResetError:
            break
        if not piece:
            break
        got += piece
    return bytes(got)


def receive_pdu(connection: socket.socket) -> Pdu | None:
    """The next PDU; None when the peer has closed."""
    head = receive_exactly(connection, 6)
    if not head:
        return None
    if len(head) < 6:
        raise AssertionError(f"closed inside a PDU header: {head.hex()}")
    kind, length = struct.unpack(">BxI", head)
    body = receive_exactly(connection, length)
    if len(body) < length:
        raise AssertionError(f"closed inside a PDU of {length} bytes after {len(body)}")
    return Pdu(kind, body)


def parse_command(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        group, number, length = struct.unpack_from("<HHI", data, at)
        found[group << 16 | number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def response(got: Pdu | None) -> tuple[int, int, int]:
    """(command field, message responded to, status) of a P-DATA that holds one whole command set."""
    assert got is not None, "the peer closed"
    assert got.kind == DATA, f"PDU type {got.kind:02X}H: {got.body.hex()}"
    found = parse_command(got.body[6:])
    return tuple(int.from_bytes(found[tag], "little") for tag in (0x00000100, 0x00000120, 0x00000900))  # type: ignore[return-value]


def connect(port: int, timeout: float = 30) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def associate(port: int, contexts: Sequence[bytes] | None = None, timeout: float = 30) -> socket.socket:
    """A connection with an association that was accepted."""
    connection = connect(port, timeout)
    connection.sendall(associate_rq(contexts if contexts is not None else store_contexts()))
    answer = receive_pdu(connection)
    assert answer is not None, "closed instead of A-ASSOCIATE-AC"
    assert answer.kind == AC, f"PDU type {answer.kind:02X}H: {answer.body.hex()}"
    return connection


def echo(connection: socket.socket, message: int = 1) -> int:
    connection.sendall(data_pdu(1, echo_rq(message), command=True))
    field, to, status = response(receive_pdu(connection))
    assert (field, to) == (0x8030, message)
    return status


def store(connection: socket.socket, instance: str, data: bytes, message: int = 1, piece: int = 16000) -> int:
    """One C-STORE on context 3 in PDUs of at most `piece` bytes of data; its status."""
    connection.sendall(store_message(instance, data, message, piece))
    field, to, status = response(receive_pdu(connection))
    assert (field, to) == (0x8001, message)
    return status


def store_message(instance: str, data: bytes, message: int = 1, piece: int = 16000) -> bytes:
    parts = [data_pdu(3, store_rq(instance, message), command=True)]
    for at in range(0, len(data), piece):
        parts.append(data_pdu(3, data[at : at + piece], command=False, last=at + piece >= len(data)))
    return b"".join(parts)


def release(connection: socket.socket) -> None:
    connection.sendall(pdu(RELEASE_RQ, bytes(4)))
    answer = receive_pdu(connection)
    assert answer is not None
    assert answer.kind == RELEASE_RP
    connection.close()
