"""wire=: what was said, as tshark reads it; and a capture that cannot be written."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from netcommon import Memory, ct, part10, until, write_files

import dicore
import wire
from captures import ends, rows, said
from dicore.net import Capture, connect, listen
from dicore.net.tls import client_context, server_context

Run = Callable[..., Any]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_sides_write_down_the_same_conversation(run: Run, tmp_path: Path, host: str) -> None:
    write_files(tmp_path, 3, size=200_000)

    async def main() -> int:
        sink = Memory()
        async with listen(port=0, host=host, on_c_store=sink, wire=tmp_path / "theirs.pcapng") as scp:
            to = f"THEM@[{host}]:{scp.port}" if ":" in host else f"THEM@{host}:{scp.port}"
            async with connect(to, calling="ME", wire=tmp_path / "ours.pcapng") as assoc:
                await assoc.c_echo()
                for number in range(3):
                    assert await assoc.c_store(tmp_path / f"{number:05d}.dcm") == 0
            port = scp.port
        assert len(sink.stored) == 3
        return port

    port = run(main())
    for name in ("ours", "theirs"):
        path = tmp_path / f"{name}.pcapng"
        text = said(path, port)
        assert "A-ASSOCIATE request ME --> THEM" in text
        assert "A-ASSOCIATE accept ME <-- THEM" in text
        assert text.count("C-STORE-RQ") == text.count("C-STORE-RSP") == 3
        assert text.count("C-ECHO-RQ") == 1
        assert "A-RELEASE request" in text
        assert ends(path, port) == ["FIN+FIN"]
        assert any("ME -> THEM" in row[0] for row in rows(path, port, "frame.comment", "frame.comment"))
        assert path.stat().st_mode & 0o777 == 0o600
    payloads = [
        [
            bytes.fromhex(row[0])
            for row in rows(tmp_path / f"{name}.pcapng", port, f"tcp.{side}port == {port}", "tcp.payload")
        ]
        for name in ("ours", "theirs")
        for side in ("src", "dst")
    ]
    assert b"".join(payloads[0]) == b"".join(payloads[2])
    assert b"".join(payloads[1]) == b"".join(payloads[3])


def test_what_is_said_under_tls_is_shown(run: Run, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")

    async def main() -> int:
        tls = server_context(tmp_path / "node.pem")
        async with listen(port=0, tls=tls, on_c_store=Memory(), wire=tmp_path / "theirs.pcapng") as scp:
            where, secure = f"dicoms://X@127.0.0.1:{scp.port}", client_context(tmp_path / "ca.pem")
            async with connect(where, tls=secure, wire=tmp_path / "ours.pcapng") as assoc:
                assert await assoc.c_store(part10(*ct(1, 100_000))) == 0
            return scp.port

    port = run(main())
    for name in ("ours", "theirs"):
        path = tmp_path / f"{name}.pcapng"
        assert said(path, port).count("C-STORE-RSP") == 1
        assert any("decrypted: TLSv1.3" in row[0] for row in rows(path, port, "tcp.flags.syn == 1", "frame.comment"))


def test_an_abort_a_reset_and_silence_end_as_they_ended(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"

    async def main() -> int:
        async with listen(port=0, wire=path) as scp:
            assoc = await connect(f"X@127.0.0.1:{scp.port}")
            assoc.abort()
            await until(lambda: not scp.associations)
            with wire.connect(scp.port) as evil:
                evil.sendall(b"GET / HTTP/1.1\r\n\r\n")
                await asyncio.to_thread(evil.recv, 100)
            await until(lambda: not scp.associations)
            with wire.connect(scp.port) as evil:
                evil.sendall(wire.associate_rq())
                await asyncio.to_thread(wire.receive_pdu, evil)
                evil.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() is a reset now
            await until(lambda: not scp.associations)
            return scp.port

    port = run(main())
    assert "ABORT DICORE --> X" in said(path, port)
    assert ends(path, port) == ["FIN+FIN", "FIN+FIN", "RST"]


def test_a_unix_socket_is_shown_as_the_loopback(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with listen(port=0, wire=tmp_path / "unix.pcapng") as scp:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.settimeout(10)
            await scp.adopt(ours, b"", lambda: None)
            theirs.sendall(wire.associate_rq())
            await asyncio.to_thread(wire.receive_pdu, theirs)
            theirs.close()
            await until(lambda: not scp.associations)

    run(main())
    assert "A-ASSOCIATE accept" in said(tmp_path / "unix.pcapng", 104)


def test_one_file_for_many(run: Run, tmp_path: Path) -> None:
    write_files(tmp_path, 40, size=30_000)

    async def main() -> int:
        with Capture(tmp_path / "all.pcapng") as capture:
            async with listen(port=0, on_c_store=Memory(), window=4) as scp:
                report = await dicore.send(
                    [tmp_path], to=f"X@127.0.0.1:{scp.port}", associations=4, window=4, wire=capture
                )
                assert (report.sent, report.failures) == (40, [(str(tmp_path / "all.pcapng"), report.failures[0][1])])
                port = scp.port
            assert capture.counts is not None
            assert capture.counts[1] == 0
            assert not capture.closed
        return port

    port = run(main())
    path = tmp_path / "all.pcapng"
    assert said(path, port).count("C-STORE-RQ") == 40
    assert ends(path, port) == ["FIN+FIN"] * 4


def test_a_full_disk_ends_the_capture_and_no_association(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        sink = Memory()
        async with (
            listen(port=0, on_c_store=sink, wire="/dev/full") as scp,
            connect(f"X@127.0.0.1:{scp.port}") as assoc,
        ):
            for number in range(20):
                assert await assoc.c_store(part10(*ct(number, 300_000))) == 0
            await until(lambda: "the capture has ended" in caplog.text)
        assert len(sink.stored) == 20

    caplog.set_level(logging.INFO, "dicore.net")
    run(main())
    assert caplog.text.count("/dev/full: the capture has ended, associations go on: No space left on device") == 1


def test_a_file_that_cannot_be_made_is_an_error(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        where = tmp_path / "no" / "such.pcapng"
        with pytest.raises(OSError, match="No such file"):
            async with listen(port=0, wire=where):
                pass
        async with listen(port=0) as scp:
            with pytest.raises(OSError, match="No such file"):
                await connect(f"X@127.0.0.1:{scp.port}", wire=where)
            await until(lambda: not scp.associations)

    run(main())
