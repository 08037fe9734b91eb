"""DCMTK and pynetdicom against dicore, in both directions: what arrives is what was sent, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UncompressedTransferSyntaxes, generate_uid

import dicore
from conftest import Serving, dicore_cli, free_port

# ship inside pydicom's wheel: uncompressed of all three kinds, and compressed ones
NAMES = ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "rtplan.dcm"]
COPIES = 12


def data_set(part10: bytes | memoryview) -> bytes:
    """The bytes after the file meta group."""
    data = bytes(part10)
    assert data[128:132] == b"DICM"
    return data[144 + int.from_bytes(data[140:144], "little") :]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SOP Instance UID: file. Several instances of each kind, one larger than a streaming receiver keeps whole."""
    folder = tmp_path_factory.mktemp("files")
    found: dict[str, Path] = {}
    for name in NAMES:
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        for number in range(COPIES):
            ds = pydicom.dcmread(path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name, str(number)])
            if name == "CT_small.dcm" and number == 0:
                ds.Rows = ds.Columns = 2200
                ds.PixelData = bytes(range(256)) * (2200 * 2200 * 2 // 256)
            at = folder / f"{name}-{number}.dcm"
            ds.save_as(at, enforce_file_format=True)
            found[str(ds.SOPInstanceUID)] = at
    assert len(found) >= 3 * COPIES
    return found


def environment(*, nagle: bool) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
    return plain if nagle else plain | {"TCP_NODELAY": "1"}


def call(*command: str | Path, nagle: bool = False) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment(nagle=nagle), timeout=110
    )
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def in_store(store: Path) -> dict[str, bytes]:
    with dicore.Store(store, read_only=True) as opened:
        return {uid: data_set(opened.record(uid)) for uid in opened}


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """A running `storescp --bit-preserving`; its port."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = ["storescp", "-aet", "STORESCP", "--bit-preserving", "+xa", *options, "-od", str(folder), str(port)]
    process = subprocess.Popen(
        command, env=environment(nagle=False), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def in_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        found[str(pydicom.filereader.read_file_meta_info(path).MediaStorageSOPInstanceUID)] = data_set(data)
    return found


@pytest.fixture(scope="module")
def as_dcmsend_sends(dcmtk: str, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What storescp keeps of `files`: dcmsend may re-encode lengths, to every receiver alike."""
    folder = tmp_path_factory.mktemp("reference")
    with storescp(folder) as port:
        call("dcmsend", "-aec", "STORESCP", "--decompress-never", "127.0.0.1", str(port), *files.values())
    return in_folder(folder)


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
@pytest.mark.parametrize("nagle", [False, True], ids=["Nagle off", "Nagle on"])
def test_dcmsend_to_serve(
    serve: Serving, files: dict[str, Path], as_dcmsend_sends: dict[str, bytes], durability: str, nagle: bool
) -> None:
    server = serve(None, "--durability", durability)
    call("dcmsend", "-aec", "DICORE", "--decompress-never", "127.0.0.1", str(server.port), *files.values(), nagle=nagle)
    assert server.stop() == 0
    kept = in_store(server.store)
    assert kept.keys() == files.keys()
    assert kept == as_dcmsend_sends
    dicore_cli("store", "verify", server.store)


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("option", ["-xe", "-xi", "-xb"], ids=["explicit", "implicit", "big endian"])
def test_storescu_transcodes_to_both_alike(serve: Serving, files: dict[str, Path], tmp_path: Path, option: str) -> None:
    """storescu re-encodes on the wire; we must hold what storescp, given the same, wrote down."""
    syntaxes = set(UncompressedTransferSyntaxes) - {"1.2.840.10008.1.2.1.99"}
    plain = [p for p in files.values() if pydicom.filereader.read_file_meta_info(p).TransferSyntaxUID in syntaxes]
    server = serve()
    call("storescu", "-aec", "DICORE", option, "127.0.0.1", str(server.port), *plain)
    with storescp(tmp_path / "reference", "+x" + option[-1]) as port:
        call("storescu", "-aec", "STORESCP", option, "127.0.0.1", str(port), *plain)
    assert server.stop() == 0
    kept, reference = in_store(server.store), in_folder(tmp_path / "reference")
    assert len(kept) == len(plain)
    assert kept == reference


