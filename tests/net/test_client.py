"""`connect` and `Association`: operations, and every way in which they can fail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from netcommon import CT, JPEG_LS, MR, Memory, ct, descriptors, encapsulated, part10, until

import wire
from conftest import free_port
from dicore.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationStateError,
    ConnectionFailed,
    DicomFormatError,
    DimseError,
    NetworkTimeout,
    ProtocolViolation,
    TransferSyntaxError,
)
from dicore.net import StoreRequest, Timeouts, connect, listen

AC_BODY_START = 68


def test_bytes_files_and_paths_are_stored(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        sink = Memory()
        whole = part10(*ct(1, 150_000))
        big = ct(3, 9_000_000)  # streamed from the file, and to the sink
        (tmp_path / "2.dcm").write_bytes(part10(*ct(2, 150_000)))
        (tmp_path / "3.dcm").write_bytes(part10(*big))
        async with (
            listen(port=0, on_c_store=sink) as scp,
            connect(f"dicom://DICORE@127.0.0.1:{scp.port}") as assoc,
        ):
            assert await assoc.c_store(whole) == 0
            assert await assoc.c_store(memoryview(bytearray(whole))) == 0
            assert await assoc.c_store(tmp_path / "2.dcm") == 0
            assert await assoc.c_store(str(tmp_path / "3.dcm")) == 0
            assert await assoc.c_echo() == 0
        assert sink.stored == dict([ct(1, 150_000), ct(2, 150_000), big])

    run(main())


def test_operations_wait_for_each_other(run: Any) -> None:
    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp, connect(f"X@127.0.0.1:{scp.port}") as assoc:
            stores = [assoc.c_store(part10(*ct(number, 100_000))) for number in range(8)]
            assert await asyncio.gather(*stores, assoc.c_echo(), assoc.c_echo()) == [0] * 10
        assert sink.stored == dict(ct(number, 100_000) for number in range(8))

    run(main())


def test_a_failure_status_is_raised_and_a_warning_returned(run: Any) -> None:
    async def main() -> None:
        sink = Memory(0xA700)
        async with listen(port=0, on_c_store=sink) as scp, connect(f"X@127.0.0.1:{scp.port}") as assoc:
            with pytest.raises(DimseError, match="A700 out of resources") as caught:
                await assoc.c_store(part10(*ct(1)))
            assert (caught.value.status, caught.value.peer) == (0xA700, f"X@127.0.0.1:{scp.port}")
            sink.status = 0xB007
            assert await assoc.c_store(part10(*ct(1))) == 0xB007

    run(main())


def test_an_uncompressed_data_set_is_rewritten_for_a_peer_that_wants_another_syntax(run: Any) -> None:
    async def main() -> None:
        from dicore.net.rewrite import rewrite

        for wanted in (wire.IMPLICIT, "1.2.840.10008.1.2.2"):
            sink = Memory()
            async with listen(port=0, on_c_store=sink, transfer_syntaxes=[wanted]) as scp:
                contexts = [(CT, [wire.EXPLICIT]), (CT, [wanted])]
                async with connect(f"X@127.0.0.1:{scp.port}", contexts=contexts) as assoc:
                    assert list(assoc.contexts) == [(CT, wanted)]
                    instance, data = ct(1, 3000)
                    assert await assoc.c_store(part10(instance, data)) == 0
                assert sink.requests[0].transfer_syntax == wanted
                assert sink.stored[instance] != data
                back = part10(instance, sink.stored[instance], syntax=wanted)
                assert rewrite(back, wire.EXPLICIT) == data

    run(main())


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_compressed_data_set_without_context_is_an_error(run: Any, tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        async with listen(port=0, on_c_store=Memory()) as scp, connect(f"X@127.0.0.1:{scp.port}") as assoc:
            whole = part10(*encapsulated(1), syntax=JPEG_LS)
            (tmp_path / "1.dcm").write_bytes(whole)
            with pytest.raises(TransferSyntaxError, match="CT Image Storage in JPEG-LS Lossless"):
                await assoc.c_store(whole if kind == "bytes" else tmp_path / "1.dcm")
            assert await assoc.c_echo() == 0

    run(main())


def test_what_is_no_dicom_file_is_refused_before_anything_is_sent(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "text.dcm").write_text("no image at all, only words and more words\n" * 20)
        (tmp_path / "empty.dcm").write_bytes(b"")
        instance, data = ct(1)
        (tmp_path / "odd.dcm").write_bytes(part10(instance, data + b"\0"))
        async with listen(port=0, on_c_store=Memory()) as scp, connect(f"X@127.0.0.1:{scp.port}") as assoc:
            for name in ("text.dcm", "empty.dcm", "odd.dcm"):
                for what in (tmp_path / name, (tmp_path / name).read_bytes()):
                    with pytest.raises(DicomFormatError):
                        await assoc.c_store(what)
            with pytest.raises(FileNotFoundError):
                await assoc.c_store(tmp_path / "missing.dcm")
            with pytest.raises(OSError, match="Invalid argument"):
                await assoc.c_store(tmp_path)
            os.mkfifo(tmp_path / "fifo")
            with pytest.raises(OSError, match="Invalid argument"):
                await assoc.c_store(tmp_path / "fifo")
            assert await assoc.c_echo() == 0
            assert scp.counters["stores"] == scp.counters["bytes"] == 0

    run(main())


def test_without_verification_there_is_no_c_echo(run: Any) -> None:
    async def main() -> None:
        async with (
            listen(port=0, on_c_store=Memory()) as scp,
            connect(f"X@127.0.0.1:{scp.port}", contexts=[CT, MR]) as assoc,
        ):
            with pytest.raises(AssociationStateError, match="Verification"):
                await assoc.c_echo()

    run(main())


def test_the_number_of_contexts_is_bounded() -> None:
    for count in (0, 129):
        with pytest.raises(ValueError, match="1 to 128"):
            connect("X@host:1", contexts=[f"1.2.{one + 1}" for one in range(count)])


# ---- the end


def test_after_the_end_every_operation_says_so(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0, on_c_store=Memory()) as scp:
            for end in ("release", "abort"):
                assoc = await connect(f"X@127.0.0.1:{scp.port}")
                if end == "release":
                    await assoc.release()
                else:
                    assoc.abort()
                assert not assoc.open
                for operation in (assoc.c_echo, lambda a=assoc: a.c_store(part10(*ct(1)))):
                    with pytest.raises(AssociationStateError, match=end):
                        await operation()
                await assoc.release()
                assoc.abort()

    run(main())


def test_an_exception_in_the_block_aborts(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0) as scp:
            with pytest.raises(KeyError):
                async with connect(f"X@127.0.0.1:{scp.port}"):
                    raise KeyError
            await until(lambda: scp.counters["aborted_by_peer"] == 1)

    run(main())


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_cancelling_a_c_store_aborts_and_leaks_nothing(run: Any, tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def never(request: StoreRequest, data: memoryview) -> int:
            asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        whole = part10(*ct(1, 300_000))
        (tmp_path / "1.dcm").write_bytes(whole)
        async with listen(port=0, on_c_store=never) as scp:
            warm = await connect(f"X@127.0.0.1:{scp.port}")
            await warm.release()
            before = descriptors()
            assoc = await connect(f"X@127.0.0.1:{scp.port}")
            storing = asyncio.ensure_future(assoc.c_store(whole if kind == "bytes" else tmp_path / "1.dcm"))
            await asked.wait()
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing
            assert not assoc.open
            await until(lambda: scp.counters["aborted_by_peer"] == 1)
            await until(lambda: descriptors() <= before)

    run(main())


def test_abort_ends_a_store_under_way(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def never(request: StoreRequest, data: memoryview) -> int:
            asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        (tmp_path / "1.dcm").write_bytes(part10(*ct(1, 300_000)))
        async with listen(port=0, on_c_store=never) as scp:
            assoc = await connect(f"X@127.0.0.1:{scp.port}")
            storing = asyncio.ensure_future(assoc.c_store(tmp_path / "1.dcm"))
            await asked.wait()
            assoc.abort()
            with pytest.raises((AssociationStateError, ConnectionFailed)):
                await storing
            assert not assoc.open

    run(main())


# ---- peers that fail

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def with_peer(peer: Peer, do: Callable[[str], Awaitable[None]]) -> None:
    """Run `do(address)` against a server that is a function."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
            await over.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await do(f"PEER@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        over.set()
        server.close()


async def read_pdu(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(6)
    return head + await reader.readexactly(int.from_bytes(head[2:]))


def accept(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that takes the first context in implicit VR."""
    context = wire.item(0x21, b"\1\0\0\0" + wire.item(0x40, wire.IMPLICIT.encode()))
    user = wire.item(0x50, wire.item(0x51, (16384).to_bytes(4)) + wire.item(0x52, b"1.2.3"))
    body = request[6 : 6 + AC_BODY_START] + wire.item(0x10, wire.APPLICATION_CONTEXT.encode()) + context + user
    return wire.pdu(wire.AC, body)


ECHO_ONLY: list[tuple[str, list[str]]] = [(wire.VERIFICATION, [wire.IMPLICIT])]


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_pdu(reader)


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_pdu(reader)
    writer.close()


def says(data: bytes) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_pdu(reader)
        writer.write(data)

    return peer


AT_REQUEST: dict[str, tuple[Peer, type[Exception], str]] = {
    "silent": (never_answers, NetworkTimeout, "no answer to the association request within 0.1 s"),
    "closes": (closes, ConnectionFailed, "closed the connection"),
    "rejects": (says(wire.pdu(wire.RJ, bytes((0, 1, 1, 7)))), AssociationRejected, "called AE title not recognized"),
    "aborts": (says(wire.pdu(wire.ABORT, bytes((0, 0, 2, 2)))), AssociationAborted, "unexpected PDU"),
    "http": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ProtocolViolation, "PDU"),
    "data": (says(wire.data_pdu(1, wire.echo_rq(), command=True)), ProtocolViolation, "PDU|state"),
}


@pytest.mark.parametrize(("peer", "error", "text"), AT_REQUEST.values(), ids=list(AT_REQUEST))
def test_an_association_that_does_not_come_about(run: Any, peer: Peer, error: type[Exception], text: str) -> None:
    async def main() -> None:
        async def do(address: str) -> None:
            before = descriptors()
            with pytest.raises(error, match=text) as caught:
                await connect(address, timeouts=Timeouts(dimse=0.1))
            assert address in str(caught.value)
            await until(lambda: descriptors() <= before + 1)  # the server's own end of it

        await with_peer(peer, do)

    run(main())


def after_accept(reply: bytes | None) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accept(await read_pdu(reader)))
        await read_pdu(reader)
        if reply is None:
            writer.close()
        else:
            writer.write(reply)

    return peer


AT_ECHO: dict[str, tuple[Peer, type[Exception], str]] = {
    "silent": (after_accept(b""), NetworkTimeout, "no response to the request within 0.1 s"),
    "closes": (after_accept(None), ConnectionFailed, "closed the connection"),
    "aborts": (after_accept(wire.pdu(wire.ABORT, bytes(4))), AssociationAborted, "by its user"),
    "releases": (after_accept(wire.pdu(wire.RELEASE_RQ, bytes(4))), AssociationStateError, "released"),
    "garbage": (after_accept(b"\x55" * 40), ProtocolViolation, "PDU"),
    "request": (after_accept(wire.data_pdu(1, wire.echo_rq(), command=True)), ProtocolViolation, "sent a request"),
}


@pytest.mark.parametrize(("peer", "error", "text"), AT_ECHO.values(), ids=list(AT_ECHO))
def test_a_request_that_is_not_answered(run: Any, peer: Peer, error: type[Exception], text: str) -> None:
    async def main() -> None:
        async def do(address: str) -> None:
            assoc = await connect(address, contexts=ECHO_ONLY, timeouts=Timeouts(dimse=0.1, network=0.1))
            with pytest.raises(error, match=text):
                await assoc.c_echo()
            assert not assoc.open
            with pytest.raises(AssociationStateError):
                await assoc.c_echo()

        await with_peer(peer, do)

    run(main())


def test_an_idle_association_notices_the_end(run: Any) -> None:
    async def main() -> None:
        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(accept(await read_pdu(reader)))
            writer.write(wire.pdu(wire.ABORT, bytes((0, 0, 0, 0))))

        async def do(address: str) -> None:
            assoc = await connect(address, contexts=ECHO_ONLY)
            await until(lambda: not assoc.open)
            assert isinstance(assoc.ended, AssociationAborted)

        await with_peer(peer, do)

    run(main())


def test_nobody_listens(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        with pytest.raises(ConnectionFailed, match="no TCP connection"):
            await connect(f"X@127.0.0.1:{free_port()}")
        with pytest.raises(ConnectionFailed, match="no TCP connection"):
            await connect("X@name.invalid:104")
        assert descriptors() == before

    run(main())
