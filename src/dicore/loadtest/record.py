"""A day in front of a PACS, kept without a name in it: a proxy that writes down when, what, how large, how it ended.

What is kept: times, SOP classes, transfer syntaxes, message kinds, sizes, statuses, releases and aborts. What is not:
AE titles, addresses, UIDs of instances, keys, any byte of a data set.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dicore.net.address import Address

__all__ = ["Conversation", "Message", "Recorder", "load", "record"]

KINDS = {
    0x0001: "store", 0x0010: "get", 0x0020: "find", 0x0021: "move", 0x0030: "echo", 0x0100: "n-event-report",
    0x0110: "n-get", 0x0120: "n-set", 0x0130: "n-action", 0x0140: "n-create", 0x0150: "n-delete", 0x0FFF: "cancel",
}  # fmt: skip
_COMMAND_LIMIT = 1 << 16
_NEGOTIATION_LIMIT = 1 << 16


@dataclass(slots=True)
class Message:
    """One request of the client and what came of it."""

    at: float  # seconds from the start of the recording
    kind: str
    sop_class: str
    transfer_syntax: str
    size: int = 0  # bytes of its data set
    seconds: float | None = None  # until its final response
    status: int | None = None
    responses: int = 0


@dataclass(slots=True)
class Conversation:
    """One association."""

    at: float
    contexts: list[tuple[str, list[str]]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    end: str = "closed"  # released, aborted, rejected, closed
    seconds: float = 0.0


class _Pdus:
    """PDUs out of a byte stream, in any split; large ones are counted through, not kept."""

    def __init__(self, associate: Callable[[int, bytes], None], piece: Callable[[int, int, bytes, int], None]) -> None:
        self.associate, self.piece = associate, piece
        self.head = bytearray()
        self.body = bytearray()
        self.left = 0
        self.kind = 0
        self.pdv_left = 0
        self.pdv_head = bytearray()
        self.pdv_seen = 0
        self.broken = False

    def feed(self, data: bytes) -> None:
        """The next bytes. What is no PDU makes it deaf: the proxy hands on, the recording knows no more."""
        at = 0
        while at < len(data) and not self.broken:
            if not self.left and len(self.head) < 6:
                take = min(6 - len(self.head), len(data) - at)
                self.head += data[at : at + take]
                at += take
                if len(self.head) < 6:
                    return
                self.kind, self.left = self.head[0], struct.unpack_from(">I", self.head, 2)[0]
                self.body.clear()
                self.pdv_head.clear()
                self.pdv_left = 0
                if not 1 <= self.kind <= 7 or (self.kind in (1, 2) and self.left > _NEGOTIATION_LIMIT):
                    self.broken = True
                    return
            take = min(self.left, len(data) - at)
            part = data[at : at + take]
            at += take
            self.left -= take
            if self.kind == 4:
                self._data(part)
            elif len(self.body) + take <= _NEGOTIATION_LIMIT:
                self.body += part
            if not self.left:
                if self.kind != 4:
                    self.associate(self.kind, bytes(self.body))
                self.head.clear()

    def _data(self, part: bytes) -> None:
        at = 0
        while at < len(part):
            if not self.pdv_left:
                take = min(6 - len(self.pdv_head), len(part) - at)
                self.pdv_head += part[at : at + take]
                at += take
                if len(self.pdv_head) < 6:
                    return
                length = struct.unpack_from(">I", self.pdv_head)[0]
                if length < 2:
                    self.broken = True
                    return
                self.pdv_left = length - 2
                if not self.pdv_left:
                    self.piece(self.pdv_head[4], self.pdv_head[5], b"", 0)
                    self.pdv_head.clear()
                continue
            take = min(self.pdv_left, len(part) - at)
            self.pdv_left -= take
            flags = self.pdv_head[5]
            last = flags & 2 if not self.pdv_left else 0
            self.piece(self.pdv_head[4], (flags & 1) | last, part[at : at + take], take)
            at += take
            if not self.pdv_left:
                self.pdv_head.clear()


class _Listening:
    """Both directions of one association, made into a `Conversation`."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.conversation = Conversation(self.now())
        self.proposed: dict[int, tuple[str, list[str]]] = {}
        self.accepted: dict[int, str] = {}
        self.open: dict[int, Message] = {}
        self.sending: Message | None = None
        self.client = _Pdus(self._from_client, lambda *args: self._piece("client", *args))
        self.server = _Pdus(self._from_server, lambda *args: self._piece("server", *args))
        self.commands: dict[str, bytearray] = {"client": bytearray(), "server": bytearray()}

    def now(self) -> float:
        return round(time.monotonic() - self.begun, 6)

    def _from_client(self, kind: int, body: bytes) -> None:
        if kind == 1:
            for number, abstract, syntaxes in _contexts(body, 0x20):
                self.proposed[number] = (abstract, syntaxes)
                self.conversation.contexts.append((abstract, syntaxes))
        elif kind == 7:
            self.conversation.end = "aborted"
        elif kind == 5 and self.conversation.end == "closed":
            self.conversation.end = "released"

    def _from_server(self, kind: int, body: bytes) -> None:
        if kind == 2:
            for number, _, syntaxes in _contexts(body, 0x21):
                if syntaxes:
                    self.accepted[number] = syntaxes[0]
        elif kind == 3:
            self.conversation.end = "rejected"
        elif kind == 7:
            self.conversation.end = "aborted"

    def _piece(self, side: str, context: int, flags: int, part: bytes, size: int) -> None:
        if not flags & 1:
            if side == "client" and self.sending is not None:
                self.sending.size += size
                if flags & 2:
                    self.sending = None
            return
        command = self.commands[side]
        if len(command) + size <= _COMMAND_LIMIT:
            command += part
        if flags & 2:
            elements = dict(_elements(bytes(command)))
            command.clear()
            self._command(side, context, elements)

    def _command(self, side: str, context: int, elements: dict[int, bytes]) -> None:
        field_ = _us(elements.get(0x0100))
        if field_ is None:
            return
        if side == "client" and not field_ & 0x8000:
            kind = KINDS.get(field_)
            number = _us(elements.get(0x0110))
            if kind is None or kind == "cancel" or number is None:
                return
            syntax = self.accepted.get(context, "")
            abstract = _ui(elements.get(0x0002) or elements.get(0x0003) or b"")
            request = Message(self.now(), kind, abstract, syntax)
            self.conversation.messages.append(request)
            self.open[number] = request
            if _us(elements.get(0x0800)) != 0x0101:
                self.sending = request
        elif side == "server" and field_ & 0x8000:
            number = _us(elements.get(0x0120))
            if number is None or (one := self.open.get(number)) is None:
                return
            one.responses += 1
            status = _us(elements.get(0x0900))
            if status not in (0xFF00, 0xFF01):
                one.status, one.seconds = status, round(self.now() - one.at, 6)
                del self.open[number]

    def done(self) -> Conversation:
        self.conversation.seconds = round(self.now() - self.conversation.at, 6)
        return self.conversation


