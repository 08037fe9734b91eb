"""DICOMweb operations: against Orthanc's plugin, and against a server that does wrong."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

from dicore import loadtest

pytest.importorskip("httpx2")

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
PLAN = """
duration = "{duration}"
ledger = "{ledger}"
web = "http://127.0.0.1:{http}/dicom-web"
{streams}
"""


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """(DICOM port, HTTP port) of an Orthanc with DICOMweb."""
    if shutil.which("Orthanc", path="/usr/sbin:/usr/bin") is None or not os.path.exists(PLUGIN):
        pytest.skip("orthanc and orthanc-dicomweb are needed")
    folder = tmp_path_factory.mktemp("orthanc")
    ports = []
    for _ in range(2):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    conf = folder / "orthanc.json"
    conf.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "DicomPort": ports[0],
                "HttpPort": ports[1], "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
                "DicomCheckCalledAet": False, "Plugins": [PLUGIN], "AuthenticationEnabled": False,
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            }
        )
    )  # fmt: skip
    process = subprocess.Popen(["/usr/sbin/Orthanc", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/system", timeout=5)
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield ports
    finally:
        process.terminate()
        process.wait(20)


def test_what_is_stored_by_stow_is_found_read_and_looked_for(orthanc):
    port, http = orthanc
    stow = '[[stream]]\nname = "stow"\noperation = "stow"\nusers = 1\ncount = 12\nmaterial = {size = 32, slices = 3}\n'
    text = PLAN.format(duration="30s", ledger="find", http=http, streams=stow)
    result = asyncio.run(loadtest.run(loadtest.parse(text), f"ORTHANC@127.0.0.1:{port}"))
    stream = result.streams[0]
    assert (stream.operations, stream.errors) == (12, 0), stream.failures
    assert (result.ledger.acknowledged, result.ledger.looked_for, result.ledger.missing) == (12, 12, [])
    assert len(stream.phases["connect"]) == 1  # kept alive
    assert len(stream.phases["first response"]) == len(stream.phases["transfer"]) == 12
    studies = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{http}/dicom-web/studies").read())
    assert len(studies) == 4

    wrong = '[[stream]]\nname = "n"\noperation = "wado"\nusers = 1\ncount = 2\nkeys = {StudyInstanceUID = "1.2"}\n'
    streams = (
        '[[stream]]\nname = "q"\noperation = "qido"\nusers = 1\ncount = 5\nkeys = {StudyInstanceUID = ""}\n'
        '[[stream]]\nname = "w"\noperation = "wado"\nusers = 2\ncount = 8\nassociation = "image"\n' + wrong
    )
    text = PLAN.format(duration="30s", ledger="off", http=http, streams=streams)
    result = asyncio.run(loadtest.run(loadtest.parse(text), f"ORTHANC@127.0.0.1:{port}"))
    qido, wado, nothing = (result.stream(name) for name in "qwn")
    assert (qido.operations, qido.errors, wado.operations, wado.errors) == (5, 0, 8, 0)
    assert qido.size > 5 * 100
    assert wado.size > 8 * 3 * 2048
    assert len(wado.phases["connect"]) == 8  # anew each time
    assert [(f.kind, f.detail[:3], f.count) for f in nothing.failures] == [("HTTP status", "404", 2)]


def answering(reply):
    """Run a WADO stream of three against a server that gives `reply`."""

    async def main():
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            http = server.sockets[0].getsockname()[1]
            stream = '[[stream]]\nname = "s"\noperation = "wado"\nusers = 1\ncount = 3\ntimeout = "500ms"\n'
            stream += 'keys = {StudyInstanceUID = "1.2"}\n'
            text = PLAN.format(duration="20s", ledger="off", http=http, streams=stream)
            return (await loadtest.run(loadtest.parse(text), "X@127.0.0.1:1")).streams[0]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", ("HTTP status", "503 Service Unavailable")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", ("connection", "peer closed connection")),
        (b"garbage\r\n\r\n", ("connection", "")),
    ],
)
def test_what_a_bad_server_does_is_counted_by_its_kind(reply, failure):
    stream = answering(reply)
    assert (stream.operations, stream.errors) == (3, 3)
    (found,) = stream.failures
    assert found.kind == failure[0]
    assert found.detail.startswith(failure[1])


def test_a_server_that_says_nothing_is_a_time_out():
    async def main():
        async def serve(reader, writer):
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            http = server.sockets[0].getsockname()[1]
            stream = '[[stream]]\nname = "s"\noperation = "qido"\nusers = 1\ncount = 1\ntimeout = "300ms"\n'
            text = PLAN.format(duration="20s", ledger="off", http=http, streams=stream)
            return (await loadtest.run(loadtest.parse(text), "X@127.0.0.1:1")).streams[0]

    stream = asyncio.run(main())
    assert [(f.kind, f.detail) for f in stream.failures] == [("time-out", "read")]


def test_web_operations_need_a_service():
    stream = '[[stream]]\nname = "s"\noperation = "qido"\nusers = 1\n'
    with pytest.raises(loadtest.ScenarioError, match="need web"):
        loadtest.parse(stream)
    assert loadtest.parse(stream, web="http://h/d").web == "http://h/d"
