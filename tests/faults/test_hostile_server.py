"""A server may be hostile too: what it says is cut at every byte (T13, the other direction), it releases when we do.
`dicore.connect` and `dicore.send` end with a clear error, or right, and hang never."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attacks
import pytest

import dicore
import wire
from dicore.net import Timeouts

Run = Callable[..., Any]
STEP = 1 if os.environ.get("DICORE_FAULTS") == "torture" else 5
STORED = wire.instance_uid(1)


def item(kind: int, body: bytes) -> bytes:
    return wire.item(kind, body)


def accept(request: wire.Pdu) -> bytes:
    """An A-ASSOCIATE-AC that takes every context with its first transfer syntax."""
    body, at, contexts = request.body, 68, []
    while at < len(body):
        kind, size = body[at], int.from_bytes(body[at + 2 : at + 4], "big")
        inside = body[at + 4 : at + 4 + size]
        if kind == 0x20:
            first = inside.index(b"\x40\x00")
            syntax = inside[first + 4 : first + 4 + int.from_bytes(inside[first + 2 : first + 4], "big")]
            contexts.append(item(0x21, bytes((inside[0], 0, 0, 0)) + item(0x40, syntax)))
        at += 4 + size
    user = item(0x50, item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3"))
    head = body[:68]
    return wire.pdu(wire.AC, head + item(0x10, wire.APPLICATION_CONTEXT.encode()) + b"".join(contexts) + user)


def response(context: int, command: dict[int, bytes]) -> bytes:
    field = int.from_bytes(command[0x00000100], "little") | 0x8000
    elements = [wire.element(0x00000002, command[0x00000002]), wire.element(0x00000100, wire.us(field))]
    elements += [wire.element(0x00000120, command[0x00000110]), wire.element(0x00000800, wire.us(0x0101))]
    elements.append(wire.element(0x00000900, wire.us(0)))
    if 0x00001000 in command:
        elements.append(wire.element(0x00001000, command[0x00001000]))
    return wire.data_pdu(context, wire.command_set(*elements), command=True)


class Server:
    """Answers associations, C-ECHO, C-STORE and releases in a thread, but says only the first `says` bytes of it, and
    then closes (`how`). `collide`: it asks for a release itself before it answers ours."""

    def __init__(self) -> None:
        self.says = 1 << 30
        self.how = "FIN"
        self.collide = False
        self.seen: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, AssertionError):
                connection.settimeout(30)
                self._answer(connection)
                if self.how == "RST":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, attacks.RESET)

    def _answer(self, connection: socket.socket) -> None:
        left, command, context, data = self.says, b"", 0, False
        while (got := wire.receive_pdu(connection)) is not None:
            self.seen.append(got.kind)
            said = b""
            if got.kind == wire.RQ:
                said = accept(got)
            elif got.kind == wire.RELEASE_RQ:
                said = wire.pdu(wire.RELEASE_RQ if self.collide else wire.RELEASE_RP, bytes(4))
            elif got.kind == wire.RELEASE_RP:
                said = wire.pdu(wire.RELEASE_RP, bytes(4))  # as acceptor we answer second (AR-10, Sta12)
            elif got.kind == wire.DATA:
                at = 0
                while at < len(got.body):
                    size = int.from_bytes(got.body[at : at + 4], "big")
                    context, control = got.body[at + 4], got.body[at + 5]
                    if control & 1:
                        command = got.body[at + 6 : at + 4 + size]
                        data = wire.parse_command(command)[0x00000800] != wire.us(0x0101)
                    if control & 2 and not (control & 1 and data):
                        said += response(context, wire.parse_command(command))
                    at += 4 + size
            connection.sendall(said[:left])
            left -= len(said)
            if left <= 0:
                return


@pytest.fixture
def hostile() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = wire.ct_data_set(STORED)
    meta = b"".join(
        wire.explicit(tag, "UI", wire.uid(text))
        for tag, text in ((0x00020002, wire.CT_IMAGE), (0x00020003, STORED), (0x00020010, wire.EXPLICIT))
    )
    group = wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    path = tmp_path / "one.dcm"
    path.write_bytes(bytes(128) + b"DICM" + group + meta + data)
    return path


def test_release_collision_ends_in_peace(run: Run, hostile: Server, file: Path) -> None:
    """PS3.8 9.2: both ask at once. The requestor answers first (AR-8, AR-9), then gets its own answer (AR-3)."""
    hostile.collide = True

    async def main() -> None:
        async with dicore.connect(f"X@127.0.0.1:{hostile.port}") as association:
            await association.c_echo()
        report = await dicore.send([file], to=f"X@127.0.0.1:{hostile.port}")
        assert (report.sent, report.failed) == (1, 0)

    run(main())
    assert hostile.seen.count(wire.RELEASE_RQ) == 2
    assert hostile.seen.count(wire.RELEASE_RP) == 2
    assert wire.ABORT not in hostile.seen


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_t13_what_the_server_says_is_cut_at_every_byte(run: Run, hostile: Server, how: str) -> None:
    hostile.how = how

    async def main() -> int:
        cut = 0
        while True:
            hostile.says = cut
            try:
                async with dicore.connect(f"X@127.0.0.1:{hostile.port}", timeouts=Timeouts(connect=20)) as association:
                    await association.c_echo()
                return cut
            except dicore.NetworkError:
                cut += STEP

    whole = run(main())
    assert whole > 250  # AC and response


def test_t13_send_survives_a_server_cut_at_every_tenth_byte(run: Run, hostile: Server, file: Path) -> None:
    """The answer of the C-STORE is cut or there: the report says failed or sent, never both, never nothing."""

    async def main() -> None:
        sent = 0
        for cut in range(1, 2500, 10):
            hostile.says = cut
            try:
                report = await dicore.send([file], to=f"X@127.0.0.1:{hostile.port}")
            except dicore.NetworkError:
                assert not sent  # no association came about
                continue
            assert report.sent + report.failed == 1
            assert bool(report.failures) == bool(report.failed)
            assert report.sent >= sent  # once enough bytes come, they always do
            sent = report.sent
        assert sent == 1

    run(main())
