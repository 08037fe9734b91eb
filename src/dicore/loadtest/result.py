"""What a run leaves: everything a report needs, as one JSON file from which the report can be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.loadtest.histogram import Histogram
from dicore.loadtest.verdict import Check, Judgement, Verdict

__all__ = ["SCHEMA", "Failure", "Heat", "LedgerResult", "Result", "Second", "StreamResult", "Trial"]

SCHEMA = "urn:dicore:loadtest-result:1"
PHASES = ("connect", "TLS", "negotiate", "first response", "transfer", "answer", "release")


class Heat:
    """Latencies over time in coarse buckets (four an octave): the heat map, in a few bytes a second."""

    OCTAVE = 4
    SLOTS = 37 * OCTAVE

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[int, npt.NDArray[np.int64]] = {}  # second -> counts

    @classmethod
    def slots_of(cls, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The bucket of each latency in microseconds."""
        array = np.maximum(np.asarray(values, float), 1.0)
        slots: npt.NDArray[np.int64] = np.minimum((np.log2(array) * cls.OCTAVE).astype(np.int64), cls.SLOTS - 1)
        return slots

    @classmethod
    def edge(cls, slot: int) -> float:
        """The lower edge of a bucket in microseconds."""
        return float(2 ** (slot / cls.OCTAVE))

    def add(self, second: int, values: npt.ArrayLike) -> None:
        """Count latencies (microseconds) of operations that were due in this second."""
        row = self.rows.get(second)
        counts = np.bincount(self.slots_of(values), minlength=self.SLOTS)
        self.rows[second] = counts if row is None else row + counts

    def merge(self, other: Heat) -> None:
        """Add another process's counts."""
        for second, counts in other.rows.items():
            row = self.rows.get(second)
            self.rows[second] = counts.copy() if row is None else row + counts

    def to_json(self) -> dict[str, list[int]]:
        """Filled buckets of each second, as [slot, count, slot, count, ...]."""
        return {
            str(second): np.stack([np.flatnonzero(row), row[np.flatnonzero(row)]], axis=1).ravel().tolist()
            for second, row in sorted(self.rows.items())
        }

    @classmethod
    def from_json(cls, data: Mapping[str, list[int]]) -> Heat:
        """The heat map of `to_json`."""
        one = cls()
        for second, flat in data.items():
            pairs = np.asarray(flat, np.int64).reshape(-1, 2)
            row = np.zeros(cls.SLOTS, np.int64)
            np.add.at(row, pairs[:, 0], pairs[:, 1])
            one.rows[int(second)] = row
        return one


@dataclass(slots=True)
class Second:
    """One second of a stream: counts of what was due, began, ended in it. Latencies of what ended, in microseconds."""

    intended: int = 0
    started: int = 0
    done: int = 0
    errors: int = 0
    size: int = 0  # bytes of data sets
    waiting: int = 0  # arrivals in the queue at its end
    associations: int = 0  # open at its end
    response: tuple[float, float, float] | None = None  # p50, p99, max from the intended start
    service: tuple[float, float, float] | None = None  # p50, p99, max from the actual start


@dataclass(slots=True)
class Failure:
    """Errors of one kind: a DIMSE status, a rejection, an abort, a time-out in a phase, a broken connection."""

    kind: str
    detail: str
    count: int = 0
    samples: list[str] = field(default_factory=list)  # a few: when, and what was said


