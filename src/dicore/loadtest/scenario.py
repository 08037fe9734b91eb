"""What a load test does: streams of operations, each with its arrivals, checked before a byte is sent.

A scenario is TOML, or these models. Times are "250ms", "10s", "5m", "2h" or a number of seconds.
"""

from __future__ import annotations

import functools
import os
import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dicore.loadtest import arrivals
from dicore.net.tls import client_context
from dicore.synth.studies import Modality

__all__ = ["Arrivals", "Objective", "Safety", "Scenario", "ScenarioError", "Stream", "Tls", "load", "parse"]

Operation = Literal[
    "echo", "store", "find", "worklist", "move", "get", "mpps", "commitment", "stow", "qido", "wado",
    "abort", "half-open", "slow-reader", "malformed",
]  # fmt: skip
WEB = ("stow", "qido", "wado")
FAULTS = ("abort", "half-open", "slow-reader", "malformed")


class ScenarioError(ValueError):
    """A scenario that says something impossible; the message names each mistake with its path."""


def seconds(value: Any) -> Any:
    """'250ms', '10s', '5m', '2h', '1d' or a number, as seconds."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(" ", "")
    for unit, factor in (("ms", 0.001), ("us", 1e-6), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    return float(text)


def byte_count(value: Any) -> Any:
    """'512KB', '20GB', '1TiB' or a number, as bytes."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(" ", "")
    for power, letter in enumerate("kmgt", 1):
        for suffix, base in ((f"{letter}ib", 1024), (f"{letter}b", 1000)):
            if text.endswith(suffix):
                return round(float(text[: -len(suffix)]) * base**power)
    return int(text.removesuffix("b"))


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(byte_count), Field(gt=0)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Arrivals(_Model):
    """Arrivals a second of the open model: `rate` (constant), `from`/`to` (ramp), `rates` (steps), `spike`, `points`,
    or `day` (24 hourly weights round the mean `rate`). `model`: whether they come evenly or like people."""

    model: Literal["poisson", "constant"] = "poisson"
    rate: Rate | None = None
    start: Rate | None = Field(None, alias="from")
    to: Rate | None = None
    rates: tuple[Rate, ...] = ()
    spike: Rate | None = None
    at: Seconds = 0.0
    width: Seconds = 0.0
    points: tuple[tuple[Seconds, Rate], ...] = ()
    day: bool | tuple[Rate, ...] = False

    @model_validator(mode="after")
    def _one_shape(self) -> Arrivals:
        shapes = [
            self.start is not None or self.to is not None,
            bool(self.rates),
            bool(self.points),
            self.rate is not None,
        ]
        if sum(shapes) != 1:
            raise ValueError("say exactly one of rate, from and to, rates, points")
        if shapes[0] and (self.start is None or self.to is None):
            raise ValueError("a ramp has both from and to")
        if (self.spike is not None or self.day is not False) and self.rate is None:
            raise ValueError("spike and day need the base rate")
        if self.spike is not None and self.day is not False:
            raise ValueError("spike or day, not both")
        if isinstance(self.day, tuple) and (len(self.day) != 24 or not sum(self.day)):
            raise ValueError("day has 24 hourly weights")
        return self

    def profile(self, duration: float) -> arrivals.Profile:
        """The curve over `duration` seconds. ValueError when a spike lies outside it."""
        if self.points:
            return arrivals.Profile(self.points)
        if self.rates:
            return arrivals.step(self.rates, duration / len(self.rates))
        if self.start is not None and self.to is not None:
            return arrivals.ramp(self.start, self.to, duration)
        rate = self.rate or 0.0
        if self.spike is not None:
            return arrivals.spike(rate, self.spike, duration, self.at, self.width)
        if self.day is True:
            return arrivals.day(rate, duration)
        if isinstance(self.day, tuple):
            return arrivals.day(rate, duration, self.day)
        return arrivals.constant(rate, duration)


