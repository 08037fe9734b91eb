"""The proxy keeps what happened and no name of whom it happened to; a replay does it again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicore
from dicore import synth
from dicore.loadtest import record
from dicore.loadtest.record import Conversation, Recorder, _Listening
from dicore.loadtest.replay import replay


def same(a: list[float], b: list[float]) -> float:
    """p of the two-sample Kolmogorov-Smirnov test (asymptotic)."""
    x, y = np.sort(a), np.sort(b)
    at = np.concatenate([x, y])
    distance = np.abs(np.searchsorted(x, at, "right") / len(x) - np.searchsorted(y, at, "right") / len(y)).max()
    n = len(x) * len(y) / (len(x) + len(y))
    z = distance * (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n))
    k = np.arange(1, 101)
    return float(np.clip(2 * np.sum((-1.0) ** (k - 1) * np.exp(-2 * k * k * z * z)), 0, 1)) if z > 0.2 else 1.0


def test_the_statistic_tells_what_differs() -> None:
    rng = np.random.default_rng(1)
    assert same(rng.exponential(1, 300).tolist(), rng.exponential(1, 300).tolist()) > 0.05
    assert same(rng.exponential(1, 300).tolist(), rng.exponential(1.6, 300).tolist()) < 0.01


async def no_matches(request: Any) -> Any:
    for match in ():
        yield match


async def morning(place: str) -> set[str]:
    """A mixed load with names in it; gives what must not be in the recording."""
    secrets: set[str] = {"SECRETCT", "SECRETPACS"}
    rng = np.random.default_rng(3)
    instances = [one for size in (32, 48, 80) for one in synth.studies(size, 3, "CT", slices=3, size=size)]

    async def store(chosen: list[synth.Instance]) -> None:
        async with dicore.connect(f"SECRETPACS@{place}", calling="SECRETCT") as association:
            for one in chosen:
                await association.c_store(one.data)
                await asyncio.sleep(float(rng.exponential(0.03)))

    async def look() -> None:
        async with dicore.connect(f"SECRETPACS@{place}", calling="SECRETCT") as association:
            await association.c_echo()
            await asyncio.sleep(0.05)
            async for _ in association.c_find(level="STUDY", PatientName="SECRET^NAME"):
                pass

    tasks = []
    for number in range(9):
        tasks.append(asyncio.create_task(store(instances[3 * number : 3 * number + 3])))
        tasks.append(asyncio.create_task(look()))
        await asyncio.sleep(float(rng.exponential(0.08)))
    await asyncio.gather(*tasks)
    broken = await dicore.connect(f"SECRETPACS@{place}", calling="SECRETCT")
    broken.abort()
    for one in instances:
        ds = dicore.Dataset.from_bytes(one.data)
        secrets |= {one.sop_instance_uid, one.study_uid, one.series_uid, one.patient_id, str(ds.AccessionNumber)}
        secrets |= set(str(ds.PatientName).replace("=", "^").split("^"))
    return secrets - {""}


async def over(proxy: Recorder, associations: int) -> None:
    """Until the proxy has seen the end of so many."""
    async with asyncio.timeout(30):
        while proxy.conversations < associations:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def shape(conversations: list[Conversation]) -> tuple[list[float], list[float], list[str]]:
    """Inter-arrival times, sizes and kinds of all messages, by time."""
    messages = sorted((m for c in conversations for m in c.messages), key=lambda m: m.at)
    times = np.diff([m.at for m in messages]).tolist()
    return times, [float(m.size) for m in messages if m.kind == "store"], sorted(m.kind for m in messages)


def test_a_recorded_morning_is_replayed_alike_and_names_nobody(tmp_path: Path) -> None:
    first, second = tmp_path / "day.jsonl", tmp_path / "again.jsonl"

    async def main() -> Any:
        async with dicore.listen(port=0, on_c_store=lambda request, ds: 0, on_c_find=no_matches) as scp:
            async with Recorder(f"SECRETPACS@127.0.0.1:{scp.port}", first, port=0) as proxy:
                secrets = await morning(f"127.0.0.1:{proxy.port}")
                await over(proxy, 19)
            async with Recorder(f"OTHER@127.0.0.1:{scp.port}", second, port=0) as proxy:
                result = await replay(record.load(first), f"OTHER@127.0.0.1:{proxy.port}")
                await over(proxy, 19)
        return secrets, result

    secrets, result = asyncio.run(main())
    kept = first.read_text()
    assert [one for one in secrets if len(one) > 1 and one in kept] == []
    days = [record.load(path) for path in (first, second)]
    (times, sizes, kinds), (times2, sizes2, kinds2) = map(shape, days)
    assert kinds == kinds2
    assert kinds.count("store") == 27
    assert len({round(size) for size in sizes}) >= 3
    assert same(times, times2) > 0.05
    assert same(sizes, sizes2) > 0.05
    assert sorted(c.end for c in days[0]) == sorted(c.end for c in days[1])
    assert "aborted" in {c.end for c in days[0]}
    assert {one.name: one.errors for one in result.streams} == {"echo": 0, "find": 0, "store": 0}


def test_twice_as_fast_takes_half_as_long(tmp_path: Path) -> None:
    day = [
        Conversation(float(n) / 5, [(dicore.uid.VERIFICATION, [dicore.uid.IMPLICIT_LITTLE])],
                     [record.Message(n / 5 + 0.01, "echo", dicore.uid.VERIFICATION, dicore.uid.IMPLICIT_LITTLE)],
                     "released", 0.1)
        for n in range(10)
    ]  # fmt: skip

    async def main(speed: float) -> list[Conversation]:
        path = tmp_path / f"{speed}.jsonl"
        async with (
            dicore.listen(port=0) as scp,
            Recorder(f"A@127.0.0.1:{scp.port}", path, port=0) as proxy,
        ):
            await replay(day, f"A@127.0.0.1:{proxy.port}", speed=speed)
        return record.load(path)

    spans = [(lambda c: c[-1].at - c[0].at)(asyncio.run(main(speed))) for speed in (1.0, 4.0)]
    assert spans[0] / spans[1] > 2  # 4 on an idle machine


def wire() -> tuple[bytes, bytes]:
    """Both directions of an association with an echo and a store, as our own two ends speak it."""
    heard: dict[str, bytearray] = {"client": bytearray(), "server": bytearray()}

    async def main() -> None:
        async with dicore.listen(port=0, on_c_store=lambda request, ds: 0) as scp:

            async def pump(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError):
                    while data := await reader.read(65536):
                        heard[name] += data
                        writer.write(data)
                        await writer.drain()
                writer.close()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, back = await asyncio.open_connection("127.0.0.1", scp.port)
                await asyncio.gather(pump("client", reader, back), pump("server", there, writer))

            proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = proxy.sockets[0].getsockname()[1]
            async with dicore.connect(f"A@127.0.0.1:{port}") as association:
                await association.c_echo()
                await association.c_store(next(iter(synth.studies(1, 1, size=32, slices=1))).data)
            proxy.close()

    asyncio.run(main())
    return bytes(heard["client"]), bytes(heard["server"])


@pytest.fixture(scope="module")
def conversation() -> tuple[bytes, bytes]:
    return wire()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1 << 20), max_size=30), st.lists(st.integers(0, 1 << 20), max_size=30))
def test_any_split_gives_the_same_conversation(
    conversation: tuple[bytes, bytes], cuts: list[int], other_cuts: list[int]
) -> None:
    listening = _Listening(0.0)
    client, server = conversation
    request = 6 + int.from_bytes(client[2:6], "big")  # the negotiation comes first on both sides
    accept = 6 + int.from_bytes(server[2:6], "big")
    for one in pieces(client[:request], cuts):
        listening.client.feed(one)
    for one in pieces(server[:accept], other_cuts):
        listening.server.feed(one)
    for one in pieces(client[request:], cuts):
        listening.client.feed(one)
    for one in pieces(server[accept:], other_cuts):
        listening.server.feed(one)
    found = listening.done()
    assert found.end == "released"
    assert [(m.kind, m.status, m.responses) for m in found.messages] == [("echo", 0, 1), ("store", 0, 1)]
    echo, store = found.messages
    assert (echo.size, echo.sop_class) == (0, dicore.uid.VERIFICATION)
    assert store.size > 2000
    assert store.transfer_syntax == dicore.uid.EXPLICIT_LITTLE
    assert not listening.client.broken


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8), st.binary(max_size=400))
def test_bytes_that_are_no_pdus_are_borne(client: list[bytes], server: bytes) -> None:
    listening = _Listening(0.0)
    for one in client:
        listening.client.feed(one)
    listening.server.feed(server)
    assert len(listening.client.body) <= 1 << 16
    listening.done()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_conversation_is_borne(conversation: tuple[bytes, bytes], data: st.DataObject) -> None:
    listening = _Listening(0.0)
    for feed, stream in zip((listening.client.feed, listening.server.feed), conversation, strict=True):
        damaged = bytearray(stream)
        for _ in range(data.draw(st.integers(1, 6))):
            damaged[data.draw(st.integers(0, min(len(damaged), 600) - 1))] = data.draw(st.integers(0, 255))
        feed(bytes(damaged))
    json.dumps([one.kind for one in listening.done().messages])


def test_a_recording_is_never_overwritten_and_other_files_are_none(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text('{"other": 1}\n')
    with pytest.raises(ValueError, match="not a dicore recording"):
        record.load(path)

    async def main() -> None:
        async with Recorder("A@127.0.0.1:1", path, port=0):
            pass

    with pytest.raises(FileExistsError):
        asyncio.run(main())