def _contexts(body: bytes, kind: int) -> Iterator[tuple[int, str, list[str]]]:
    """Presentation contexts of an A-ASSOCIATE-RQ (0x20), accepted ones of an AC (0x21) (PS3.8 9.3.2.2, 9.3.3.2)."""
    for item, value in _items(body[68:]):
        if item != kind or len(value) < 4 or (kind == 0x21 and value[2] != 0):
            continue
        abstract, syntaxes = "", []
        for sub, text in _items(value[4:]):
            if sub == 0x30:
                abstract = _ui(text)
            elif sub == 0x40:
                syntaxes.append(_ui(text))
        yield value[0], abstract, syntaxes


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, length = data[at], struct.unpack_from(">H", data, at + 2)[0]
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    """(element number, value) of a command set: implicit VR little endian, group 0000 (PS3.7 6.3.1)."""
    at = 0
    while at + 8 <= len(command):
        group, element, length = struct.unpack_from("<HHI", command, at)
        if group != 0 or at + 8 + length > len(command):
            return
        yield element, command[at + 8 : at + 8 + length]
        at += 8 + length


def _us(value: bytes | None) -> int | None:
    return struct.unpack("<H", value)[0] if value is not None and len(value) == 2 else None


def _ui(value: bytes) -> str:
    text = value.rstrip(b"\0 ").decode("ascii", "replace")
    return text if text.replace(".", "").isdigit() else ""


class Recorder:
    """The proxy: `async with Recorder(target, "day.jsonl", port=11113):`; every association goes to `target`."""

    def __init__(
        self, target: str | Address, path: str | os.PathLike[str], *, port: int, host: str = "127.0.0.1"
    ) -> None:
        self.target = Address.parse(target)
        self.path = Path(path)
        self.host, self._port = host, port
        self.conversations = 0
        self.messages = 0
        self._begun = 0.0
        self._file: BinaryIO | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Recorder:
        self._file = open(self.path, "xb")  # noqa: SIM115, ASYNC230 - a recording is never overwritten
        self._file.write(json.dumps({"dicore recording": 1}).encode() + b"\n")
        self._begun = time.monotonic()
        self._server = await asyncio.start_server(self._serve, self.host, self._port, limit=1 << 18, backlog=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._file is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        listening = _Listening(self._begun)
        try:
            there, back = await asyncio.open_connection(self.target.host, self.target.port, limit=1 << 18)
        except OSError:
            writer.close()  # as the target would: nobody is there
            self._tasks.discard(task)
            return
        for stream in (writer, back):
            stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(
                _copy(reader, back, listening.client.feed), _copy(there, writer, listening.server.feed)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for stream in (writer, back):
                stream.close()
            self._tasks.discard(task)
            self._keep(listening.done())

    def _keep(self, conversation: Conversation) -> None:
        assert self._file is not None
        self.conversations += 1
        self.messages += len(conversation.messages)
        self._file.write(json.dumps(asdict(conversation), separators=(",", ":")).encode() + b"\n")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Callable[[bytes], None]) -> None:
    while data := await reader.read(1 << 18):
        hear(data)
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def record(
    target: str | Address,
    path: str | os.PathLike[str],
    *,
    port: int,
    host: str = "127.0.0.1",
    stop: asyncio.Event | None = None,
) -> tuple[int, int]:
    """Stand before `target` until `stop` is set. Returns (associations, messages). FileExistsError for an old file."""
    async with Recorder(target, path, port=port, host=host) as proxy:
        await (stop or asyncio.Event()).wait()
    return proxy.conversations, proxy.messages


def load(path: str | os.PathLike[str]) -> list[Conversation]:
    """A recording, by time. ValueError for a file that is none; a torn last line is left out."""
    found = []
    with open(path, "rb") as file:
        lines = iter(file)
        try:
            first: Any = json.loads(next(lines, b"{}"))
        except ValueError:
            first = None
        if not isinstance(first, dict) or first.get("dicore recording") != 1:
            raise ValueError(f"{os.fspath(path)} is not a dicore recording")
        for line in lines:
            if not line.endswith(b"\n"):
                break
            data = json.loads(line)
            data["messages"] = [Message(**one) for one in data["messages"]]
            data["contexts"] = [(one, syntaxes) for one, syntaxes in data["contexts"]]
            found.append(Conversation(**data))
    return sorted(found, key=lambda one: one.at)
