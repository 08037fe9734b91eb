"""What the tests of `dicore.net` share: a sink that remembers, files, a connection without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import wire
from dicore.net import StoreRequest

CT, MR, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
JPEG_LS = "1.2.840.10008.1.2.4.80"


class Memory:
    """A sink that keeps everything, and tells what was called."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.stored: dict[str, bytes] = {}
        self.requests: list[StoreRequest] = []
        self.calls: list[str] = []
        self.largest_write = 0

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> Any:
        self.calls.append("store")
        self.requests.append(request)
        self.stored[request.sop_instance_uid] = b"".join(pieces)
        return self.status

    def begin(self, request: StoreRequest) -> Any:
        self.calls.append("begin")
        return request, bytearray()

    def write(self, handle: Any, pieces: Sequence[memoryview]) -> Any:
        self.calls.append("write")
        self.largest_write = max(self.largest_write, sum(map(len, pieces)))
        handle[1].extend(b"".join(pieces))

    def commit(self, handle: Any) -> Any:
        self.calls.append("commit")
        self.requests.append(handle[0])
        self.stored[handle[0].sop_instance_uid] = bytes(handle[1])
        return self.status

    def abort(self, handle: Any) -> None:
        self.calls.append("abort")


def part10(instance: str, data: bytes, *, sop_class: str = CT, syntax: str = wire.EXPLICIT) -> bytes:
    """A file around a data set."""
    meta = (
        wire.explicit(0x00020001, "OB", b"\0\1")
        + wire.explicit(0x00020002, "UI", wire.uid(sop_class))
        + wire.explicit(0x00020003, "UI", wire.uid(instance))
        + wire.explicit(0x00020010, "UI", wire.uid(syntax))
        + wire.explicit(0x00020012, "UI", wire.uid("1.2.3.4"))
    )
    return bytes(128) + b"DICM" + wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little")) + meta + data


def ct(number: int, size: int = 600) -> tuple[str, bytes]:
    """UID and data set of a CT image of about `size` bytes, whose every byte tells where it belongs."""
    instance = wire.instance_uid(number)
    head = wire.ct_data_set(instance, side=1)[:-14]
    fill = b"".join(((number * 7919 + i * 31) & 0xFFFF).to_bytes(2, "little") for i in range(997))
    pixels = (fill * (size // len(fill) + 1))[: size // 2 * 2]
    return instance, head + wire.explicit(0x7FE00010, "OW", pixels)


def encapsulated(number: int, sop_class: str = CT) -> tuple[str, bytes]:
    """UID and data set of an instance in a compressed syntax, the frame of which nobody looks at."""
    instance = wire.instance_uid(number)
    head = wire.explicit(0x00080016, "UI", wire.uid(sop_class)) + wire.explicit(0x00080018, "UI", wire.uid(instance))
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0"
    return instance, head + pixels + b"\xfe\xff\x00\xe0\x04\0\0\0abcd" + b"\xfe\xff\xdd\xe0\0\0\0\0"


def write_files(folder: Path, count: int, size: int = 600, first: int = 0) -> dict[str, bytes]:
    """`count` CT files; {SOP Instance UID: data set}."""
    made = {}
    for number in range(first, first + count):
        instance, data = ct(number, size)
        (folder / f"{number:05d}.dcm").write_bytes(part10(instance, data))
        made[instance] = data
    return made


def descriptors() -> int:
    """Open files and sockets; without /dev/null, which libuv opens at its first accept and keeps."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            count += os.readlink(f"/proc/self/fd/{name}") != "/dev/null"
    return count


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Let the loop turn until the condition holds; the test's own timeout ends it otherwise."""
    while not condition():  # noqa: ASYNC110 the conditions are those of sockets and counters, which set no event
        await asyncio.sleep(0.002)


class Wire:
    """A transport without a socket: what is written to it is in `sent`."""

    def __init__(self, peer: tuple[str, int] = ("127.0.0.1", 4711)) -> None:
        self.peer = peer
        self.sent = bytearray()
        self.reading, self.closed, self.aborted = True, False, False

    def get_extra_info(self, name: str) -> Any:
        return {"peername": self.peer, "sslcontext": "so that there is no descriptor to write to"}.get(name)

    def write(self, data: bytes) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def pdus(self) -> list[wire.Pdu]:
        found, at = [], 0
        while at < len(self.sent):
            size = int.from_bytes(self.sent[at + 2 : at + 6])
            found.append(wire.Pdu(self.sent[at], bytes(self.sent[at + 6 : at + 6 + size])))
            at += 6 + size
        return found


def feed(protocol: Any, data: bytes, step: int | Sequence[int] = 1 << 30) -> None:
    """Hand `data` to a protocol as reads of `step` bytes (in turn, of a sequence)."""
    sizes = [step] if isinstance(step, int) else list(step)
    at = turn = 0
    while at < len(data):
        room = memoryview(protocol.get_buffer(-1))
        piece = data[at : at + min(sizes[turn % len(sizes)], len(room))]
        room[: len(piece)] = piece
        room.release()
        protocol.buffer_updated(len(piece))
        at += len(piece)
        turn += 1
