"""--wire with DCMTK and pynetdicom at the other end, in both roles: tshark finds nothing wrong in the captures."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dicore
from captures import ends, said
from conftest import Serving, dicore_cli, free_port
from dicore import synth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    for number, instance in enumerate(synth.studies(5, 1, slices=4, size=128)):
        (made / f"{number}.dcm").write_bytes(instance.data)
    return made


@pytest.fixture
def storescp(dcmtk: str, tmp_path: Path) -> Iterator[int]:
    port, out = free_port(), tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        ["storescp", "-od", str(out), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.parametrize("driver", ["engine", "asyncio"])
def test_dcmtk_calls_us(dcmtk: str, serve: Serving, folder: Path, tmp_path: Path, driver: str) -> None:
    path = tmp_path / "wire.pcapng"
    serve.driver = driver
    server = serve(None, "--durability", "relaxed", "--wire", str(path))
    there = ["-aec", "DICORE", "127.0.0.1", str(server.port)]
    for command in (
        ["echoscu", *there],
        ["storescu", *there, *map(str, sorted(folder.iterdir()))],
        ["dcmsend", *there, *map(str, sorted(folder.iterdir()))],
        ["findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID", *there],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert server.stop() == 0
    text = said(path, server.port)
    assert text.count("A-ASSOCIATE request") == text.count("A-ASSOCIATE accept") == 4
    assert text.count("C-STORE-RQ") == text.count("C-STORE-RSP") == 8
    assert "C-ECHO-RSP" in text
    assert "C-FIND-RSP" in text
    assert text.count("A-RELEASE response") == 4
    assert set(ends(path, server.port)) <= {"FIN+FIN", "RST"}


def test_we_call_dcmtk(storescp: int, folder: Path, tmp_path: Path) -> None:
    for number, command in enumerate(
        (["echo", f"X@127.0.0.1:{storescp}"], ["send", folder, "--to", f"X@127.0.0.1:{storescp}"])
    ):
        path = tmp_path / f"{number}.pcapng"
        dicore_cli(*command, "--wire", path)
        text = said(path, storescp)
        assert text.count("A-ASSOCIATE accept") == 1
        assert text.count("C-STORE-RSP") == (4 if number else 0)
        assert text.count("C-ECHO-RSP") == (0 if number else 1)
        assert ends(path, storescp) == ["FIN+FIN"]


def test_find_get_and_move_write_down_what_they_ask(serve: Serving, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "wire.pcapng"
    server = serve(None, "--durability", "relaxed")
    dicore_cli("send", folder, "--to", server.address)
    for command, wanted in (
        (["find", server.address, "-k", "PatientID"], "C-FIND-RSP"),
        (
            ["get", server.address, "-k", "PatientID", "--level", "PATIENT", "-m", "patient", "-o", tmp_path / "got"],
            "C-GET-R",
        ),
        (["move", server.address, "-k", "PatientID", "-d", "NOBODY"], "C-MOVE-R"),
        (["echo", server.address, "--probe"], "C-ECHO-RSP"),
    ):
        dicore_cli(*command, "--wire", path, check=False)
        assert wanted in said(path, server.port)


@pytest.mark.parametrize("driver", ["engine", "asyncio"])
def test_pynetdicom_in_both_roles(run: Callable[..., Any], folder: Path, tmp_path: Path, driver: Any) -> None:
    import pydicom
    from pynetdicom import AE, evt

    data = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]

    def call(port: int) -> None:
        ae = AE("THEM")
        ae.add_requested_context("1.2.840.10008.1.1")
        ae.add_requested_context(data[0].SOPClassUID, data[0].file_meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        assert association.send_c_echo().Status == 0
        for one in data:
            assert association.send_c_store(one).Status == 0
        association.release()

    async def main() -> None:
        import asyncio

        with dicore.Store(tmp_path / "store", durability="relaxed") as store:
            async with dicore.serve(store, port=0, driver=driver, wire=tmp_path / "called.pcapng") as server:
                await asyncio.to_thread(call, server.port)
                port = server.port
        text = await asyncio.to_thread(said, tmp_path / "called.pcapng", port)
        assert text.count("C-STORE-RSP") == len(data)
        assert "C-ECHO-RSP" in text
        ae = AE("SCP")
        ae.add_supported_context(data[0].SOPClassUID, [data[0].file_meta.TransferSyntaxUID])
        scp = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
        try:
            port = scp.server_address[1]
            report = await dicore.send([folder], to=f"SCP@127.0.0.1:{port}", wire=tmp_path / "calling.pcapng")
            assert (report.sent, report.failed) == (len(data), 0)
        finally:
            scp.shutdown()
        assert (await asyncio.to_thread(said, tmp_path / "calling.pcapng", port)).count("C-STORE-RSP") == len(data)

    run(main())
