"""Generators on other machines: each is an actor of a Ray cluster, its clock compared with ours, its ticks merged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dicore.loadtest.meter import Job
from dicore.loadtest.work import Tick, work

__all__ = ["fan_out", "places"]

LEAD = 1.0  # seconds between the order to start and the first arrival
PREPARATION = 300.0  # seconds that generators may take to come up and make what they send
_LOOKS = 9  # at a clock; the one with the shortest way counts


class _Generator:
    """The actor: one generator process, as `run._child` is on this machine."""

    def __init__(self) -> None:
        self._ticks: list[Tick] = []
        self._news = asyncio.Event()
        self._ready, self._stop = asyncio.Event(), asyncio.Event()
        self._start: asyncio.Future[float] | None = None
        self._task: asyncio.Task[None] | None = None

    async def prepare(self, job: Job) -> None:
        """Make what is sent; returns when it is made."""
        start: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._start = start

        async def go() -> float:
            self._ready.set()
            return await start

        self._task = asyncio.create_task(work(job, self._emit, self._stop, go))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task  # it failed, and says why

    def _emit(self, tick: Tick) -> None:
        self._ticks.append(tick)
        self._news.set()

    async def clock(self) -> float:
        return time.monotonic()

    async def start(self, moment: float) -> None:
        """Begin at a moment of this machine's monotonic clock."""
        assert self._start is not None
        self._start.set_result(moment)

    async def ticks(self) -> list[Tick]:
        """What there is since the last call; waits for something."""
        await self._news.wait()
        self._news.clear()
        ticks, self._ticks = self._ticks, []
        return ticks

    async def stop(self) -> None:
        self._stop.set()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise RuntimeError("generators on other machines need Ray: pip install 'dicore[ray]'") from None
    return ray


def places(address: str) -> int:
    """Join the cluster at `address`; how many living nodes it has. RuntimeError without Ray, ConnectionError."""
    ray = _ray()
    if not ray.is_initialized():
        host = address.rpartition(":")[0]
        local = {"_node_ip_address": host} if host.startswith("127.") else {}
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    return sum(bool(node["Alive"]) for node in ray.nodes())


async def fan_out(
    whole: Job,
    take: Callable[[Tick], None],
    lost: Callable[[int], object],
    stop: asyncio.Event,
) -> None:
    """Run `whole.processes` generators, spread over the nodes of the cluster that `places` joined.

    `take` gets their ticks, `lost` the number of one that died: the others go on. RuntimeError when none comes up.
    """
    ray = _ray()
    kind = ray.remote(num_cpus=1, scheduling_strategy="SPREAD", max_restarts=0)(_Generator)
    actors = [kind.remote() for _ in range(whole.processes)]
    alive: dict[int, Any] = {}
    offsets: dict[int, float] = {}
    why: list[str] = []

    async def prepare(number: int) -> None:
        try:
            async with asyncio.timeout(PREPARATION):
                await actors[number].prepare.remote(replace(whole, number=number))
                offsets[number] = await _offset(actors[number])
            alive[number] = actors[number]
        except (ray.exceptions.RayError, TimeoutError) as error:
            why.append(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__)
            lost(number)

    async def listen(number: int, actor: Any) -> None:
        try:
            while True:
                for tick in await actor.ticks.remote():
                    take(tick)
                    if tick.last:
                        return
        except ray.exceptions.RayError:
            lost(number)

    try:
        await asyncio.gather(*(prepare(number) for number in range(whole.processes)))
        if not alive:
            raise RuntimeError(f"no generator came up: {why[0]}")
        begin = time.monotonic() + LEAD
        await asyncio.gather(
            *(actor.start.remote(begin + offsets[number]) for number, actor in alive.items()), return_exceptions=True
        )
        listening = asyncio.gather(*(listen(number, actor) for number, actor in alive.items()))
        stopping = asyncio.create_task(stop.wait())
        limit = whole.scenario.duration + 2 * whole.scenario.grace + LEAD + 30
        both: list[asyncio.Future[Any]] = [listening, stopping]
        await asyncio.wait(both, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            await asyncio.gather(*(actor.stop.remote() for actor in alive.values()), return_exceptions=True)
            await asyncio.wait([listening], timeout=whole.scenario.grace + 10)
        stopping.cancel()
        listening.cancel()
    finally:
        for actor in actors:
            ray.kill(actor)


async def _offset(actor: Any) -> float:
    """That machine's monotonic clock less ours, as of the look with the shortest way there and back."""
    looks = []
    for _ in range(_LOOKS):
        before = time.monotonic()
        there = await actor.clock.remote()
        after = time.monotonic()
        looks.append((after - before, there - (before + after) / 2))
    return float(min(looks)[1])
