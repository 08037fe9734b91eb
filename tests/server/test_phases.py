"""How long the phases of a message took: in the record, the log line, the metrics, per message; counters by driver."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicore
from dicore import synth
from dicore.errors import AssociationRejected
from dicore.net import AssociationRecord, MessageRecord
from dicore.net.record import PHASES, JsonLines, Times
from dicore.server import Health

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def instances() -> list[synth.Instance]:
    return list(synth.studies(3, 1, slices=7, size=64))


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
def test_the_record_of_an_association_has_its_phases(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path, durability: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    records: list[AssociationRecord] = []
    caplog.set_level(logging.INFO, "dicore.net")

    first = next(files.glob("*"))

    async def main() -> float:
        begun = time.monotonic()
        with dicore.Store(tmp_path / "store", durability=durability) as store:
            async with dicore.serve(store, port=0, driver=driver, on_audit=records.append) as server:
                assert server.driver == driver  # an audit is no reason to leave the engine
                to = f"DICORE@127.0.0.1:{server.port}"
                await dicore.send([files], to=to, window=2)
                await dicore.send([first], to=to)
                async with dicore.connect(to, contexts=["1.2.840.10008.1.1"]) as assoc:
                    await assoc.c_echo()
        return time.monotonic() - begun

    wall = run(main())
    many, one, echo = records
    assert [record.ended for record in records] == ["released"] * 3
    assert all(record.contexts for record in records)
    assert tuple(many.phases) == tuple(one.phases) == PHASES
    assert tuple(echo.phases) == PHASES[:2]
    for record, count in ((many, len(instances)), (one, 1)):
        for name, phase in record.phases.items():
            assert phase.count == (count if name in PHASES[2:] else 1)
            assert 0 <= phase.p50 <= phase.p99 <= phase.longest < wall * 1e9
    assert many.phases["commit"].p50 > 0
    lines = [json.loads(JsonLines().format(line)) for line in caplog.records if hasattr(line, "association")]
    assert lines[0]["association"]["phases"]["commit"]["count"] == len(instances)
    assert set(lines[0]["association"]["phases"]["answer"]) == {"count", "p50_ns", "p99_ns", "max_ns"}


def test_metrics_have_histograms_and_counters_by_driver(
    run: Run, driver: Any, files: Path, instances: list[synth.Instance], tmp_path: Path
) -> None:
    async def main() -> str:
        with dicore.Store(tmp_path / "store", durability="relaxed") as store:
            async with dicore.serve(store, port=0, driver=driver) as server, Health(server, port=0) as health:
                to = f"DICORE@127.0.0.1:{server.port}"
                await dicore.send([files], to=to)
                async with dicore.connect(to) as assoc:  # proposes queries: the engine hands it over
                    await assoc.c_echo()
                    assert [one async for one in assoc.c_find(level="STUDY")]
                text = await asyncio.to_thread(health.metrics)
                whole = server.counters
                parts = server.counters_by_driver
                assert whole == {name: sum(one.get(name, 0) for one in parts.values()) for name in whole}
                assert (whole["connections"], whole["stores"], whole["echoes"]) == (2, len(instances), 1)
                if driver == "engine":
                    assert (parts["engine"]["stores"], parts["asyncio"]["echoes"]) == (len(instances), 1)
                    assert parts["asyncio"]["connections"] == parts["engine"]["connections"] == 1
        assert server.phases_by_driver[driver]["commit"].count >= len(instances)  # also when it is over
        return text

    lines = run(main()).splitlines()
    assert f'dicore_stores_total{{driver="{driver}"}} {len(instances)}' in lines
    assert 'dicore_echoes_total{driver="asyncio"} 1' in lines
    assert "# TYPE dicore_phase_seconds histogram" in lines
    count = f'dicore_phase_seconds_count{{phase="last_byte",driver="{driver}"}} {len(instances)}'
    assert count in lines
    for phase in PHASES:
        label = f'dicore_phase_seconds_bucket{{phase="{phase}",driver="{driver}",le="'
        buckets = [line[len(label) :].split('"} ') for line in lines if line.startswith(label)]
        limits, counts = [float(one[0]) for one in buckets], [int(one[1]) for one in buckets]
        assert limits == sorted(limits)
        assert counts == sorted(counts)
        assert limits[-1] == float("inf")
        assert counts[-1] > 0
    assert len([line for line in lines if line.startswith("# TYPE dicore_stores_total")]) == 1


def test_cumulative_buckets_are_at_powers_of_two() -> None:
    buckets = [0] * 122
    buckets[0] = 3  # below 256 ns
    buckets[1], buckets[4], buckets[5] = 1, 1, 1  # 256.., 448.., 512..
    buckets[121] = 1
    limits = Times(7, 0, tuple(buckets)).cumulative()
    assert limits[0] == (256e-9, 3)
    assert limits[1] == (512e-9, 5)
    assert limits[2] == (1024e-9, 6)
    assert limits[-1] == ((1 << 38) / 1e9, 6)


def test_each_message_is_told_where_that_was_asked_for(
    run: Run, files: Path, instances: list[synth.Instance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[MessageRecord] = []

    def hook(record: MessageRecord) -> None:
        told.append(record)
        raise RuntimeError("full")  # costs nobody an answer

    async def main() -> None:
        with dicore.Store(tmp_path / "store", durability="relaxed") as store:
            async with dicore.serve(store, port=0, on_message=hook) as server:
                assert server.driver == "asyncio"
                to = f"DICORE@127.0.0.1:{server.port}"
                assert (await dicore.send([files], to=to, calling="CT1")).failed == 0
                async with dicore.connect(to, calling="WS1") as assoc:
                    await assoc.c_echo()
                    assert [one async for one in assoc.c_find(level="STUDY")]

    run(main())
    assert "on_message failed" in caplog.text
    stores, echo, find = told[:-2], told[-2], told[-1]
    assert {one.sop_instance_uid for one in stores} == {one.sop_instance_uid for one in instances}
    assert {(one.service, one.status, one.calling_ae) for one in stores} == {("C-STORE", 0, "CT1")}
    assert all(tuple(one.phases) == PHASES[2:] and one.bytes > 0 for one in stores)
    assert (echo.service, echo.status, tuple(echo.phases)) == ("C-ECHO", 0, ("answer",))
    assert (find.service, find.status, tuple(find.phases), find.calling_ae) == (
        "C-FIND", 0, ("commit", "answer"), "WS1",
    )  # fmt: skip


@pytest.mark.parametrize("first", ["echo", "query"])
def test_the_limit_of_associations_is_one_for_both_drivers(run: Run, driver: Any, tmp_path: Path, first: str) -> None:
    """Who is served by the engine, and who was handed over, take each other's places; and give them back."""
    kinds = {"echo": ["1.2.840.10008.1.1"], "query": ["1.2.840.10008.5.1.4.1.2.2.1"]}
    others = kinds["query" if first == "echo" else "echo"]

    async def main() -> None:
        with dicore.Store(tmp_path / "store", durability="relaxed") as store:
            limits = dicore.net.Limits(associations=2)
            async with dicore.serve(store, port=0, driver=driver, limits=limits) as server:
                to = f"DICORE@127.0.0.1:{server.port}"
                for _ in range(2):
                    mine = [await dicore.connect(to, contexts=kinds[first]) for _ in range(2)]
                    for contexts in kinds.values():
                        with pytest.raises(AssociationRejected) as caught:
                            await dicore.connect(to, contexts=contexts)
                        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
                    for one in mine:
                        await one.release()
                    while server.associations:  # noqa: ASYNC110 a counter sets no event
                        await asyncio.sleep(0.002)
                    async with dicore.connect(to, contexts=others):
                        pass
                    while server.associations:  # noqa: ASYNC110
                        await asyncio.sleep(0.002)

    run(main())
