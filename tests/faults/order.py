"""Reads a trace of `strace -f -y -xx` and proves the order of a durable server: no C-STORE success leaves before the
bytes that it acknowledges are on the disk.

`Trace.read(path)` gives the system calls with the moments they began and ended (one tracer sees them all, and a call is
stopped at its entry, so these moments are in order over all threads). What is written or synced unseen, by a map or a
ring, could only make the check fail: a success needs a write and a sync that it saw. `check(trace, sent)` returns what
it found wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import wire

WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
SENDS = ("write", "writev", "sendto", "sendmsg")
SYNCS = ("fdatasync", "fsync")
CALLS = ",".join(sorted({*WRITES, *SENDS, *SYNCS, "openat"}))
OPTIONS = ["-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none"]

_LINE = re.compile(r"(\d+) +(.*)", re.S)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.S)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<((?:\\x[0-9a-f]{2})+)>)?", re.S)
_DESCRIPTOR = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})+)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


def _decode(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass(frozen=True)
class Call:
    name: str
    began: int  # the trace's line at its entry
    ended: int  # and at its exit
    arguments: str
    result: int

    @property
    def path(self) -> str:
        """What its first descriptor is: a path, or 'socket:[inode]'."""
        found = _DESCRIPTOR.match(self.arguments)
        return _decode(found[2]).decode(errors="replace") if found else ""

    @property
    def is_sync(self) -> bool:
        return self.name in SYNCS or "RWF_DSYNC" in self.arguments or "RWF_SYNC" in self.arguments

    @property
    def data(self) -> bytes:
        """The bytes that it wrote, all pieces joined."""
        pieces = _TEXT.findall(self.arguments)
        if any(cut for _, cut in pieces):
            raise AssertionError(f"{self.name} at line {self.began} is not whole in the trace")
        return b"".join(_decode(text) for text, _ in pieces)[: max(self.result, 0)]


@dataclass
class Trace:
    calls: list[Call]

    @classmethod
    def read(cls, path: Path) -> Trace:
        calls: list[Call] = []
        under_way: dict[str, tuple[int, str]] = {}
        with open(path) as lines:
            for number, line in enumerate(lines):
                found = _LINE.match(line)
                if not found:
                    continue
                process, text = found[1], found[2].rstrip("\n")
                began = number
                if text.endswith("<unfinished ...>"):
                    under_way[process] = (number, text.removesuffix("<unfinished ...>").rstrip())
                    continue
                if resumed := _RESUMED.match(text):
                    began, head = under_way.pop(process, (number, resumed[1] + "("))
                    text = head + resumed[2]
                if call := _CALL.match(text):
                    calls.append(Call(call[1], began, number, call[2], int(call[3])))
        return cls(calls)

    def named(self, *names: str) -> Iterator[Call]:
        return (call for call in self.calls if call.name in names)


@dataclass
class Response:
    instance: str
    status: int
    left: int  # the moment its first byte was on its way


def responses(trace: Trace) -> list[Response]:
    """Every C-STORE-RSP that left, over all sockets."""
    streams: dict[str, tuple[bytearray, list[tuple[int, int]]]] = {}  # path: bytes, (end in them, moment)
    for call in trace.named(*SENDS):
        if call.path.startswith("socket:") and call.result > 0:
            data, moments = streams.setdefault(call.path, (bytearray(), []))
            data += call.data
            moments.append((len(data), call.began))
    found = []
    for data, moments in streams.values():
        at = 0
        while at + 6 <= len(data):
            size = int.from_bytes(data[at + 2 : at + 6])
            if data[at] == wire.DATA:
                command = wire.parse_command(bytes(data[at + 12 : at + 6 + size]))
                if command.get(0x00000100) == b"\x01\x80":
                    instance = command[0x00001000].rstrip(b"\0").decode()
                    left = next(moment for end, moment in moments if end > at)
                    found.append(Response(instance, int.from_bytes(command[0x00000900], "little"), left))
            at += 6 + size
    return sorted(found, key=lambda r: r.left)


@dataclass
class Findings:
    successes: int = 0
    failures: int = 0
    syncs: int = 0
    wrong: list[str] = field(default_factory=list)


def check(trace: Trace, sent: Mapping[str, bytes], segments: Path) -> Findings:
    """`sent`: SOP Instance UID -> data set. Every success must be behind a sync that covers the whole data set."""
    found = Findings()
    inside = str(segments.resolve())
    opened: dict[str, str] = {}  # file: flags of its last open
    writes: dict[str, list[tuple[Call, bool]]] = {}  # instance: writes of its whole data set, durable by themselves?
    created: dict[str, int] = {}
    for call in trace.calls:
        if (
            call.name == "openat"
            and call.result >= 0
            and (path := re.search(r'"((?:\\x[0-9a-f]{2})*)"', call.arguments))
        ):
            name = _decode(path[1]).decode(errors="replace")
            opened[Path(name).name] = call.arguments
            if "O_CREAT" in call.arguments and name.endswith(".seg"):
                created[Path(name).name] = call.ended
        if call.name not in WRITES or not call.path.startswith(inside) or call.result <= 0:
            continue
        data = call.data
        if not data.strip(b"\0"):
            continue  # zero-filling ahead
        flags = opened.get(Path(call.path).name, "")
        durable = (
            "RWF_DSYNC" in call.arguments or "RWF_SYNC" in call.arguments or "O_DSYNC" in flags or "O_SYNC" in flags
        )
        for instance, data_set in sent.items():
            if data_set in data:
                writes.setdefault(instance, []).append((call, durable))
    syncs = [call for call in trace.named(*SYNCS) if call.result == 0]
    found.syncs = sum(call.path.startswith(inside) for call in syncs)
    found.syncs += len({call.began for of in writes.values() for call, durable in of if durable})
    for answer in responses(trace):
        if answer.status != 0:
            found.failures += 1
            continue
        found.successes += 1
        mine = writes.get(answer.instance, [])
        if not mine:
            found.wrong.append(f"{answer.instance}: success at {answer.left}, its bytes were never written whole")
            continue
        covered = [
            write
            for write, durable in mine
            if (durable and write.ended < answer.left)
            or any(s.path == write.path and s.began > write.ended and s.ended < answer.left for s in syncs)
        ]
        if not covered:
            times = ", ".join(f"{w.began}-{w.ended}" for w, _ in mine)
            found.wrong.append(
                f"{answer.instance}: success left at {answer.left}, written at {times}, synced later or never"
            )
            continue
        for write in covered:  # a new file is only there after a power cut when its folder was synced
            name = Path(write.path).name
            if name in created and not any(
                s.path == inside and s.began > created[name] and s.ended < answer.left for s in syncs
            ):
                found.wrong.append(
                    f"{answer.instance}: success left at {answer.left}, the folder of {name} was not synced"
                )
    return found
