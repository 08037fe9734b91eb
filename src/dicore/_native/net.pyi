from asyncio import BaseTransport, Future
from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

PENDING: int
TIMEOUT_NAMES: dict[int, str]
WAITING: int
SENT: int
UNREADABLE: int
NOT_DICOM: int
ODD: int
NO_CONTEXT: int
LOST: int
CHANGED: int

class Host:
    address: str
    connections: int
    admitted: int
    in_flight: int
    local: bool

class Request:
    """One request of a peer. `peer` is its address and port as 'host:port'."""

    message_id: int
    sop_class_uid: str
    @property
    def calling_ae(self) -> str: ...
    @property
    def called_ae(self) -> str: ...
    @property
    def peer(self) -> str: ...

class StoreRequest(Request):
    """One C-STORE-RQ. `priority` as in PS3.7 9.3.1: 0 medium, 1 high, 2 low."""

    priority: int
    sop_instance_uid: str
    transfer_syntax: str
    def answer(self, status: int) -> None: ...

class Hub:
    store: Callable[..., Any] | None
    begin: Callable[..., Any]
    write: Callable[..., Any]
    commit: Callable[..., Any]
    abort: Callable[..., Any]
    on_echo: Callable[[Request], int] | None
    on_error: Callable[[Request, Exception], int]
    on_end: Callable[[Any], None]
    ensure_future: Callable[[Any], Future[Any]]
    sop_classes: frozenset[bytes] | None
    transfer_syntaxes: frozenset[bytes] | None
    called_ae: frozenset[str] | None
    calling_ae: frozenset[str] | None
    admit: Callable[[str], bool] | None
    implementation_uid: bytes
    implementation_version: bytes
    limit_associations: int
    limit_per_peer: int
    limit_dataset: int
    limit_stream: int
    limit_in_flight: int
    limit_in_flight_peer: int
    draining: bool
    open: set[Acceptor]
    in_flight: int
    admitted: int
    counters: dict[str, int]
    def __init__(
        self, *, pdu: int, negotiation: int, command: int, artim: int, network: int, dimse: int, idle: int
    ) -> None: ...
    def counts(self) -> dict[str, int]: ...
    def tick(self) -> None: ...
    def drain(self) -> None: ...

class Acceptor:
    hub: Hub
    calling_ae: str
    called_ae: str
    peer: str
    why: str
    stores: int
    stored_bytes: int
    echoes: int
    started: int
    host: Host
    def __init__(self, hub: Hub) -> None: ...
    @property
    def idle(self) -> bool: ...
    def connection_made(self, transport: BaseTransport) -> None: ...
    def get_buffer(self, hint: int) -> Buffer: ...
    def buffer_updated(self, size: int) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def stop(self, why: str) -> None: ...

class Link:
    contexts: dict[tuple[str, str], int]
    refused: dict[tuple[str, str], int]
    peer_max_length: int
    window_invoked: int
    def __init__(
        self, *, pdu: int, negotiation: int, command: int, artim: int, request: int, network: int, dimse: int
    ) -> None: ...
    def propose(
        self,
        called: str,
        calling: str,
        contexts: list[tuple[int, str, list[str]]],
        implementation_uid: bytes,
        implementation_version: bytes,
        window: tuple[int, int] | None = None,
    ) -> None: ...
    def attach(self, fd: int) -> None: ...
    def detach(self) -> None: ...
    def push(self) -> bool: ...
    def pull(self) -> list[tuple[Any, ...]]: ...
    def start_echo(self, context_id: int) -> int: ...
    def start_store(
        self, context_id: int, sop_class: str, sop_instance: str, data: Buffer, priority: int = 0
    ) -> int: ...
    def start_release(self) -> None: ...
    def release_reply(self) -> None: ...
    def start_abort(self, source: int = 0, reason: int = 0) -> None: ...
    def deadline(self) -> int | None: ...
    def tick(self) -> str | None: ...
    @property
    def closing(self) -> bool: ...
    @property
    def state(self) -> int: ...

class Paths:
    names: list[bytes]
    def __init__(self, names: list[bytes]) -> None: ...
    def __len__(self) -> int: ...

def identify_bytes(data: Buffer) -> tuple[str, str, str, int]: ...
def survey(paths: Paths, indexes: list[int]) -> dict[tuple[str, str], list[int]]: ...

class Pump:
    done: int
    failed: int
    bytes: int
    def __init__(
        self, links: list[Link], paths: Paths, order: list[int], *, whole: int = ..., chunk: int = ...
    ) -> None: ...
    def cancel(self) -> None: ...
    def run(self) -> None: ...
    def results(self) -> list[tuple[int, int, int, int]]: ...
    def ended(self, number: int) -> tuple[Any, ...] | None: ...
