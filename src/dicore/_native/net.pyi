from asyncio import BaseTransport, Future
from collections.abc import Callable
from typing import Any

from typing_extensions import Buffer

from dicore._native.capture import Capture, Stream
from dicore._native.command import Command

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

PHASES: tuple[str, ...]
PHASE_FIRST: int
PHASE_LAST: int

class StoreRequest(Request):
    """One C-STORE-RQ. `priority` as in PS3.7 9.3.1: 0 medium, 1 high, 2 low."""

    priority: int
    sop_instance_uid: str
    transfer_syntax: str
    def answer(self, status: int) -> None: ...

class Outgoing:
    def supply(self, piece: Buffer) -> None: ...
    def fail(self, why: str) -> None: ...

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
    admit_certificate: Callable[[Any], bool] | None
    on_message: Callable[[Any, int, Command, bytes | None], object] | None
    on_class: Callable[[str], bool] | None
    on_role: Callable[[str], bool] | None
    on_identity: Callable[[Any, int, bytes, bytes, bool], Any] | None
    call_soon: Callable[..., object]
    on_done: Callable[..., object] | None
    capture: Capture | None
    extended: dict[str, bytes]
    window: int
    limit_identifier: int
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
    def counted(self, name: str) -> None: ...
    def times_by_phase(self) -> dict[str, tuple[int, int, list[int]]]: ...
    def share(self, engine: Any) -> None: ...
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
    roles: dict[str, tuple[bool, bool]]
    extended: dict[str, bytes]
    identity: tuple[int, bytes, bytes] | None
    window_invoked: int
    window_performed: int
    implementation_uid: str
    implementation_version: str
    exchange: Any
    operations: int
    wants_room: bool
    def __init__(self, hub: Hub) -> None: ...
    def show_on(self, shown: Stream, before: int) -> None: ...
    accepted_at: int
    @property
    def phases(self) -> dict[str, tuple[int, int, int, int]]: ...
    def operated(
        self,
        service: str,
        message_id: int,
        sop_class: str,
        sop_instance: str,
        status: int,
        began: int,
        settled: int,
    ) -> None: ...
    @property
    def idle(self) -> bool: ...
    @property
    def accepted(self) -> dict[int, tuple[str, str]]: ...
    def extra(self, name: str) -> Any: ...
    def hold(self, on: bool) -> None: ...
    def post(
        self,
        context_id: int,
        command: Command,
        pieces: list[Any] | None = None,
        *,
        size: int | None = None,
        more: Callable[[Outgoing], object] | None = None,
        done: Callable[[], object] | None = None,
    ) -> bool: ...
    def resume(self) -> None: ...
    def connection_made(self, transport: BaseTransport) -> None: ...
    def get_buffer(self, hint: int) -> Buffer: ...
    def buffer_updated(self, size: int) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def stop(self, why: str) -> None: ...
    loan: Any
    def lend(self) -> tuple[int, int, int] | None: ...
    def take_back(self, address: int) -> None: ...

class Link:
    contexts: dict[tuple[str, str], int]
    accepted: dict[int, tuple[str, str]]
    refused: dict[tuple[str, str], int]
    peer_max_length: int
    roles: dict[str, tuple[bool, bool]]
    extended: dict[str, bytes]
    identity_response: bytes | None
    implementation_uid: str
    implementation_version: str
    window_invoked: int
    window_performed: int
    owner: Any
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
        *,
        roles: dict[str, tuple[bool, bool]] | None = None,
        extended: dict[str, bytes] | None = None,
        window: tuple[int, int] | None = None,
        identity: tuple[int, bytes, bytes, bool] | None = None,
    ) -> None: ...
    def post(
        self,
        context_id: int,
        command: Command,
        pieces: list[Any] | None = None,
        *,
        size: int | None = None,
        more: Callable[[Outgoing], object] | None = None,
        done: Callable[[], object] | None = None,
    ) -> None: ...
    @property
    def sending(self) -> bool: ...
    def attach(self, fd: int, shown: Stream | None = None) -> None: ...
    def detach(self, why: str = "", reset: bool = False) -> None: ...
    def push(self) -> bool: ...
    def pull(self) -> list[tuple[Any, ...]]: ...
    def lend(self) -> tuple[int, int] | None: ...
    def take_back(self, address: int) -> tuple[list[tuple[Any, ...]], bool]: ...
    def start_release(self) -> None: ...
    def release_reply(self) -> None: ...
    def start_abort(self, source: int = 0, reason: int = 0) -> None: ...
    def touch(self) -> None: ...
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
    def folders(self) -> list[int]: ...

def identify_bytes(data: Buffer, *, partial: bool = False) -> tuple[str, str, str, int]: ...
def associate_rebuilt(pdu: Buffer) -> bytes: ...
def usable_uid(text: str | None) -> str | None: ...
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
    def settled(self) -> tuple[int, list[tuple[int, int, int, int]]]: ...
    def ended(self, number: int) -> tuple[Any, ...] | None: ...

class Volley:
    given: int
    begun: int
    done: int
    over: bool
    studies: int
    def __init__(
        self,
        patterns: list[tuple[int, str, int, bytes, bytes, list[int], int]],
        pairs: list[tuple[str, str]],
        *,
        lanes: int,
        window: int,
        first: int,
        association: int,
        users: bool,
        think: float,
        origin: int,
        end: float,
        limit: int,
    ) -> None: ...
    def fileno(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def feed(self, times: Buffer) -> None: ...
    def attach(self, lane: int, link: Link, due: float, start: float, free: bool) -> None: ...
    def park(self, lane: int) -> None: ...
    def halt(self) -> None: ...
    def cancel(self) -> None: ...
    def events(self) -> list[tuple[Any, ...]]: ...
    def take(self) -> bytes: ...
    def left(self) -> list[float]: ...
    def run(self) -> None: ...
