"""Archives to query and retrieve from, each filled with the same files: dcmqrscp, Orthanc, `dicore serve`; and a client
of socket calls for C-FIND that costs all of them the same."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.peers import Server

STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DESTINATION = "SINK"


class Archive(Server):
    """A server that has been given files before it is measured. `destinations`: {AE title: port} for C-MOVE."""

    def __init__(
        self, folder: Path, files: Sequence[Path] = (), destinations: Mapping[str, int] = {}, again: bool = False
    ) -> None:
        self.files, self.destinations, self.again = files, dict(destinations), again
        super().__init__(folder)
        self.fill()

    def fill(self) -> None:
        """After it is started: send everything."""
        for at in range(0, len(self.files), 1000):
            names = list(map(str, self.files[at : at + 1000]))
            command = ["dcmsend", "-aec", self.ae_title, "--decompress-never", "127.0.0.1", str(self.port), *names]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TCP_NODELAY": "1"})

    def received(self) -> Iterator[bytes]:
        return iter(())


class DcmQRSCP(Archive):
    name = "dcmqrscp"

    def command(self) -> Sequence[str]:
        area = self.folder / "area"
        area.mkdir()
        config = self.folder / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            + "HostTable BEGIN\n"
            + "".join(f"{one.lower()} = ({one}, 127.0.0.1, {port})\n" for one, port in self.destinations.items())
            + "HostTable END\nVendorTable BEGIN\nVendorTable END\n"
            + f"AETable BEGIN\n{self.ae_title} {area} RW (1000, 4096mb) ANY\nAETable END\n"
        )
        return ["dcmqrscp", "-c", str(config)]


class Orthanc(Archive):
    name = "Orthanc"

    def command(self) -> Sequence[str]:
        config = self.folder / "orthanc.json"
        config.write_text(
            json.dumps(
                {
                    "Name": "bench", "StorageDirectory": str(self.folder / "db"),
                    "IndexDirectory": str(self.folder / "db"),
                    "HttpServerEnabled": False, "DicomServerEnabled": True, "DicomAet": self.ae_title,
                    "DicomPort": self.port, "DicomCheckCalledAet": False, "DicomAlwaysAllowEcho": True,
                    "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True,
                    "DicomAlwaysAllowMove": True, "MaximumPduLength": 131072,
                    "DicomModalities": {
                        one.lower(): [one, "127.0.0.1", port] for one, port in self.destinations.items()
                    },
                    "Plugins": [], "StableAge": 3600,
                }
            )
        )  # fmt: skip
        return ["Orthanc", str(config)]

    @staticmethod
    def installed() -> bool:
        return shutil.which("Orthanc") is not None


class DicoreArchive(Archive):
    name = "dicore serve"

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "dicore", "serve", str(self.folder / "store"), "--port", str(self.port)),
            *("--ae-title", self.ae_title),
            *(word for one, port in self.destinations.items() for word in ("--destination", f"{one}=127.0.0.1:{port}")),
        ]


# ---- the client ------------------------------------------------------------------------------------------------------


def element(group: int, number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", group, number, len(value)) + value


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, 0, struct.pack("<I", len(body))) + body


def pdata(context: int, command: bytes, data: bytes = b"") -> bytes:
    pdvs = struct.pack(">IBB", len(command) + 2, context, 3) + command
    if data:
        pdvs += struct.pack(">IBB", len(data) + 2, context, 2) + data
    return struct.pack(">BBI", 4, 0, len(pdvs)) + pdvs


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


class Client:
    """One association; lock-step."""

    def __init__(self, port: int, contexts: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb", 1 << 20)
        body = struct.pack(">HH16s16s32x", 1, 0, Server.ae_title.encode().ljust(16), b"BENCH".ljust(16))
        body += item(0x10, b"1.2.840.10008.3.1.1.1")
        for number, (sop_class, syntaxes) in enumerate(contexts):
            inner = struct.pack(">B3x", 2 * number + 1) + item(0x30, sop_class.encode())
            body += item(0x20, inner + b"".join(item(0x40, one.encode()) for one in syntaxes))
        user = item(0x51, struct.pack(">I", 1 << 18)) + item(0x52, b"1.2.826.0.1.3680043.10.1338.9")
        body += item(0x50, user)
        self.socket.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
        kind, answer = self._pdu()
        if kind != 2:
            raise RuntimeError(f"the association was not accepted (PDU {kind})")
        self.accepted: dict[str, int] = {}
        at = 68
        while at + 4 <= len(answer):
            kind, size = answer[at], int.from_bytes(answer[at + 2 : at + 4], "big")
            if kind == 0x21 and answer[at + 6] == 0:
                self.accepted[contexts[(answer[at + 4] - 1) // 2][0]] = answer[at + 4]
            at += 4 + size
        self._message = 0

    def _pdu(self) -> tuple[int, bytes]:
        head = self._file.read(6)
        if len(head) < 6:
            raise RuntimeError("the connection was closed")
        return head[0], self._file.read(int.from_bytes(head[2:], "big"))

    def message(self) -> tuple[int, dict[int, bytes], list[bytes]]:
        """(context, command elements, pieces of the data set)."""
        command, pieces, context = b"", [], 0
        fields: dict[int, bytes] | None = None
        while True:
            kind, body = self._pdu()
            if kind != 4:
                raise RuntimeError(f"PDU {kind} where data was expected")
            at, view = 0, memoryview(body)
            while at < len(body):
                size, context, flags = struct.unpack_from(">IBB", body, at)
                piece = view[at + 6 : at + 4 + size]
                at += 4 + size
                if flags & 1:
                    command += piece
                    if flags & 2:
                        fields = parse(command)
                        if fields[0x0800] == b"\1\1":
                            return context, fields, []
                else:
                    pieces.append(piece)
                    if flags & 2:
                        assert fields is not None
                        return context, fields, pieces

    def request(self, field: int, sop_class: str, identifier: bytes) -> None:
        self._message = self._message % 0xFFFF + 1
        elements = [
            element(0, 2, sop_class.encode()), element(0, 0x100, struct.pack("<H", field)),
            element(0, 0x110, struct.pack("<H", self._message)),
        ]  # fmt: skip
        elements += [element(0, 0x700, b"\0\0"), element(0, 0x800, b"\0\0")]
        self.socket.sendall(pdata(self.accepted[sop_class], command_set(*elements), identifier))

    def find(self, identifier: bytes) -> list[bytes]:
        """The identifiers of all matches."""
        self.request(0x20, STUDY_FIND, identifier)
        found = []
        while True:
            _, fields, pieces = self.message()
            status = int.from_bytes(fields[0x0900], "little")
            if status not in (0xFF00, 0xFF01):
                if status:
                    raise RuntimeError(f"C-FIND ended with {status:04X}")
                return found
            found.append(b"".join(pieces))

    def close(self) -> None:
        self.socket.sendall(b"\5\0\0\0\0\4\0\0\0\0")
        self._pdu()
        self._file.close()
        self.socket.close()


def parse(command: bytes) -> dict[int, bytes]:
    fields, at = {}, 0
    while at < len(command):
        _, number, size = struct.unpack_from("<HHI", command, at)
        fields[number] = bytes(command[at + 8 : at + 8 + size])
        at += 8 + size
    return fields
