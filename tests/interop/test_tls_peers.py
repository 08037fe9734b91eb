"""TLS with DCMTK and pynetdicom, both ways, certificates on both sides, each BCP 195 profile that DCMTK has."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import wire
from conftest import Serving, absent, dicore_cli
from dicore.net.tls import client_context, server_context


class Pem:
    """An authority, and a certificate of it for the loopback, as one file and as two."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        issued = authority.issue_cert("127.0.0.1", "localhost", common_name="node", key_type=trustme.KeyType.RSA)
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca)
        issued.private_key_pem.write_to_path(self.key)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        self.ours = ["--tls-cert", str(self.cert), "--tls-key", str(self.key), "--tls-ca", str(self.ca)]
        self.theirs = ["+tls", str(self.key), str(self.cert), "+cf", str(self.ca)]


@pytest.fixture
def pem(tmp_path: Path) -> Pem:
    return Pem(tmp_path)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed")
    return str(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def until_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_echoscu_over_tls(serve: Serving, pem: Pem, profile: str) -> None:
    server = serve(None, "--durability", "relaxed", *pem.ours, "--allow-cert", "CN=node")
    command = [tool("echoscu"), *pem.theirs, profile, "-aec", "DICORE", "127.0.0.1", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    server.process.send_signal(signal.SIGHUP)  # reads them again, and goes on
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    plain = [tool("echoscu"), "-aec", "DICORE", "127.0.0.1", str(server.port)]
    assert subprocess.run(plain, capture_output=True, timeout=60).returncode != 0
    assert server.stop() == 0


def test_storescp_over_tls(pem: Pem, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    one = tmp_path / "one.dcm"
    name = wire.instance_uid(1)
    one.write_bytes(_part10(name))
    port = free_port()
    command = [tool("storescp"), *pem.theirs, "+B", "-od", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as scp:
        try:
            until_listening(port)
            where = f"dicoms://ANY@127.0.0.1:{port}"
            dicore_cli("echo", where, *pem.ours)
            dicore_cli("send", one, "--to", where, *pem.ours)
            other = Pem(folder)
            wrong = dicore_cli("echo", where, "--tls-ca", other.ca, check=False)
            assert wrong.returncode == 1
            assert "certificate is not valid" in wrong.stderr
        finally:
            scp.terminate()
    assert [one for one in folder.iterdir() if name in one.name]


def _part10(name: str) -> bytes:
    meta = (
        wire.explicit(0x00020001, "OB", b"\0\1")
        + wire.explicit(0x00020002, "UI", wire.uid(wire.CT_IMAGE))
        + wire.explicit(0x00020003, "UI", wire.uid(name))
        + wire.explicit(0x00020010, "UI", wire.uid(wire.EXPLICIT))
    )
    head = wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    return bytes(128) + b"DICM" + head + meta + wire.ct_data_set(name)


def test_pynetdicom_over_tls(run: Callable[..., Any], pem: Pem) -> None:
    from pynetdicom import AE, evt

    import dicore

    verification = "1.2.840.10008.1.1"

    def call(port: int) -> int:
        ae = AE()
        ae.add_requested_context(verification)
        association = ae.associate("127.0.0.1", port, tls_args=(client_context(pem.ca, pem.cert, pem.key), "127.0.0.1"))
        assert association.is_established
        status = association.send_c_echo().Status
        association.release()
        return int(status)

    async def to_us() -> None:
        async with dicore.listen(port=0, tls=server_context(pem.cert, pem.key, pem.ca)) as scp:
            assert await asyncio.to_thread(call, scp.port) == 0

    run(to_us())
    asked = threading.Event()

    def answer(event: Any) -> int:
        asked.set()
        return 0

    ae = AE()
    ae.add_supported_context(verification)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem.ca))
    context.load_cert_chain(pem.cert, pem.key)
    context.verify_mode = ssl.CERT_REQUIRED
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_C_ECHO, answer)]
    )
    try:

        async def from_us() -> None:
            tls = client_context(pem.ca, pem.cert, pem.key)
            port = server.socket.getsockname()[1]
            async with dicore.connect(f"dicoms://ANY@127.0.0.1:{port}", tls=tls, contexts=[verification]) as assoc:
                assert await assoc.c_echo() == 0

        run(from_us())
    finally:
        server.shutdown()
    assert asked.is_set()