@dataclass(slots=True)
class StreamResult:
    """Everything about one stream."""

    name: str
    operation: str
    open: bool = True
    operations: int = 0  # ended, errors among them, warm-up left out
    errors: int = 0
    size: int = 0
    intended: int = 0
    started: int = 0
    waited: int = 0
    response: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    phases: dict[str, Histogram] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[int, Second] = field(default_factory=dict)
    heat: Heat = field(default_factory=Heat)

    @property
    def achieved(self) -> float:
        """Share of the intended operations that began; 1 when nothing was intended."""
        return self.started / self.intended if self.intended else 1.0

    def fail(self, kind: str, detail: str, sample: str) -> None:
        """Count an error."""
        self.errors += 1
        for one in self.failures:
            if (one.kind, one.detail) == (kind, detail):
                break
        else:
            one = Failure(kind, detail)
            self.failures.append(one)
        one.count += 1
        if len(one.samples) < 5:
            one.samples.append(sample)

    def merge(self, other: StreamResult) -> None:
        """Add what another process measured of the same stream."""
        for name in ("operations", "errors", "size", "intended", "started", "waited"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.response.merge(other.response)
        self.service.merge(other.service)
        for name, histogram in other.phases.items():
            self.phases.setdefault(name, Histogram()).merge(histogram)
        for failure in other.failures:
            mine = next((f for f in self.failures if (f.kind, f.detail) == (failure.kind, failure.detail)), None)
            if mine is None:
                self.failures.append(failure)
            else:
                mine.count += failure.count
                mine.samples = (mine.samples + failure.samples)[:5]
        for number, second in other.seconds.items():
            ours = self.seconds.setdefault(number, Second())
            _merge_second(ours, second)
        self.heat.merge(other.heat)


def _merge_second(ours: Second, theirs: Second) -> None:
    for name in ("intended", "started", "done", "errors", "size", "waiting", "associations"):
        setattr(ours, name, getattr(ours, name) + getattr(theirs, name))
    # a percentile of two processes' second is not exact from theirs: the larger one, which does not flatter
    for name in ("response", "service"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if other is not None:
            setattr(ours, name, other if mine is None else tuple(map(max, mine, other)))


@dataclass(slots=True)
class LedgerResult:
    """What was acknowledged, and what of it was found again."""

    acknowledged: int = 0
    looked_for: int = 0
    missing: list[str] = field(default_factory=list)  # SOP Instance UIDs
    altered: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # sent, the answer never came: may be there or not
    how: str = ""
    remark: str = ""


@dataclass(slots=True)
class Trial:
    """One step of a breakpoint search."""

    phase: str
    rate: float
    passed: bool | None
    achieved: float
    p50: float | None
    p99: float | None
    errors: float
    note: str = ""


@dataclass(slots=True)
class Result:
    """A whole run."""

    name: str
    run: str  # its id, which is in everything it made
    started: str  # ISO 8601 with zone
    duration: float
    target: str
    command: str
    scenario: str  # TOML
    seed: int
    versions: dict[str, str]
    machine: dict[str, str]
    streams: list[StreamResult]
    judgement: Judgement
    checks: list[Check]
    health: dict[str, Any]
    ledger: LedgerResult | None = None
    trials: list[Trial] = field(default_factory=list)
    breakpoint: float | None = None
    ceiling: dict[str, float] = field(default_factory=dict)  # this machine against an in-process null SCP
    remarks: list[str] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)

    def stream(self, name: str) -> StreamResult:
        """The stream of that name. KeyError when there is none."""
        for one in self.streams:
            if one.name == name:
                return one
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        data = {name: getattr(self, name) for name in _PLAIN}
        data |= {
            "schema": SCHEMA,
            "verdict": str(self.judgement.verdict),
            "reasons": list(self.judgement.reasons),
            "checks": [_fields(one) for one in self.checks],
            "ledger": None if self.ledger is None else _fields(self.ledger),
            "trials": [_fields(one) for one in self.trials],
            "streams": [_stream_json(one) for one in self.streams],
        }
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """The result of `to_json`. ValueError for a file that is none."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r}: not a dicore load-test result of this version")
        try:
            plain = {name: data[name] for name in _PLAIN}
            return cls(
                **plain,
                judgement=Judgement(Verdict(data["verdict"]), tuple(data["reasons"])),
                checks=[Check(**one) for one in data["checks"]],
                ledger=None if data["ledger"] is None else LedgerResult(**data["ledger"]),
                trials=[Trial(**one) for one in data["trials"]],
                streams=[_stream_from(one) for one in data["streams"]],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a damaged load-test result: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file, whole or not at all."""
        target = Path(path)
        beside = target.with_name(f".{target.name}.part")
        beside.write_text(json.dumps(self.to_json(), separators=(",", ":")), encoding="utf-8")
        beside.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a file of `save`. OSError, or ValueError for what is no result."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{os.fspath(path)} is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"{os.fspath(path)}: not a load-test result")
        return cls.from_json(data)


_PLAIN = (
    "name", "run", "started", "duration", "target", "command", "scenario", "seed", "versions", "machine", "health",
    "breakpoint", "ceiling", "remarks", "workers",
)  # fmt: skip
_COUNTS = ("name", "operation", "open", "operations", "errors", "size", "intended", "started", "waited")


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in type(one).__dataclass_fields__}


def _stream_json(one: StreamResult) -> dict[str, Any]:
    return {name: getattr(one, name) for name in _COUNTS} | {
        "response": one.response.to_json(),
        "service": one.service.to_json(),
        "phases": {name: histogram.to_json() for name, histogram in one.phases.items()},
        "failures": [_fields(failure) for failure in one.failures],
        "seconds": {str(number): _fields(second) for number, second in sorted(one.seconds.items())},
        "heat": one.heat.to_json(),
    }


def _stream_from(data: Mapping[str, Any]) -> StreamResult:
    one = StreamResult(**{name: data[name] for name in _COUNTS})
    one.response = Histogram.from_json(data["response"])
    one.service = Histogram.from_json(data["service"])
    one.phases = {name: Histogram.from_json(histogram) for name, histogram in data["phases"].items()}
    one.failures = [Failure(**failure) for failure in data["failures"]]
    for number, second in data["seconds"].items():
        second = dict(second)
        for name in ("response", "service"):
            second[name] = None if second[name] is None else tuple(second[name])
        one.seconds[int(number)] = Second(**second)
    one.heat = Heat.from_json(data["heat"])
    return one
