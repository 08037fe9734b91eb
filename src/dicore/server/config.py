"""`dicore serve --config server.toml`: the whole configuration as one checked model.

    [server]
    store = "/var/lib/dicore"
    port = 11112
    ae_title = "ARCHIVE"
    allow_ae = ["CT1", "MR1"]
    worklist = "/var/lib/dicore-worklist"
    metrics_port = 9464

    tls_cert = "/etc/dicore/archive.pem"
    tls_ca = "/etc/dicore/modalities.pem"

    [limits]
    in_flight = "128 MiB"
    associations_per_peer = 32

    [timeouts]
    artim = 10

    [destinations]
    PACS2 = "10.1.2.3:104"
    PACS3 = "dicoms://10.1.2.4:2762"

    [destination_tls]
    ca = "/etc/dicore/hospital.pem"
    cert = "/etc/dicore/archive.pem"

    [[forward]]
    to = ["PACS2"]
    calling_ae = ["CT1"]

    [keys]
    STUDY = ["InstitutionName"]

A mistake is named with its path: `server.port: Input should be less than or equal to 65535`."""

from __future__ import annotations

import os
import ssl
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicore.errors import DicoreError
from dicore.net import Address
from dicore.net.address import check_ae_title
from dicore.net.limits import limits_of, timeouts_of
from dicore.net.tls import PROFILES, client_context
from dicore.server.access import Access

if TYPE_CHECKING:
    from dicore.net.sink import StoreRequest

__all__ = ["Config", "Forward", "load"]

Title = Annotated[str, AfterValidator(check_ae_title)]


def _profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"one of {', '.join(PROFILES)}")
    return name


Profile = Annotated[str, AfterValidator(_profile)]


def _place(text: str) -> str:
    Address.of("X", text)
    return text


Place = Annotated[str, AfterValidator(_place)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Model):
    """[server]"""

    store: Path
    port: int = Field(11112, ge=0, le=65535)
    host: str = "127.0.0.1"
    ae_title: Title = "DICORE"
    durability: Literal["durable", "relaxed"] = "durable"
    duplicates: Literal["keep-first", "replace", "keep-both", "reject"] = "keep-first"
    grace: float = Field(5.0, ge=0)
    allow_ae: tuple[Title, ...] = ()
    allow_net: tuple[str, ...] = ()
    insecure: bool = False
    worklist: Path | None = None
    worklist_store: bool = False  # the steps that `dicore store worklist` keeps
    metrics_port: int | None = Field(None, ge=0, le=65535)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_profile: Profile = "bcp195"
    allow_cert: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _tls(self) -> Listen:
        if self.tls_cert is None and (self.tls_key is not None or self.tls_ca is not None):
            raise ValueError("tls_key and tls_ca need tls_cert")
        if self.allow_cert and self.tls_ca is None:
            raise ValueError("allow_cert needs tls_ca")
        return self

    @model_validator(mode="after")
    def _networks(self) -> Listen:
        self.access()
        if self.worklist is not None and self.worklist_store:
            raise ValueError("worklist or worklist_store, not both")
        return self

    def access(self) -> Access:
        return Access.of(self.allow_ae, self.allow_net, insecure=self.insecure)


class DestinationTls(_Model):
    """[destination_tls]: for the destinations that are dicoms:// addresses."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    profile: Profile = "bcp195"
    any_name: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises OSError, ValueError."""
        return client_context(self.ca, self.cert, self.key, self.profile, check_hostname=not self.any_name)


class Forward(_Model):
    """[[forward]]: what matches all that is said goes on to all of `to`."""

    to: tuple[Title, ...] = Field(min_length=1)
    calling_ae: tuple[Title, ...] = ()
    sop_class: tuple[str, ...] = ()

    def takes(self, request: StoreRequest) -> bool:
        return (not self.calling_ae or request.calling_ae.strip() in self.calling_ae) and (
            not self.sop_class or request.sop_class_uid in self.sop_class
        )


def _keys(keywords: tuple[str, ...]) -> tuple[str, ...]:
    from dicore.dataset.dictionary import keyword_to_tag

    for keyword in keywords:
        if keyword_to_tag(keyword) is None:
            raise ValueError(f"{keyword} is not a keyword of the data dictionary")
    return keywords


Keywords = Annotated[tuple[str, ...], AfterValidator(_keys)]


class Config(_Model):
    """The whole file."""

    server: Listen
    keys: dict[Literal["PATIENT", "STUDY", "SERIES", "IMAGE"], Keywords] | None = None
    destinations: dict[Title, Place] = Field(default_factory=dict)
    destination_tls: DestinationTls | None = None
    forward: tuple[Forward, ...] = ()
    limits: dict[str, int | str] = Field(default_factory=dict)
    timeouts: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds(self) -> Config:
        for name, check in (("limits", limits_of), ("timeouts", timeouts_of)):
            try:
                check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self

    @model_validator(mode="after")
    def _known(self) -> Config:
        for number, rule in enumerate(self.forward):
            for title in rule.to:
                if title not in self.destinations:
                    raise ValueError(f"forward.{number}.to: {title} is none of the destinations")
        return self

    def route(self, request: StoreRequest) -> list[str]:
        """The destinations of an instance."""
        return list(dict.fromkeys(title for rule in self.forward if rule.takes(request) for title in rule.to))


def load(path: str | os.PathLike[str]) -> Config:
    """Read a configuration. Raises DicoreError that names each mistake with its path in the file; OSError."""
    with open(path, "rb") as file:
        try:
            data: dict[str, Any] = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise DicoreError(f"{os.fspath(path)}: {error}") from None
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = []
        for one in error.errors(include_url=False):
            where = ".".join(map(str, one["loc"]))
            lines.append(f"{where}: {one['msg']}" if where else one["msg"].removeprefix("Value error, "))
        raise DicoreError(f"{os.fspath(path)}: " + "; ".join(lines)) from None
