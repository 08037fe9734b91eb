"""The table of attacks: what hostile peers do to a server, and what PS3.8 wants it to answer. The tests demand it of
dicore's two drivers, `benchmarks/bench_attacks.py` runs the same against other servers.

An attack takes the port of a server and gives a `Said`: the PDUs that came back and how the connection ended. It opens
no more than it closes, and ends after `patience` seconds whatever the server does."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import wire

MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass
class Said:
    """What a server said to an attack. `end`: "closed", "reset", or "open" when the attacker lost patience."""

    pdus: list[wire.Pdu] = field(default_factory=list)
    end: str = "open"
    seconds: float = 0.0  # from the last byte of the attack to the end
    note: str = ""

    @property
    def answer(self) -> str:
        """The last word: "A-ABORT 2/1", "A-ASSOCIATE-RJ 1/1/2", "A-ASSOCIATE-AC", "status A700", ..., else the end."""
        return words(self.pdus[-1]) if self.pdus else self.end


def words(pdu: wire.Pdu) -> str:
    if pdu.kind == wire.ABORT:
        return f"A-ABORT {pdu.body[2]}/{pdu.body[3]}" if len(pdu.body) == 4 else "A-ABORT, broken"
    if pdu.kind == wire.RJ:
        return "A-ASSOCIATE-RJ " + "/".join(str(byte) for byte in pdu.body[1:4])
    if pdu.kind == wire.DATA:
        with contextlib.suppress(Exception):
            return f"status {wire.response(pdu)[2]:04X}"
        return "P-DATA"
    return {wire.AC: "A-ASSOCIATE-AC", wire.RELEASE_RQ: "A-RELEASE-RQ", wire.RELEASE_RP: "A-RELEASE-RP"}.get(
        pdu.kind, f"PDU {pdu.kind:02X}H"
    )


@dataclass(frozen=True)
class Attack:
    """`right`: how the last word must begin, one of these ("closed": the connection ends without one)."""

    name: str
    run: Callable[[int, float], Said]
    right: tuple[str, ...]
    timer: str = ""  # the timer that has to end it: "artim" or "network"; then `patience` must be longer


# ---- pieces
GOOD_RQ = wire.associate_rq(wire.store_contexts())
ABORT_USER, ABORT_PROVIDER = "A-ABORT 0/", "A-ABORT 2/"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def store_command(number: int) -> bytes:
    return wire.data_pdu(3, wire.store_rq(wire.instance_uid(number)), command=True)


def send(connection: socket.socket, pieces: Iterable[bytes]) -> None:
    """As much as the other side takes; what it said before it closed can still be read."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        for piece in pieces:
            connection.sendall(piece)


