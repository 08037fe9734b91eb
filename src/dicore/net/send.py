"""`send`: files to a peer over several associations."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dicore import uid
from dicore._native import net as native
from dicore._native.net import Paths, Pump, survey
from dicore.errors import DicoreError, NetworkError
from dicore.net.address import Address, check_ae_title
from dicore.net.capture import Capture, CaptureFile, opened
from dicore.net.client import Association, Context, connect, file_failure
from dicore.net.limits import Limits, Timeouts
from dicore.net.status import describe, is_failure, is_retryable, is_warning

__all__ = ["SendProgress", "SendReport", "send"]

Pair = tuple[str, str]  # SOP class, transfer syntax
PathLike = str | os.PathLike[str]

_SAMPLE = 64  # files whose headers are read before the first proposal
_PROGRESS_EVERY = 0.1  # seconds
_JOURNAL_EVERY = 0.5
_BACK_OFF = 0.25  # seconds before the first retry; doubled each time
_LONGEST_BACK_OFF = 30.0


class SendProgress(NamedTuple):
    """How far a `send` is: files `done` (the `failed` ones included) of `total`; `bytes` of data sets acknowledged."""

    done: int
    total: int
    failed: int
    bytes: int
    seconds: float


@dataclass(slots=True)
class SendReport:
    """What became of the files of a `send`: each is counted once."""

    sent: int = 0  # acknowledged with success or a warning
    failed: int = 0
    warnings: int = 0  # of those sent
    bytes: int = 0  # of the data sets that were acknowledged
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    retried: int = 0  # attempts beyond the first
    skipped: int = 0  # acknowledged before, by the journal; not among those sent


class _Journal:
    """What has been acknowledged, a line a file: size, time of change, path. Appended to, so that a kill loses nothing
    but the last half second, which is sent again (and is no second copy for a peer that knows duplicates)."""

    def __init__(self, path: PathLike) -> None:
        self._file = open(path, "a+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 closed by close()
        self._file.seek(0)
        self._known = set(self._file.read().splitlines())

    @staticmethod
    def _line(path: str) -> str | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return f"{status.st_size} {status.st_mtime_ns} " + os.path.abspath(path).replace("\\", "\\\\").replace(
            "\n", "\\n"
        )

    def knows(self, path: str) -> bool:
        return self._line(path) in self._known

    def add(self, paths: Iterable[str]) -> None:
        lines = [line for line in map(self._line, paths) if line is not None and line not in self._known]
        self._known.update(lines)
        self._file.write("".join(line + "\n" for line in lines))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Sending:
    """One `send` under way."""

    def __init__(
        self,
        files: list[str],
        address: Address,
        calling: str,
        associations: int,
        progress: Callable[[SendProgress], object] | None,
        timeouts: Timeouts,
        limits: Limits,
        window: int,
        sources: Sequence[str],
        retries: int,
        journal: _Journal | None,
        tls: ssl.SSLContext | None,
        wire: Capture | None,
    ) -> None:
        self.files = files
        self.window, self.sources, self.retries, self.journal = window, sources, retries, journal
        self.tls, self.wire = tls, wire
        self.attempts: dict[int, int] = {}  # of those that were retried
        self.again: list[int] = []  # of this round, to be tried in the next
        self.noted: set[int] = set()  # in the journal
        self.paths = Paths([os.fsencode(one) for one in files])
        self.address, self.calling, self.associations = address, calling, associations
        self.progress, self.timeouts, self.limits = progress, timeouts, limits
        self.report = SendReport()
        self.pump: Pump | None = None
        self.begun = time.perf_counter()
        self.loop = asyncio.get_running_loop()

    async def run(self) -> SendReport:
        """Rounds, until every file has its outcome: propose what is known of the files, send what fits."""
        waiting: list[int] = list(range(len(self.files)))
        if self.journal is not None:
            known = await self.loop.run_in_executor(None, lambda: [i for i in waiting if self._journaled(i)])
            self.report.skipped = len(known)
            waiting = sorted(set(waiting).difference(known))
        writer = self.loop.create_task(self._write_journal()) if self.journal is not None else None
        timer = self.loop.create_task(self._show()) if self.progress is not None else None
        try:
            step = max(1, len(waiting) // _SAMPLE)
            found = await self._survey(waiting[::step]) if waiting else {}
            while waiting:
                if not found:  # nothing that could be proposed: have each file say why
                    found = {(uid.VERIFICATION, uid.IMPLICIT_LITTLE): []}
                waiting, found = await self._round(waiting, found)
                if self.again:
                    again, self.again = self.again, []
                    if not waiting:  # else what follows takes its time anyway
                        await asyncio.sleep(self._back_off(again))
                    for pair, indexes in (await self._survey(again)).items():
                        found.setdefault(pair, []).extend(indexes)
                    waiting = sorted({*waiting, *again})
        finally:
            if writer is not None:
                writer.cancel()
            if timer is not None:
                timer.cancel()
            self.report.seconds = time.perf_counter() - self.begun
        if self.progress is not None:
            self.progress(self._state())
        return self.report

    async def _survey(self, indexes: list[int]) -> dict[Pair, list[int]]:
        return await self.loop.run_in_executor(None, survey, self.paths, indexes)

    async def _round(self, waiting: list[int], found: dict[Pair, list[int]]) -> tuple[list[int], dict[Pair, list[int]]]:
        """Send what the contexts of one set of associations allow. What is left, and what is known of it."""
        contexts, proposed = _propose(found)
        open_ones = await self._open(contexts, min(self.associations, len(waiting)))
        if isinstance(open_ones, NetworkError):
            if self.report.sent == 0 and self.report.failed == 0 and not self.attempts:
                raise open_ones
            for index in waiting:
                self._retry(index, str(open_ones))
            return [], {}
        try:
            self.pump = pump = Association.pump(open_ones, self.paths, waiting)
            await Association.pumped(open_ones, pump)
            homeless, unsent = self._settle(pump, open_ones)
            self._note(pump)
            self.pump = None
            alive = [one for one in open_ones if one.open]
            later = await self._survey(homeless) if homeless else {}
            known = {index for indexes in later.values() for index in indexes}
            for index in homeless:
                if index not in known:
                    self._fail(index, "cannot be read any more")
            for pair in [pair for pair in later if pair in proposed]:
                for index in later.pop(pair):
                    await self._send_rewritten(index, pair, alive)
        finally:
            await asyncio.gather(*(one.release() for one in open_ones))
        if unsent:  # no association was left
            why = next((str(one.ended) for one in open_ones if one.ended is not None), "no association was left")
            for index in unsent:
                self._retry(index, f"not sent: {why}")
        return sorted(index for indexes in later.values() for index in indexes), later

    async def _open(self, contexts: Sequence[Context], count: int) -> list[Association] | NetworkError:
        async def one(number: int) -> Association:
            return await connect(
                self.address,
                calling=self.calling,
                contexts=contexts,
                timeouts=self.timeouts,
                limits=self.limits,
                window=self.window,
                source=self.sources[number % len(self.sources)] if self.sources else None,
                tls=self.tls,
                wire=self.wire,
            )

        tasks = [self.loop.create_task(one(number)) for number in range(count)]
        try:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled() and task.exception() is None:
                    task.result().abort()
            raise
        opened = [each for each in results if isinstance(each, Association)]
        other = next((each for each in results if not isinstance(each, Association | NetworkError)), None)
        if other is not None:
            for association in opened:
                association.abort()
            assert isinstance(other, BaseException)
            raise other
        return opened or next(each for each in results if isinstance(each, NetworkError))

    def _settle(self, pump: Pump, associations: Sequence[Association]) -> tuple[list[int], list[int]]:
        """Book the outcomes. Files that no context was accepted for, and files whose turn did not come."""
        homeless, unsent = [], []
        self.report.bytes += pump.bytes
        plain, others = pump.settled()
        self.report.sent += plain
        for index, outcome, status, detail in others:
            if outcome == native.SENT:
                self._answered(index, status)
            elif outcome == native.NO_CONTEXT:
                homeless.append(index)
            elif outcome == native.WAITING:
                unsent.append(index)
            elif outcome == native.LOST:
                self._retry(index, f"not acknowledged: {associations[detail].ended}")
            else:
                self._fail(index, file_failure(outcome, detail))
        return homeless, unsent

    async def _send_rewritten(self, index: int, pair: Pair, alive: Sequence[Association]) -> None:
        association = next((one for one in alive if one.open), None)
        if association is None:
            self._fail(index, "not sent: no association was left")
            return
        if pair[1] not in uid.UNCOMPRESSED:
            self._fail(index, f"the peer accepts no context for {uid.name(pair[0])} in {uid.name(pair[1])}")
            return
        try:
            status, size = await association.store_rewritten(self.files[index])
        except (DicoreError, OSError) as error:
            self._fail(index, str(error))
        except Exception as error:  # pydicom could not rewrite it
            self._fail(index, f"cannot be rewritten: {type(error).__name__}: {error}")
        else:
            self.report.bytes += size
            self._answered(index, status)

    def _answered(self, index: int, status: int) -> None:
        if is_failure(status):
            answer = f"the peer answered {describe(status)}"
            if is_retryable(status):
                self._retry(index, answer)
            else:
                self._fail(index, answer)
            return
        self.report.sent += 1
        if is_warning(status):
            self.report.warnings += 1

    def _retry(self, index: int, reason: str) -> None:
        """Once more in the next round; a failure when it was often enough."""
        attempts = self.attempts.get(index, 0)
        if attempts >= self.retries:
            self._fail(index, f"{reason} ({attempts + 1} attempts)" if attempts else reason)
            return
        self.attempts[index] = attempts + 1
        self.report.retried += 1
        self.again.append(index)

    def _back_off(self, indexes: Sequence[int]) -> float:
        attempt: int = max(self.attempts.get(index, 1) for index in indexes)
        pause: float = min(_LONGEST_BACK_OFF, _BACK_OFF * 2.0 ** (attempt - 1))
        return pause * random.uniform(0.75, 1.25)

    def _journaled(self, index: int) -> bool:
        return self.journal is not None and self.journal.knows(self.files[index])

    def _note(self, pump: Pump) -> None:
        """Write down what this pump has had acknowledged since the last time."""
        if self.journal is None:
            return
        fresh = [
            index
            for index, outcome, status, _ in pump.results()
            if outcome == native.SENT and not is_failure(status) and index not in self.noted
        ]
        self.noted.update(fresh)
        self.journal.add(self.files[index] for index in fresh)

    async def _write_journal(self) -> None:
        while True:
            await asyncio.sleep(_JOURNAL_EVERY)
            if self.pump is not None:
                self._note(self.pump)

    def _fail(self, index: int, reason: str) -> None:
        self.report.failed += 1
        self.report.failures.append((self.files[index], reason))

    def _state(self) -> SendProgress:
        report, pump = self.report, self.pump
        done, failed, size = report.sent + report.failed, report.failed, report.bytes
        if pump is not None:
            done, failed, size = done + pump.done, failed + pump.failed, size + pump.bytes
        return SendProgress(done, len(self.files), failed, size, time.perf_counter() - self.begun)

    async def _show(self) -> None:
        assert self.progress is not None
        while True:
            await asyncio.sleep(_PROGRESS_EVERY)
            self.progress(self._state())


def _propose(found: dict[Pair, list[int]]) -> tuple[list[Context], set[Pair]]:
    """Contexts for as many pairs as an association has room for, and the pairs they are for: each pair one of its own,
    and each SOP class of an uncompressed one another in Implicit VR Little Endian, the default of PS3.5 10.1."""
    contexts: list[Context] = []
    proposed: set[Pair] = set()
    fallbacks: set[str] = set()
    for pair in sorted(found, key=lambda one: -len(found[one])):
        sop_class, syntax = pair
        extra = syntax in uid.UNCOMPRESSED and syntax != uid.IMPLICIT_LITTLE and sop_class not in fallbacks
        if len(contexts) + 1 + extra > 128:
            break
        contexts.append((sop_class, (syntax,)))
        proposed.add(pair)
        if extra:
            fallbacks.add(sop_class)
            contexts.append((sop_class, (uid.IMPLICIT_LITTLE,)))
    return contexts, proposed


def _expand(paths: PathLike | Iterable[PathLike]) -> list[str]:
    """Files as they are, folders as all files under them in the order of their names."""
    given = [os.fspath(one) for one in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    searched = set(Paths([os.fsencode(one) for one in given]).folders())
    if not searched:
        return given
    files: list[str] = []
    for number, text in enumerate(given):
        if number in searched:
            for folder, folders, names in os.walk(text):
                folders.sort()
                files += [os.path.join(folder, name) for name in sorted(names)]
        else:
            files.append(text)
    return files


async def send(
    paths: PathLike | Iterable[PathLike],
    *,
    to: str | Address,
    associations: int = 1,
    calling: str = "DICORE",
    progress: Callable[[SendProgress], object] | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    window: int = 1,
    source: str | Sequence[str] = (),
    retries: int = 0,
    journal: PathLike | None = None,
    tls: ssl.SSLContext | None = None,
    wire: CaptureFile | None = None,
) -> SendReport:
    """Send files (folders are searched) by C-STORE over up to `associations` associations at once.

    Contexts are proposed from the files' own SOP classes and transfer syntaxes; each file goes out as it is stored.
    Where the peer refuses its syntax, an uncompressed data set is rewritten in another one; a compressed one is a
    failure in the report. `progress` is called with a `SendProgress` about ten times a second and once at the end, on
    the loop's thread.

    `window`: C-STOREs under way on each association, where the peer agrees (PS3.7 D.3.3.3; 0: as many as it likes, at
    most 64). `source`: addresses to connect from, taken in turn. `retries`: how often a file is tried again when the
    peer was out of resources (A7xx, 0213) or the association was lost before its answer, after a pause that grows;
    each file is reported once, by its last outcome. `journal`: a file in which acknowledged files are written down;
    those that stand in it, unchanged, are skipped. `tls`, `wire`: as of `connect`.

    Raises what `connect` raises when no association comes about at first; later trouble is in the report. Cancelling
    aborts the associations.
    """
    if associations < 1:
        raise ValueError(f"{associations} associations: at least one is needed")
    if retries < 0 or not 0 <= window <= 64:
        raise ValueError(f"window {window}, retries {retries}: from 0, the window up to 64")
    address = Address.parse(to)
    check_ae_title(calling)
    files = await asyncio.get_running_loop().run_in_executor(None, _expand, paths)
    notes = None if journal is None else _Journal(journal)
    try:
        async with opened(wire) as capture:
            return await _Sending(
                files,
                address,
                calling,
                associations,
                progress,
                timeouts or Timeouts(),
                limits or Limits(),
                window,
                [source] if isinstance(source, str) else list(source),
                retries,
                notes,
                tls,
                capture,
            ).run()
    finally:
        if notes is not None:
            notes.close()
