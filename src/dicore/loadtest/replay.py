"""A recorded day played against another target: the same arrivals, mix, sizes and endings, with made-up content."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import sys
import time
import uuid
from collections.abc import Callable, Sequence

import numpy as np

import dicore
from dicore import uid
from dicore.dataset import Dataset
from dicore.errors import DimseError, NetworkError
from dicore.loadtest.clock import Timer
from dicore.loadtest.histogram import Histogram
from dicore.loadtest.material import ISSUER, run_root
from dicore.loadtest.operations import explain
from dicore.loadtest.record import Conversation, Message
from dicore.loadtest.result import Result, Second, StreamResult
from dicore.loadtest.run import _machine, _versions
from dicore.loadtest.verdict import Health, judge
from dicore.net.client import Association

__all__ = ["replay"]

PLAYED = ("echo", "store", "find", "get", "move")


async def replay(
    conversations: Sequence[Conversation],
    target: str,
    *,
    speed: float = 1.0,
    destination: str = "",
    progress: Callable[[int], object] | None = None,
) -> Result:
    """Play a recording, `speed` times as fast. C-MOVE goes to `destination`, and is left out without one.

    Associations open when they did, each message is due when it was, relative to the others; what cannot begin in
    time is late and counted. Stored instances have the SOP class and the size of the recorded ones, and a UID root of
    this run. N-services are left out: they need the content that was not kept. ValueError for an empty recording or a
    speed that is not positive.
    """
    if not conversations or speed <= 0:
        raise ValueError("a replay needs a recording with associations, and a positive speed")
    run = str(uuid.uuid4())
    begun = datetime.datetime.now().astimezone()
    player = _Player(target, speed, destination, run)
    origin = conversations[0].at
    player.start = time.monotonic() + 0.1
    timer = Timer()
    tasks = []
    try:
        for number, one in enumerate(conversations):
            await timer.until(player.start + (one.at - origin) / speed)
            tasks.append(asyncio.create_task(player.converse(number, one, origin)))
            if progress is not None:
                progress(number + 1)
        await asyncio.gather(*tasks)
    finally:
        timer.close()
        for task in tasks:
            task.cancel()
    duration = max(1.0, time.monotonic() - player.start)
    health = player.health
    skipped = sum(
        m.kind not in PLAYED or (m.kind == "move" and not destination) for c in conversations for m in c.messages
    )
    remarks = [f"{skipped:,} recorded messages of kinds that need the content that was not kept were left out"] * bool(
        skipped
    )
    return Result(
        name=f"replay of {len(conversations):,} associations, {speed:g}x",
        run=run,
        started=begun.isoformat(timespec="seconds"),
        duration=duration,
        target=target,
        command=" ".join(sys.argv),
        scenario="",
        seed=0,
        versions=_versions(),
        machine=_machine(),
        streams=list(player.streams.values()),
        judgement=judge(health),
        checks=[],
        health={
            "shown": {
                "begun late, 99 %": f"{(health.start_lag.percentile(99) or health.start_lag.largest) / 1000:,.1f} ms"
            },
            "studies": {},
        },
        remarks=remarks,
    )


class _Player:
    def __init__(self, target: str, speed: float, destination: str, run: str) -> None:
        self.target, self.speed, self.destination = target, speed, destination
        self.root = run_root(run)
        self.start = 0.0
        self.streams: dict[str, StreamResult] = {}
        self.health = Health()
        self.made = 0

    async def converse(self, number: int, one: Conversation, origin: float) -> None:
        contexts = [(abstract, tuple(syntaxes)) for abstract, syntaxes in one.contexts if abstract and syntaxes]
        roles = any(m.kind == "get" for m in one.messages)
        association: Association | None = None
        try:
            association = await dicore.connect(
                self.target, calling="DICORELOAD", contexts=contexts or [uid.VERIFICATION], receive=roles
            )
        except NetworkError as error:
            if one.end != "rejected":
                self._stream("associate").fail(*explain(error), str(error))
            return
        try:
            for message in one.messages:
                if message.kind in PLAYED and (message.kind != "move" or self.destination):
                    await self._play(association, message, origin)
        except NetworkError:
            return
        finally:
            with contextlib.suppress(NetworkError):
                if one.end == "aborted":
                    association.abort()
                else:
                    await association.release()

    def _stream(self, kind: str) -> StreamResult:
        return self.streams.setdefault(kind, StreamResult(kind, kind))

    async def _play(self, association: Association, message: Message, origin: float) -> None:
        due = (message.at - origin) / self.speed
        left = self.start + due - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        stream = self._stream(message.kind)
        begin = time.monotonic() - self.start
        stream.intended += 1
        stream.started += 1
        self.health.intended += 1
        self.health.started += 1
        self.health.start_lag.add([max(0.0, begin - due - 0.0012) * 1e6] if left > 0 else [])
        second = stream.seconds.setdefault(int(due), Second())
        second.intended += 1
        second.started += 1
        try:
            await self._operate(association, message, stream)
        except DimseError as error:
            if message.status == 0:  # it had succeeded
                stream.fail(*explain(error), str(error))
        except NetworkError as error:
            stream.fail(*explain(error), str(error))
            raise
        finally:
            end = time.monotonic() - self.start
            stream.operations += 1
            stream.response.add([round((end - due) * 1e6)])
            stream.service.add([round((end - begin) * 1e6)])
            stream.heat.add(int(due), [(end - due) * 1e6])
            stream.seconds.setdefault(int(end), Second()).done += 1
            stream.phases.setdefault("answer", Histogram()).add([round((end - begin) * 1e6)])

    async def _operate(self, association: Association, message: Message, stream: StreamResult) -> None:
        match message.kind:
            case "echo":
                await association.c_echo()
            case "store":
                data = self._instance(message)
                stream.size += message.size
                await association.c_store(data)
            case "find":
                async for _ in association.c_find(sop_class=message.sop_class, level="STUDY", PatientID="LT-NOBODY"):
                    pass
            case "get":
                async for _ in association.c_get(
                    sop_class=message.sop_class, level="STUDY", StudyInstanceUID=self.root
                ):
                    pass
            case _:
                answers = association.c_move(
                    sop_class=message.sop_class, destination=self.destination, level="STUDY", StudyInstanceUID=self.root
                )
                async for _ in answers:
                    pass

    def _instance(self, message: Message) -> bytes:
        """An instance of the recorded class, syntax and size: the bulk is noise in a private element."""
        self.made += 1
        name = f"{self.root}.9.{self.made}"
        ds = dicore.new(
            message.sop_class or "1.2.840.10008.5.1.4.1.1.7",
            PatientID="LT-REPLAY",
            PatientName="TEST^REPLAY",
            IssuerOfPatientID=ISSUER,
            InstitutionName="TEST",
            StudyInstanceUID=f"{self.root}.9",
            SeriesInstanceUID=f"{self.root}.9.0",
            SOPInstanceUID=name,
        )
        syntax = message.transfer_syntax or uid.EXPLICIT_LITTLE
        if syntax not in uid.UNCOMPRESSED:
            syntax = uid.EXPLICIT_LITTLE
        return _sized(ds, message.size, syntax, message.transfer_syntax)


def _sized(ds: Dataset, size: int, written: str, claimed: str) -> bytes:
    """Part 10 bytes of `ds` whose data set has `size` bytes, or as few as its identifiers need."""
    from dicore.loadtest.ledger import body

    def make(extra: int) -> bytes:
        noise = np.random.default_rng(extra).integers(0, 256, extra, np.uint8).tobytes()
        one = ds.edit({"0011,0010": dicore.Typed("LO", "DICORE LOADTEST"), "0011,1000": dicore.Typed("OB", noise)})
        return one.to_bytes(written)

    least = len(body(make(0)))
    data = make(max(0, size - least) & ~1)
    if claimed and claimed != written:  # a compressed one: the peer does not look inside a private element
        data = _claim(data, claimed)
    return data


def _claim(data: bytes, syntax: str) -> bytes:
    from dicore._native import net as native
    from dicore.dataset.encode import file_meta

    sop_class, instance, _, start = native.identify_bytes(memoryview(data))
    return b"\0" * 128 + b"DICM" + file_meta(sop_class, instance, syntax) + data[start:]
