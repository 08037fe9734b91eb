from collections.abc import Callable, Sequence

from dicore._native.capture import Capture, Stream
from dicore._native.store import Native

HANDOVER: int
ENDED: int
FAILED: int
STORED: int
EMPTY: int
COUNTERS: tuple[str, ...]
PHASES: tuple[str, ...]

class Event:
    kind: int
    socket: int
    status: int
    system: int
    why: int
    calling_ae: str
    called_ae: str
    text: str
    address: bytes
    data: bytes
    stream: Stream | None
    port: int
    started: int
    accepted: int
    contexts: int
    phases: dict[str, tuple[int, int, int, int]] | None
    stores: int
    stored_bytes: int
    echoes: int
    host: int
    @property
    def why_text(self) -> str: ...

class Engine:
    on_lane: Callable[[int], object] | None
    def __init__(
        self,
        sockets: list[int],
        *,
        native: Native | None,
        on_lane: Callable[[int], object] | None,
        threads: int,
        window: int,
        pdu: int,
        negotiation: int,
        command: int,
        artim: int,
        network: int,
        dimse: int,
        idle: int,
        interval: int,
        associations: int,
        associations_per_peer: int,
        dataset: int,
        stream_from: int,
        in_flight: int,
        in_flight_per_peer: int,
        turn: int,
        report_ends: bool,
        called_ae: Sequence[bytes] | None,
        calling_ae: Sequence[bytes] | None,
        sop_classes: Sequence[bytes] | None,
        transfer_syntaxes: Sequence[bytes] | None,
        foreign: Sequence[bytes] | None,
        networks: Sequence[tuple[int, bytes, int]] | None,
        capture: Capture | None = None,
        implementation_uid: bytes,
        implementation_version: bytes,
    ) -> None: ...
    @property
    def address(self) -> int: ...
    def gone(self, host: int) -> None: ...
    def fileno(self) -> int: ...
    def next(self) -> Event | None: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    def admit(self, calling_ae: Sequence[bytes] | None, networks: Sequence[tuple[int, bytes, int]] | None) -> None: ...
    def times_by_phase(self) -> dict[str, tuple[int, int, list[int]]]: ...
    def counts(self) -> dict[str, int]: ...