def listen_to(connection: socket.socket, patience: float, *, until: tuple[int, ...] = ()) -> Said:
    """All that comes, until it ends, a PDU of `until` came, or patience does."""
    said = Said()
    began = time.monotonic()
    buffer = b""
    while (left := began + patience - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionError:
            said.end = "reset"
            break
        if not piece:
            said.end = "closed"
            break
        buffer += piece
        while len(buffer) >= 6 and len(buffer) >= 6 + (size := int.from_bytes(buffer[2:6], "big")):
            said.pdus.append(wire.Pdu(buffer[0], buffer[6 : 6 + size]))
            buffer = buffer[6 + size :]
        if said.pdus and said.pdus[-1].kind in until:
            break
    said.seconds = time.monotonic() - began
    return said


LAST_WORDS = (wire.ABORT, wire.RJ, wire.RELEASE_RP)


def plain(
    data: bytes | Callable[[], Iterable[bytes]], *, associated: bool, until: tuple[int, ...] = LAST_WORDS
) -> Callable[[int, float], Said]:
    """Send `data`, before an association or inside one."""

    def run(port: int, patience: float) -> Said:
        connection = wire.associate(port, timeout=patience) if associated else wire.connect(port, timeout=patience)
        with connection:
            send(connection, [data] if isinstance(data, bytes) else data())
            return listen_to(connection, patience, until=until)

    return run


def drip(before: bytes, slowly: bytes, *, associated: bool, pause: float = 0.1) -> Callable[[int, float], Said]:
    """`before`, then a byte of `slowly` at a time, over and over, until it is over."""

    def run(port: int, patience: float) -> Said:
        connection = wire.associate(port, timeout=patience) if associated else wire.connect(port, timeout=patience)
        with connection:
            send(connection, [before])
            began, at, said = time.monotonic(), 0, Said()
            while said.end == "open" and time.monotonic() - began < patience:
                send(connection, [slowly[at % len(slowly) :][:1]])
                at += 1
                heard = listen_to(connection, pause)
                said.pdus += heard.pdus
                said.end = heard.end
            said.seconds = time.monotonic() - began
            return said

    return run


def silent(count: int) -> Callable[[int, float], Said]:
    """`count` connections that say nothing."""

    def run(port: int, patience: float) -> Said:
        began = time.monotonic()
        connections: list[socket.socket] = []
        try:
            for _ in range(count):
                connections.append(wire.connect(port, timeout=patience))
            said = [listen_to(one, max(0.01, began + patience - time.monotonic())) for one in connections]
        finally:
            for one in connections:
                one.close()
        ended = [one for one in said if one.end != "open"]
        whole = Said(end="closed" if len(ended) == count else "open", seconds=time.monotonic() - began)
        whole.note = f"{len(ended)} of {count} ended"
        return whole

    return run


def unread(port: int, patience: float) -> Said:
    """C-ECHO-RQ after C-ECHO-RQ, and no answer is ever read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(patience)
        connection.connect(("127.0.0.1", port))
        connection.sendall(GOOD_RQ)
        assert wire.receive_pdu(connection) is not None
        many = wire.data_pdu(1, wire.echo_rq(), command=True) * 500
        began, sent, said = time.monotonic(), 0, Said()
        connection.settimeout(0.1)
        while sent < 64 * MIB and time.monotonic() - began < patience:
            try:
                sent += connection.send(many)
            except TimeoutError:
                continue
            except ConnectionError:
                said.end = "reset"
                break
        said.seconds = time.monotonic() - began
        said.note = f"{sent / MIB:.1f} MiB of requests taken"
        return said


def million_empty_pdvs(port: int, patience: float) -> Said:
    """1,000,000 PDVs without data, legal each: the data set goes on, and ends as what it is."""
    empty = wire.pdv(3, b"", command=False, last=False) * 2700  # fits 16 KiB, which everybody takes
    pdu = wire.pdu(wire.DATA, empty)

    def pieces() -> Iterator[bytes]:
        yield store_command(60)
        for _ in range(10):
            yield pdu * 38  # 1,026,000
        yield wire.data_pdu(3, wire.ct_data_set(wire.instance_uid(60)), command=False)

    return plain(pieces, associated=True, until=(*LAST_WORDS, wire.DATA))(port, patience)


def endless(total: int) -> Callable[[int, float], Said]:
    """One data set that does not end: a valid beginning, then pixels, `total` bytes of them."""

    def pieces() -> Iterator[bytes]:
        yield store_command(61)
        head = wire.ct_data_set(wire.instance_uid(61), side=2)[:-20]
        head += struct.pack("<HH2sxxI", 0x7FE0, 0x0010, b"OW", 0xFFFFFFFE)
        yield wire.data_pdu(3, head, command=False, last=False)
        pdu = wire.data_pdu(3, bytes(16000), command=False, last=False) * 64
        for _ in range(total // len(pdu) + 1):
            yield pdu

    return plain(pieces, associated=True)


def deep(levels: int = 10_000) -> bytes:
    """Sequences of undefined length within each other, explicit VR little endian."""
    begin = struct.pack("<HH2sxxI", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return begin * levels + end * levels


def deep_store(port: int, patience: float) -> Said:
    data = wire.ct_data_set(wire.instance_uid(62))
    cut = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    data = data[:cut] + deep() + data[cut:]
    message = wire.store_message(wire.instance_uid(62), data)
    return plain(message, associated=True, until=(*LAST_WORDS, wire.DATA))(port, patience)


def find_rq() -> bytes:
    return wire.command_set(
        wire.element(0x00000002, wire.uid(FIND)),
        wire.element(0x00000100, wire.us(0x0020)),
        wire.element(0x00000110, wire.us(1)),
        wire.element(0x00000700, wire.us(0)),
        wire.element(0x00000800, wire.us(1)),
    )


def deep_find(port: int, patience: float) -> Said:
    """A query whose identifier is 10,000 sequences deep."""
    identifier = wire.explicit(0x00080052, "CS", b"STUDY ") + wire.explicit(0x00100020, "LO", b"") + deep()
    with wire.connect(port, timeout=patience) as connection:
        connection.sendall(wire.associate_rq([wire.context(1, FIND, [wire.EXPLICIT])]))
        answer = wire.receive_pdu(connection)
        if answer is None or answer.kind != wire.AC or answer.body.find(b"\x21\x00") < 0:
            return Said([answer] if answer else [], "closed", note="no C-FIND here")
        pieces = [identifier[at : at + 16000] for at in range(0, len(identifier), 16000)]
        data = [wire.data_pdu(1, piece, command=False, last=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
        send(connection, [wire.data_pdu(1, find_rq(), command=True), *data])
        return listen_to(connection, patience, until=(*LAST_WORDS, wire.DATA))


def in_association_words(data: bytes) -> Callable[[int, float], Said]:
    """`data` is an A-ASSOCIATE-RQ: its answer is the answer."""
    return plain(data, associated=False, until=(*LAST_WORDS, wire.AC))


def ae_titles(port: int, patience: float) -> Said:
    """Titles with CR LF ESC, NUL, bytes beyond ASCII, quotes of SQL."""
    said = Said()
    for calling in (b"EVIL\r\n\x1b[31mRED", b"\x00" * 16, b"\xff" * 16, b"'; DROP TABLE x", b"$(reboot)", b"%s%n%x"):
        said = in_association_words(wire.associate_rq(calling=calling))(port, patience)
        if not said.pdus:
            return said
    return said


def release_amid_data(port: int, patience: float) -> Said:
    """A-RELEASE-RQ inside a data set, and another behind it: two releases at once."""
    half = wire.data_pdu(3, wire.ct_data_set(wire.instance_uid(63))[:300], command=False, last=False)
    twice = wire.pdu(wire.RELEASE_RQ, bytes(4)) * 2
    return plain(store_command(63) + half + twice, associated=True)(port, patience)


def release_reply_collision(port: int, patience: float) -> Said:
    """A-RELEASE-RP that nobody asked for: half of a release collision (Sta6 has AA-8 for it)."""
    return plain(wire.pdu(wire.RELEASE_RP, bytes(4)), associated=True)(port, patience)


def abort_inside_pdv(port: int, patience: float) -> Said:
    """A PDV header, a part of its bytes, and then an A-ABORT where the rest should be, and the end: it is data."""
    data = wire.ct_data_set(wire.instance_uid(64))
    cut = wire.data_pdu(3, data, command=False)[:300]
    with wire.associate(port, timeout=patience) as connection:
        send(connection, [store_command(64) + cut + wire.pdu(wire.ABORT, bytes(4))])
        connection.shutdown(socket.SHUT_WR)
        return listen_to(connection, patience)


def abort_inside_dataset(port: int, patience: float) -> Said:
    data = wire.data_pdu(3, wire.ct_data_set(wire.instance_uid(65))[:300], command=False, last=False)
    return plain(store_command(65) + data + wire.pdu(wire.ABORT, bytes(4)), associated=True)(port, patience)


def contexts(number: int, syntaxes: int) -> bytes:
    names = [wire.EXPLICIT, *(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 50 + syntaxes - 1))]
    return wire.associate_rq([wire.context(2 * n + 1, wire.CT_IMAGE, names) for n in range(number)])


def short_contexts() -> bytes:
    """128 x 40 in less than 64 KiB: transfer syntaxes of a few characters."""
    return wire.associate_rq(
        [
            wire.context(2 * n + 1, wire.CT_IMAGE, [f"1.{m + 10}" for m in range(39)] + [wire.EXPLICIT])
            for n in range(128)
        ]
    )


INTERLEAVED = (
    store_command(66)
    + wire.data_pdu(3, wire.ct_data_set(wire.instance_uid(66))[:300], command=False, last=False)
    + store_command(67)
)
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
TLS = bytes.fromhex("160301020001000001fc0303") + bytes(500)
COMMAND_64_MIB = wire.data_pdu(1, bytes(16000), command=True, last=False)


def table(*, endless_bytes: int, silent_peers: int = 200) -> list[Attack]:
    """All attacks of one server and one attacker. Those with a `timer` take as long as that."""
    return [
        Attack("silent connects", silent(silent_peers), ("closed",), timer="artim"),
        Attack(
            "slow loris: A-ASSOCIATE-RQ a byte at a time",
            drip(b"", GOOD_RQ, associated=False),
            ("closed", "reset"),
            timer="artim",
        ),
        Attack(
            "slow loris: PDU header",
            drip(b"", b"\x04", associated=True, pause=0.5),
            (ABORT_USER, ABORT_PROVIDER, "closed"),
            timer="network",
        ),
        Attack(
            "slow loris: command set",
            drip(wire.data_pdu(1, bytes(1000), command=True)[: 6 + 6], b"\x00", associated=True),
            (ABORT_USER,),
            timer="network",
        ),
        Attack(
            "slow loris: data set",
            drip(store_command(68) + wire.data_pdu(3, bytes(16000), command=False)[:12], b"\x00", associated=True),
            (ABORT_USER,),
            timer="network",
        ),
        Attack(
            "slow loris: after our A-ABORT",
            drip(wire.pdu(9, bytes(4)), b"\x00", associated=True),
            (ABORT_PROVIDER,),
            timer="artim",
        ),
        Attack("answers are never read", unread, ("reset", "closed", "open"), timer="network"),
        Attack(
            "PDU length FFFFFFFF, A-ASSOCIATE-RQ",
            plain(b"\x01\x00\xff\xff\xff\xff" + GOOD_RQ[6:], associated=False),
            (ABORT_USER,),
        ),
        Attack("PDU length FFFFFFFF, P-DATA", plain(b"\x04\x00\xff\xff\xff\xff", associated=True), (ABORT_PROVIDER,)),
        Attack("1,000,000 empty PDVs", million_empty_pdvs, ("status 0000",)),
        Attack("unknown PDU, first", plain(wire.pdu(8, b"\0\0\0\0"), associated=False), (ABORT_USER,)),
        Attack("unknown PDU, in an association", plain(wire.pdu(8, b"\0\0\0\0"), associated=True), ("A-ABORT 2/1",)),
        Attack("P-DATA first", plain(wire.data_pdu(1, wire.echo_rq(), command=True), associated=False), (ABORT_USER,)),
        Attack(
            "wrong context", plain(wire.data_pdu(99, wire.echo_rq(), command=True), associated=True), (ABORT_PROVIDER,)
        ),
        Attack("interleaved messages", plain(INTERLEAVED, associated=True), (ABORT_PROVIDER,)),
        Attack(
            "128 x 40 negotiation, 138 KiB",
            in_association_words(contexts(128, 40)),
            (ABORT_USER, "A-ASSOCIATE-AC", "A-ASSOCIATE-RJ"),
        ),
        Attack("128 x 40 negotiation, 54 KiB", in_association_words(short_contexts()), ("A-ASSOCIATE-AC",)),
        Attack(
            "user information of 10,000 items",
            in_association_words(wire.associate_rq(user_items=wire.item(0x5F, b"") * 10_000)),
            ("A-ASSOCIATE-AC",),
        ),
        Attack("HTTP", plain(HTTP, associated=False), (ABORT_USER,)),
        Attack("TLS hello", plain(TLS, associated=False), (ABORT_USER,)),
        Attack(
            "64 MiB command set",
            plain(lambda: (COMMAND_64_MIB for _ in range(4200)), associated=True),
            (ABORT_PROVIDER,),
        ),
        Attack("sequences 10,000 deep, C-STORE", deep_store, ("status 0000", "status A", "status C")),
        Attack("sequences 10,000 deep, C-FIND", deep_find, ("status A", "status C")),
        Attack("endless data set", endless(endless_bytes), (ABORT_USER, ABORT_PROVIDER)),
        Attack("AE titles with control bytes", ae_titles, ("A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", ABORT_USER)),
        Attack("two A-RELEASE-RQ inside a data set", release_amid_data, ("A-RELEASE-RP",)),
        Attack("A-RELEASE-RP unasked", release_reply_collision, (ABORT_PROVIDER,)),
        Attack("A-ABORT inside a data set", abort_inside_dataset, ("closed",)),
        Attack("A-ABORT inside a PDV, then the end", abort_inside_pdv, ("closed",)),
    ]
