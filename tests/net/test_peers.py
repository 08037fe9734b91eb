"""DCMTK and pynetdicom on the other side, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netcommon import CT, Memory, ct, part10, until, write_files

from conftest import free_port
from dicore.errors import AssociationRejected
from dicore.net import connect, listen, send


async def call(*command: object, nagle: bool = False) -> str:
    env = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | ({} if nagle else {"TCP_NODELAY": "1"})
    done = await asyncio.to_thread(
        subprocess.run, [str(one) for one in command], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


@pytest.mark.parametrize("tool", ["dcmsend", "storescu"])
@pytest.mark.parametrize("nagle", [False, True])
def test_dcmtk_sends_to_us(run: Any, tmp_path: Path, dcmtk: str, tool: str, nagle: bool) -> None:
    made = write_files(tmp_path, 10, 40_000)

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            await call("echoscu", "-aec", "DICORE", "127.0.0.1", scp.port, nagle=nagle)
            files = [tmp_path / f"{number:05d}.dcm" for number in range(10)]
            await call(tool, "-aec", "DICORE", "127.0.0.1", scp.port, *files, nagle=nagle)
            assert scp.counters["echoes"] == 1
            assert scp.counters["aborted_by_peer"] == scp.counters["violations"] == 0
        assert {one: data[-40_000:] for one, data in sink.stored.items()} == {
            one: data[-40_000:] for one, data in made.items()
        }
        assert sink.requests[0].calling_ae == tool.upper()

    run(main())


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        ["storescp", "--bit-preserving", "-aet", "STORE", "-od", str(folder), str(port)],
        env=os.environ | {"TCP_NODELAY": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


async def listening(port: int) -> None:
    while True:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
        except OSError:
            await asyncio.sleep(0.02)
        else:
            return


def test_we_send_to_storescp(run: Any, tmp_path: Path, dcmtk: str) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    made = write_files(here, 10, 40_000)

    async def main() -> None:
        with storescp(there) as port:
            await listening(port)
            async with connect(f"STORE@127.0.0.1:{port}") as assoc:
                assert await assoc.c_echo() == 0
                assert await assoc.c_store(part10(*ct(77, 9_000_000))) == 0
            report = await send(here, to=f"STORE@127.0.0.1:{port}")
            assert (report.sent, report.failed) == (10, 0)

    run(main())
    written = {path.name.partition(".")[2]: path.read_bytes() for path in there.iterdir()}
    assert written.keys() == made.keys() | {ct(77)[0]}
    for instance, data in made.items():
        assert written[instance].endswith(data)


@contextlib.contextmanager
def pynetdicom_scp() -> Iterator[tuple[int, dict[str, bytes]]]:
    from pynetdicom import AE, evt

    got: dict[str, bytes] = {}
    lock = threading.Lock()

    def store(event: Any) -> int:
        with lock:
            got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    entity = AE(ae_title="PYNET")
    entity.add_supported_context("1.2.840.10008.1.1")
    entity.add_supported_context(CT)
    entity.require_called_aet = True
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()


def test_we_send_to_pynetdicom(run: Any, tmp_path: Path) -> None:
    made = write_files(tmp_path, 6, 100_000)

    async def main() -> None:
        with pynetdicom_scp() as (port, got):
            async with connect(f"PYNET@127.0.0.1:{port}") as assoc:
                assert await assoc.c_echo() == 0
            report = await send(tmp_path, to=f"PYNET@127.0.0.1:{port}", associations=2)
            assert (report.sent, report.failed) == (6, 0)
            assert got == made
            with pytest.raises(AssociationRejected, match="called AE title"):
                await connect(f"NOBODY@127.0.0.1:{port}")

    run(main())


def test_pynetdicom_sends_to_us(run: Any) -> None:
    import io

    import pydicom
    from pynetdicom import AE

    def talk(port: int) -> list[int]:
        entity = AE(ae_title="PYNET")
        entity.add_requested_context("1.2.840.10008.1.1")
        entity.add_requested_context(CT, "1.2.840.10008.1.2.1")
        assoc = entity.associate("127.0.0.1", port, ae_title="DICORE")
        assert assoc.is_established
        statuses = [assoc.send_c_echo().Status]
        for number in range(3):
            dataset = pydicom.dcmread(io.BytesIO(part10(*ct(number, 50_000))))
            statuses.append(assoc.send_c_store(dataset).Status)
        assoc.release()
        return statuses

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            assert await asyncio.to_thread(talk, scp.port) == [0, 0, 0, 0]
            await until(lambda: scp.counters["released"] == 1)
        assert sink.stored == dict(ct(number, 50_000) for number in range(3))

    run(main())