@pytest.mark.usefixtures("dcmtk")
def test_echoscu_to_serve_and_echo_to_storescp(serve: Serving, tmp_path: Path) -> None:
    server = serve()
    call("echoscu", "-aec", "DICORE", "--repeat", "5", "127.0.0.1", str(server.port))
    assert server.stop() == 0
    with storescp(tmp_path / "out") as port:
        dicore_cli("echo", f"STORESCP@127.0.0.1:{port}")


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize("associations", [1, 4])
def test_send_to_storescp(run: Callable[..., Any], files: dict[str, Path], tmp_path: Path, associations: int) -> None:
    with storescp(tmp_path / "out", *(["--fork"] if associations > 1 else [])) as port:
        sending = dicore.send(list(files.values()), to=f"STORESCP@127.0.0.1:{port}", associations=associations)
        report = run(sending)
    assert (report.sent, report.failed) == (len(files), 0), report.failures
    kept = in_folder(tmp_path / "out")
    assert kept.keys() == files.keys()
    assert all(kept[uid] == data_set(path.read_bytes()) for uid, path in files.items())


def test_pynetdicom_to_serve(serve: Serving, files: dict[str, Path]) -> None:
    from pynetdicom import AE, _config

    server = serve()
    previous = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True  # the file's own bytes
    try:
        ae = AE()
        for path in files.values():
            meta = pydicom.filereader.read_file_meta_info(path)
            ae.add_requested_context(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        association = ae.associate("127.0.0.1", server.port, ae_title="DICORE")
        assert association.is_established
        assert all(association.send_c_store(str(path)).Status == 0 for path in files.values())
        association.release()
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = previous
    assert server.stop() == 0
    kept = in_store(server.store)
    assert kept.keys() == files.keys()
    assert all(kept[uid] == data_set(path.read_bytes()) for uid, path in files.items())


def test_send_to_pynetdicom(run: Callable[..., Any], files: dict[str, Path]) -> None:
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

    kept: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        kept[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset(include_meta=False)
        return 0

    ae = AE(ae_title="PYNETDICOM")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    try:
        port = server.socket.getsockname()[1]
        report = run(dicore.send(list(files.values()), to=f"PYNETDICOM@127.0.0.1:{port}", associations=2))
    finally:
        server.shutdown()
    assert (report.sent, report.failed) == (len(files), 0), report.failures
    assert kept.keys() == files.keys()
    assert all(kept[uid] == data_set(path.read_bytes()) for uid, path in files.items())


def test_a_peer_that_refuses_is_reported(run: Callable[..., Any], files: dict[str, Path]) -> None:
    """Nobody there; then a server that takes one status out of three for a failure."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    with pytest.raises(dicore.ConnectionFailed):
        run(_echo(f"NOBODY@127.0.0.1:{free_port()}"))

    answered: list[int] = []

    def answer(event: Any) -> int:
        answered.append([0x0000, 0xA700, 0xB000][len(answered) % 3])
        return answered[-1]

    ae = AE(ae_title="MOODY")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), "1.2.840.10008.1.2.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    chosen = [p for p in files.values() if p.name.startswith("CT_small")][:9]
    try:
        report = run(dicore.send(chosen, to=f"MOODY@127.0.0.1:{server.socket.getsockname()[1]}"))
    finally:
        server.shutdown()
    assert len(answered) == 9
    assert report.failed == 3
    assert report.warnings == 3
    assert len(report.failures) == 3
    assert all("A700" in str(reason).upper() for _, reason in report.failures)


async def _echo(address: str) -> None:
    async with dicore.connect(address) as association:
        await association.c_echo()


def test_many_senders_at_once(serve: Serving, files: dict[str, Path], run: Callable[..., Any]) -> None:
    """Eight associations of ours beside a pynetdicom one and 40 echoes, into one durable server."""
    server = serve()

    async def main() -> None:
        sends = [dicore.send(list(files.values())[n::3], to=server.address, associations=3) for n in range(3)]
        reports = await asyncio.gather(*sends, *(_echo(server.address) for _ in range(40)))
        assert sum(r.sent for r in reports[:3]) == len(files)

    run(main())
    assert server.stop() == 0
    kept = in_store(server.store)
    assert all(kept[uid] == data_set(path.read_bytes()) for uid, path in files.items())
