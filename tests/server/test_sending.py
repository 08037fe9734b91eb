"""What `send` does beyond one file after the other, against a real server with either driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicore
import wire
from dicore import synth

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def instances() -> list[synth.Instance]:
    return list(synth.studies(12, 2, modality="CT", slices=10, size=64))


@pytest.fixture
def files(instances: list[synth.Instance], tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, instance in enumerate(instances):
        (folder / f"{number}.dcm").write_bytes(instance.data)
    return folder


@pytest.mark.parametrize("window", [4, 64, 0])
def test_a_window_of_messages_is_stored_whole_and_counted_once(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path, window: int
) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                to = f"A@127.0.0.1:{server.port}"
                report = await dicore.send([files], to=to, associations=2, window=window)
                assert (report.sent, report.failed, report.failures) == (len(instances), 0, [])
                assert server.counters["stores"] == len(instances)
            assert {uid: bytes(store[uid].pixels()) for uid in store} == {
                one.sop_instance_uid: bytes(dicore.read(one.data).pixels()) for one in instances
            }

    run(main())


def test_what_the_peer_had_no_room_for_is_sent_again_and_counted_once(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICORE_FAILPOINT", "write-full:3")

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24, durability="relaxed") as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                report = await dicore.send([files], to=f"A@127.0.0.1:{server.port}", retries=2)
            assert (report.sent, report.failed, report.retried) == (len(instances), 0, 1)
            assert len(store) == len(instances)

    run(main())


def test_without_retries_the_failure_is_reported(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICORE_FAILPOINT", "write-full:3")

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24, durability="relaxed") as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                report = await dicore.send([files], to=f"A@127.0.0.1:{server.port}")
            assert (report.sent, report.failed) == (len(instances) - 1, 1)
            assert "A700" in report.failures[0][1]

    run(main())


def test_an_association_that_is_lost_is_opened_again(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path
) -> None:
    """A relay cuts the first two connections after some of the data."""

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                cuts = [60_000, 30_000]

                async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: float) -> None:
                    with contextlib.suppress(OSError):
                        while left > 0 and (data := await reader.read(4096)):
                            left -= len(data)
                            writer.write(data)
                            await writer.drain()
                    writer.close()

                async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    limit = float(cuts.pop(0)) if cuts else float("inf")
                    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
                    back = asyncio.ensure_future(pipe(up_reader, writer, float("inf")))
                    await pipe(reader, up_writer, limit)
                    writer.close()
                    await back

                front = await asyncio.start_server(relay, "127.0.0.1", 0)
                async with front:
                    port = front.sockets[0].getsockname()[1]
                    report = await dicore.send([files], to=f"A@127.0.0.1:{port}", window=3, retries=3)
                assert (report.sent, report.failed) == (len(instances), 0)
                assert report.retried > 0
            assert len(store) == len(instances)

    run(main())


def test_a_journal_skips_what_was_acknowledged_and_only_that(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path
) -> None:
    journal = tmp_path / "sent.txt"
    some = sorted(files.iterdir())[:5]

    def touch() -> None:
        some[0].write_bytes(some[0].read_bytes())

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                to = f"A@127.0.0.1:{server.port}"
                first = await dicore.send(some, to=to, journal=journal)
                second = await dicore.send([files], to=to, journal=journal, associations=2)
                touch()  # changed since: by its time, for all that can be told
                third = await dicore.send([files], to=to, journal=journal)
            assert (first.sent, first.skipped) == (5, 0)
            assert (second.sent, second.skipped) == (len(instances) - 5, 5)
            assert (third.sent, third.skipped) == (1, len(instances) - 1)

    run(main())


def test_connections_come_from_the_sources_in_turn(run: Run, driver: Any, files: Path, tmp_path: Path) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            access = dicore.server.Access.of((), ["127.0.0.2/31"])  # .2 and .3
            async with dicore.serve(store, driver=driver, port=0, access=access) as server:
                to = f"A@127.0.0.1:{server.port}"
                with pytest.raises(dicore.AssociationRejected):
                    await dicore.send([files], to=to)
                report = await dicore.send([files], to=to, associations=2, source=["127.0.0.2", "127.0.0.3"])
                assert report.failed == 0

    run(main())


def test_what_the_engine_does_not_serve_goes_to_the_event_loop(run: Run, driver: Any, tmp_path: Path) -> None:
    """An association that proposes a query is another driver's; it is counted once, and drained like all."""
    find = "1.2.840.10008.5.1.4.1.2.2.1"

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0, grace=0.5) as server:
                contexts = [wire.context(1, wire.VERIFICATION, [wire.IMPLICIT]), wire.context(3, find, [wire.IMPLICIT])]

                def talk() -> Any:
                    connection = wire.associate(server.port, contexts)
                    assert wire.echo(connection) == 0
                    return connection

                connection = await asyncio.to_thread(talk)
                counters = server.counters
                assert (counters["connections"], counters["associations"], counters["echoes"]) == (1, 1, 1)
                assert counters.get("handed_over", 0) == (driver == "engine")
                assert server.associations == 1
            assert server.associations == 0
            connection.close()

    run(main())
