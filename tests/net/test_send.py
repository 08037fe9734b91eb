"""`send`: every file has its outcome, once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from netcommon import CT, JPEG_LS, MR, Memory, ct, descriptors, encapsulated, part10, until, write_files

import wire
from conftest import free_port
from dicore.errors import AssociationRejected, ConnectionFailed, StoreFull
from dicore.net import Limits, SendProgress, StoreRequest, Timeouts, listen, send


@pytest.mark.parametrize("associations", [1, 3, 8])
def test_a_folder_arrives_byte_for_byte(run: Any, tmp_path: Path, associations: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    made = write_files(tmp_path, 20, 20_000) | write_files(tmp_path / "a" / "b", 20, 131_072, first=100)

    async def main() -> None:
        before = descriptors()
        sink = Memory()
        shown: list[SendProgress] = []
        async with listen(port=0, on_c_store=sink) as scp:
            report = await send(
                tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=associations, progress=shown.append
            )
            assert scp.counters["associations"] == associations
            assert scp.counters["released"] == associations
        assert sink.stored == made
        assert (report.sent, report.failed, report.warnings, report.failures) == (40, 0, 0, [])
        assert report.bytes == sum(map(len, made.values()))
        assert report.seconds > 0
        assert shown[-1][:4] == (40, 40, 0, report.bytes)
        assert [one.done for one in shown] == sorted(one.done for one in shown)
        await until(lambda: descriptors() <= before)

    run(main())


def test_large_files_are_streamed_beside_small_ones(run: Any, tmp_path: Path) -> None:
    made = write_files(tmp_path, 4, 9_500_000) | write_files(tmp_path, 20, 1000, first=10)

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=3)
            assert scp.counters["streamed"] == 4
        assert (report.sent, report.failed) == (24, 0)
        assert sink.stored == made

    run(main())


def test_nothing_to_send_is_an_empty_report(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        report = await send([], to=f"X@127.0.0.1:{free_port()}")
        assert (report.sent, report.failed) == (0, 0)
        report = await send(tmp_path, to=f"X@127.0.0.1:{free_port()}")
        assert (report.sent, report.failed) == (0, 0)

    run(main())


def test_bad_files_are_reported_and_the_others_sent(run: Any, tmp_path: Path) -> None:
    made = write_files(tmp_path, 5)
    (tmp_path / "text.txt").write_text("only words, " * 100)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "odd.dcm").write_bytes(part10(ct(50)[0], ct(50)[1] + b"\0"))
    (tmp_path / "cut.dcm").write_bytes(part10(*ct(51))[:140])
    os.mkfifo(tmp_path / "fifo")
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "missing.dcm"]

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            report = await send(paths, to=f"X@127.0.0.1:{scp.port}", associations=2)
        assert sink.stored == made
        assert (report.sent, report.failed) == (5, 6)
        reasons = {Path(path).name: reason for path, reason in report.failures}
        assert reasons.keys() == {"text.txt", "empty.dcm", "odd.dcm", "cut.dcm", "fifo", "missing.dcm"}
        assert "odd number" in reasons["odd.dcm"]
        assert "No such file" in reasons["missing.dcm"]
        assert "cannot be sent" in reasons["text.txt"]

    run(main())


def test_only_bad_files_is_a_report_not_an_exception(run: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("only words, " * 100)

    async def main() -> None:
        async with listen(port=0, on_c_store=Memory()) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}")
        assert (report.sent, report.failed) == (0, 1)

    run(main())


def test_each_syntax_has_its_context_and_what_is_refused_is_rewritten_or_reported(run: Any, tmp_path: Path) -> None:
    made = write_files(tmp_path, 3)
    compressed = dict(encapsulated(number, CT) for number in (10, 11))
    for number, (instance, data) in enumerate(compressed.items()):
        (tmp_path / f"z{number}.dcm").write_bytes(part10(instance, data, syntax=JPEG_LS))

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}")
        assert (report.sent, report.failed) == (5, 0)
        assert sink.stored == made | compressed

        sink = Memory()
        async with listen(port=0, on_c_store=sink, transfer_syntaxes=[wire.IMPLICIT]) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=2)
        assert (report.sent, report.failed) == (3, 2)
        assert all("accepts no context for CT Image Storage in JPEG-LS" in reason for _, reason in report.failures)
        assert sink.stored.keys() == made.keys()
        assert {one.transfer_syntax for one in sink.requests} == {wire.IMPLICIT}
        assert report.bytes == sum(map(len, sink.stored.values()))

    run(main())


def test_more_classes_than_an_association_has_contexts(run: Any, tmp_path: Path) -> None:
    count = 150
    for number in range(count):
        instance = wire.instance_uid(number)
        sop_class = f"1.2.826.0.1.3680043.10.1338.9.{number + 1}"
        data = wire.explicit(0x00080016, "UI", wire.uid(sop_class)) + wire.explicit(
            0x00080018, "UI", wire.uid(instance)
        )
        (tmp_path / f"{number:03d}.dcm").write_bytes(part10(instance, data, sop_class=sop_class))

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=2)
            assert scp.counters["rejected"] == 0
        assert (report.sent, report.failed) == (count, 0)
        assert len(sink.stored) == len(sink.requests) == count

    run(main())


def test_statuses_are_counted(run: Any, tmp_path: Path) -> None:
    write_files(tmp_path, 6)

    class Fussy(Memory):
        def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
            number = int(request.sop_instance_uid.rpartition(".")[2]) % 1_000_000
            if number == 1:
                raise StoreFull("no space")
            return {2: 0xB000, 3: 0xA900}.get(number, 0)

    async def main() -> None:
        async with listen(port=0, on_c_store=Fussy()) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}")
        assert (report.sent, report.failed, report.warnings) == (4, 2, 1)
        assert {Path(path).name: reason for path, reason in report.failures} == {
            "00001.dcm": "the peer answered A700 out of resources",
            "00003.dcm": "the peer answered A900 data set does not match",
        }

    run(main())


@pytest.mark.parametrize("associations", [1, 3])
def test_associations_that_die_leave_each_file_with_one_outcome(run: Any, tmp_path: Path, associations: int) -> None:
    write_files(tmp_path, 30, 50_000)

    async def main() -> None:
        sink = Memory()

        class Deadly(Memory):
            def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
                sink.store(request, pieces)
                if len(sink.stored) % 7 == 0:
                    next(one for one in scp._hub.open if one.peer == request.peer).stop("enough")
                return 0

        async with listen(port=0, on_c_store=Deadly()) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=associations)
            assert scp.counters["aborted"] == associations
        assert report.sent + report.failed == 30
        assert len({path for path, _ in report.failures}) == report.failed >= associations
        lost = [reason for _, reason in report.failures if reason.startswith("not acknowledged: ")]
        assert len(lost) == associations
        assert report.sent == len(sink.requests) - associations

    run(main())


def test_nobody_listens_and_everybody_refuses(run: Any, tmp_path: Path) -> None:
    write_files(tmp_path, 3)

    async def main() -> None:
        with pytest.raises(ConnectionFailed):
            await send(tmp_path, to=f"X@127.0.0.1:{free_port()}", associations=2)
        async with listen(port=0, on_c_store=Memory(), calling_ae=["FRIEND"]) as scp:
            with pytest.raises(AssociationRejected):
                await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=2)
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", calling="FRIEND")
            assert report.sent == 3

    run(main())


def test_fewer_associations_than_asked_for_do_it_too(run: Any, tmp_path: Path) -> None:
    made = write_files(tmp_path, 30)

    async def main() -> None:
        sink = Memory()
        async with listen(port=0, on_c_store=sink, limits=Limits(associations=2)) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=5)
        assert (report.sent, report.failed) == (30, 0)
        assert sink.stored == made

    run(main())


def test_a_peer_that_falls_silent_is_given_up(run: Any, tmp_path: Path) -> None:
    write_files(tmp_path, 3)

    async def main() -> None:
        async def never(request: StoreRequest, data: memoryview) -> int:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async with listen(port=0, on_c_store=never) as scp:
            report = await send(tmp_path, to=f"X@127.0.0.1:{scp.port}", timeouts=Timeouts(dimse=0.2))
        assert (report.sent, report.failed) == (0, 3)
        assert "no response to the request within 0.2 s" in report.failures[0][1]

    run(main())


def test_cancelling_aborts_and_leaves_nothing(run: Any, tmp_path: Path) -> None:
    write_files(tmp_path, 50, 100_000)

    async def main() -> None:
        asked = asyncio.Event()

        async def never(request: StoreRequest, data: memoryview) -> int:
            asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async with listen(port=0, on_c_store=never) as scp:
            before = descriptors()
            sending = asyncio.ensure_future(send(tmp_path, to=f"X@127.0.0.1:{scp.port}", associations=4))
            await asked.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await until(lambda: descriptors() <= before and scp.associations == 0)
            assert scp.counters["aborted_by_peer"] == 4

    run(main())


def test_cancelling_while_associations_are_opened_leaves_nothing(run: Any, tmp_path: Path) -> None:
    write_files(tmp_path, 5)

    async def main() -> None:
        asked = asyncio.Event()
        seen: list[bytes] = []

        async def one_accepts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readexactly(6)
            request += await reader.readexactly(int.from_bytes(request[2:]))
            if not seen:
                context = wire.item(0x21, b"\1\0\0\0" + wire.item(0x40, wire.EXPLICIT.encode()))
                context += wire.item(0x21, b"\3\0\3\0")
                user = wire.item(0x50, wire.item(0x51, (16384).to_bytes(4)) + wire.item(0x52, b"1.2.3"))
                name = wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
                writer.write(wire.pdu(wire.AC, request[6:74] + name + context + user))
            seen.append(request)
            if len(seen) == 3:
                asked.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(one_accepts, "127.0.0.1", 0)
        before = descriptors()
        address = f"X@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sending = asyncio.ensure_future(send(tmp_path, to=address, associations=3))
        await asked.wait()
        await asyncio.sleep(0.05)  # the one that is accepted has its answer by then, or is cancelled like the others
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: descriptors() <= before)
        server.close()

    run(main())


def test_the_loop_turns_while_files_are_sent(run: Any, tmp_path: Path) -> None:
    """Sending is another thread's work: whatever else the loop has to do goes on."""
    write_files(tmp_path, 200, 50_000)

    async def main() -> None:
        async with listen(port=0, on_c_store=Memory()) as scp:
            sending = asyncio.ensure_future(send([tmp_path, MR_FILE], to=f"X@127.0.0.1:{scp.port}", associations=2))
            turns = 0
            while not sending.done():
                await asyncio.sleep(0)
                turns += 1
            assert (await sending).failed == 1
            assert turns > 10

    run(main())


MR_FILE = f"/nonexistent/{MR}.dcm"


def test_wrong_arguments_are_refused_at_once(run: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="at least one"):
            await send([], to="X@host:1", associations=0)
        with pytest.raises(ValueError, match="port"):
            await send([], to="X@host:99999")
        with pytest.raises(ValueError, match="AE title"):
            await send([], to="X@host:1", calling="")

    run(main())