class Material(_Model):
    """What a store stream sends: synthetic series, or the user's own files with new identifiers."""

    modality: Modality | Literal["mixed"] = "CT"
    slices: Annotated[int, Field(ge=1, le=20_000)] = 24
    size: Annotated[int, Field(ge=16, le=4096)] = 512
    series: Annotated[int, Field(ge=1, le=100)] = 1
    transfer_syntax: str = ""  # "": uncompressed explicit little endian
    template: str = ""  # a folder of real files


class Tls(_Model):
    """How a stream's connections are encrypted: files in PEM, names as of `dicore.net.tls.client_context`."""

    ca: str = ""  # who signs the target's certificate; "": whom the system trusts
    cert: str = ""  # ours, when the target wants one
    key: str = ""  # its key; "": in the same file
    profile: str = "bcp195"
    any_name: bool = False  # the certificate need not name the target's host

    def context(self) -> ssl.SSLContext:
        """Made once. ValueError for files that are no certificates, OSError for those that cannot be read."""
        return _context(self)


@functools.lru_cache(maxsize=16)
def _context(tls: Tls) -> ssl.SSLContext:
    return client_context(
        tls.ca or None, tls.cert or None, tls.key or None, tls.profile, check_hostname=not tls.any_name
    )


class Stream(_Model):
    """One kind of work. Open model: `arrivals`. Closed model: `users`, each of whom waits for an answer and thinks."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    operation: Operation
    arrivals: Arrivals | None = None
    users: Annotated[int, Field(ge=0, le=20_000)] = 0
    think: Seconds = 0.0
    associations: Annotated[int, Field(ge=1, le=20_000)] = 8  # at most so many at once
    association: Literal["image", "series", "study", "kept"] = "kept"  # how long one lives
    calling: Annotated[str, Field(min_length=1, max_length=16)] = "DICORELOAD"
    called: Annotated[str, Field(max_length=16)] = ""  # "": the target's
    pdu: Annotated[int, Field(ge=4096, le=1 << 27)] = 1 << 20
    window: Annotated[int, Field(ge=1, le=64)] = 1  # of a store: so many under way on an association (PS3.7 D.3.3.3)
    tls: Annotated[Tls | None, BeforeValidator(lambda value: {} if value is True else value or None)] = None
    timeout: Seconds = 60.0
    material: Material = Material()
    level: Literal["PATIENT", "STUDY", "SERIES", "IMAGE"] = "STUDY"
    keys: dict[str, str] = {}
    destination: Annotated[str, Field(max_length=16)] = ""  # of C-MOVE
    count: Annotated[int, Field(ge=0)] = 0  # stop after so many; 0: only time ends it

    @model_validator(mode="after")
    def _open_or_closed(self) -> Stream:
        if (self.arrivals is None) == (self.users == 0):
            raise ValueError("a stream is open (arrivals) or closed (users), one of the two")
        if self.window > 1 and (self.operation != "store" or self.think):
            raise ValueError("window is for stores, of users who do not think")
        if self.operation == "move" and not self.destination:
            raise ValueError("move needs a destination: an AE title that the target knows")
        return self


class Objective(_Model):
    """What must hold for a run to pass. Response times count from the intended start. Empty: nothing is asked."""

    p50: Seconds | None = None
    p95: Seconds | None = None
    p99: Seconds | None = None
    p999: Seconds | None = None
    errors: Share | None = None  # share of all operations
    rate: Share | None = None  # least share of the intended rate
    lost: Annotated[int, Field(ge=0)] | None = None  # acknowledged but not found
    streams: tuple[str, ...] = ()  # only these; empty: each


class Safety(_Model):
    """What a run never exceeds, whatever the streams say."""

    rate: Rate = 20_000.0  # operations a second over all streams
    data: Bytes = 1 << 40  # bytes sent
    associations: Annotated[int, Field(ge=1)] = 20_000


class Scenario(_Model):
    """A whole load test."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "load test"
    seed: int = 1
    duration: Seconds = 60.0
    warmup: Seconds = 0.0  # measured and shown, left out of the percentiles
    grace: Seconds = 30.0  # how long operations that have begun may take after the end
    ledger: Literal["off", "find", "get"] = "find"
    web: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""  # of DICOMweb: "http://host:8042/dicom-web"
    streams: Annotated[tuple[Stream, ...], Field(alias="stream", min_length=1)]
    objective: Objective = Objective()
    safety: Safety = Safety()

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)

    @model_validator(mode="after")
    def _sensible(self) -> Scenario:
        names = [one.name for one in self.streams]
        if len(set(names)) != len(names):
            raise ValueError("two streams have the same name")
        if unknown := set(self.objective.streams) - set(names):
            raise ValueError(f"objective.streams names {', '.join(sorted(unknown))}, which is no stream")
        if self.duration <= 0 or self.warmup >= self.duration:
            raise ValueError("duration is positive and longer than warmup")
        if not self.web and any(one.operation in WEB for one in self.streams):
            raise ValueError("stow, qido and wado need web, the URL of the DICOMweb service")
        peak = sum(one.arrivals.profile(self.duration).peak for one in self.streams if one.arrivals)
        if peak > self.safety.rate:
            raise ValueError(f"{peak:,.0f} arrivals a second at the peak, safety.rate allows {self.safety.rate:,.0f}")
        if sum(one.users or one.associations for one in self.streams) > self.safety.associations:
            raise ValueError(f"more associations than safety.associations allows ({self.safety.associations:,})")
        return self

    def scaled(self, factor: float) -> Scenario:
        """The same work at `factor` times the arrival rates (users and material stay): what a search varies."""
        streams = tuple(
            one.model_copy(update={"arrivals": _scaled(one.arrivals, factor)}) if one.arrivals else one
            for one in self.streams
        )
        return self.model_copy(update={"streams": streams})

    def to_toml(self) -> str:
        """The scenario as TOML that `parse` reads to the same."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        streams = data.pop("stream")
        tables = [(key, data.pop(key)) for key in ("objective", "safety") if key in data]
        lines = [f"{key} = {_toml(value)}" for key, value in data.items()]
        for name, table in tables:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        for one in streams:
            lines += ["", "[[stream]]", *(f"{key} = {_toml(value)}" for key, value in one.items())]
        return "\n".join(lines) + "\n"


def _scaled(curve: Arrivals, factor: float) -> Arrivals:
    update: dict[str, Any] = {}
    for name in ("rate", "start", "to", "spike"):
        value = getattr(curve, name)
        if value is not None:
            update[name] = value * factor
    update["rates"] = tuple(rate * factor for rate in curve.rates)
    update["points"] = tuple((t, rate * factor) for t, rate in curve.points)
    return curve.model_copy(update=update)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\' or ord(c) == 127 else c for c in value)
        return f'"{escaped}"'
    return repr(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml(name)


def parse(text: str, *, where: str = "scenario", **changes: Any) -> Scenario:
    """A scenario out of TOML, with `changes` to its own keys.

    ScenarioError names every mistake with its path ('stream[2].arrivals.rate')."""
    try:
        return Scenario.model_validate(tomllib.loads(text) | changes)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{where} is not TOML: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{where}:\n" + "\n".join(_mistakes(error))) from None


def load(path: str | os.PathLike[str], **changes: Any) -> Scenario:
    """`parse` of a file. OSError when it cannot be read."""
    return parse(Path(path).read_text(encoding="utf-8"), where=os.fspath(path), **changes)


def _mistakes(error: ValidationError) -> list[str]:
    lines = []
    for one in error.errors():
        path = ""
        for part in one["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
        message = one["msg"].removeprefix("Value error, ")
        given = one.get("input")
        shown = f", not {given!r}" if isinstance(given, str | int | float) and "Value error" not in one["msg"] else ""
        lines.append(f"  {path or 'the whole'}: {message}{shown}")
    return lines
