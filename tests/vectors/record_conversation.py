"""A conversation between dicore and DCMTK's dcmqrscp, byte by byte: what each side said on one association.

    python tests/vectors/record_conversation.py

writes csrc/tests/recorded/requestor (dicore) and acceptor (dcmqrscp), which csrc/tests/test_conversation.c cuts and
feeds to our core in both roles: an association with every kind of user information, C-ECHO, C-STORE of three instances,
C-FIND with twenty answers, one that is cancelled, C-GET of three instances, release.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dicore
from dicore.net import Identity

OUT = Path(__file__).resolve().parents[2] / "csrc" / "tests" / "recorded"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
MODELS = {"find": "1.2.840.10008.5.1.4.1.2.2.1", "get": "1.2.840.10008.5.1.4.1.2.2.3"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def instance(study: int, number: int) -> dicore.Dataset:
    return dicore.new(
        "CT Image Storage",
        SOPInstanceUID=f"1.2.{study}.1.{number}",
        StudyInstanceUID=f"1.2.{study}",
        SeriesInstanceUID=f"1.2.{study}.1",
        PatientID=f"P{study}",
        PatientName="RECORDED^CONVERSATION",
        StudyID="1",
        SeriesNumber=1,
        InstanceNumber=number,
        Modality="CT",
        Rows=4,
        Columns=4,
        BitsAllocated=16,
        PixelData=bytes(range(32)),
    )


class Recorder:
    """Between the two: hands on what they say, and keeps it."""

    def __init__(self, port: int) -> None:
        self.port, self.requestor, self.acceptor = port, bytearray(), bytearray()
        self.over = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.port)

        async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, kept: bytearray) -> None:
            while data := await source.read(65536):
                kept += data
                to.write(data)
                await to.drain()
            with contextlib.suppress(OSError):
                to.write_eof()

        await asyncio.gather(pass_on(reader, ours, self.requestor), pass_on(theirs, writer, self.acceptor))
        writer.close()
        ours.close()
        self.over.set()


async def talk(port: int) -> Recorder:
    contexts: list[Any] = [(one, [IMPLICIT]) for one in ("1.2.840.10008.1.1", CT, *MODELS.values())]
    async with dicore.connect(f"QR@127.0.0.1:{port}", contexts=contexts) as assoc:
        for study in range(1, 21):
            await assoc.c_store(instance(study, 1))
    recorder = Recorder(port)
    server = await asyncio.start_server(recorder, "127.0.0.1", 0)
    through = server.sockets[0].getsockname()[1]
    async with dicore.connect(
        f"QR@127.0.0.1:{through}",
        contexts=contexts,
        receive=True,
        window=4,
        extended={MODELS["find"]: b"\1\0\0\0"},
        identity=Identity.user("recorder"),
    ) as assoc:
        await assoc.c_echo()
        for number in (1, 2, 3):
            await assoc.c_store(instance(99, number))
        found = [ds async for ds in assoc.c_find(level="STUDY", PatientID="P*", returns=False, StudyInstanceUID="")]
        assert len(found) == 21, len(found)
        answers = assoc.c_find(level="STUDY", PatientID="P*", returns=False, StudyInstanceUID="")
        first = asyncio.ensure_future(anext(answers, None))
        while answers._responses is None:  # noqa: ASYNC110 the request is out after a turn or two
            await asyncio.sleep(0)
        answers.cancel()
        await first
        await answers.aclose()
        assert len([ds async for ds in assoc.c_get(level="STUDY", StudyInstanceUID="1.2.99")]) == 3
    await recorder.over.wait()
    server.close()
    return recorder


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "db").mkdir()
        (folder / "qr.cfg").write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nQR {folder / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
        )
        with subprocess.Popen(["dcmqrscp", "-c", "qr.cfg"], cwd=folder) as server:
            try:
                while True:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                        break
                    time.sleep(0.05)
                recorder = asyncio.run(talk(port))
            finally:
                server.terminate()
    OUT.mkdir(exist_ok=True)
    (OUT / "requestor").write_bytes(recorder.requestor)
    (OUT / "acceptor").write_bytes(recorder.acceptor)
    print(
        f"{len(recorder.requestor)} bytes of the requestor, {len(recorder.acceptor)} of the acceptor", file=sys.stderr
    )


if __name__ == "__main__":
    main()
