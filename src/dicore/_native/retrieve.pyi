from collections.abc import Callable
from typing import Any

from dicore._native.store import Segment

LEFT: int
ANSWERED: int
UNREADABLE: int
DAMAGED: int
UNFIT: int
LOST: int
UNANSWERED: int

class Records:
    def __len__(self) -> int: ...
    def add(self, segment: Segment, offset: int, size: int, uid: str) -> None: ...

class Retrieval:
    on_done: Callable[[Retrieval], object] | None
    over: bool
    def cancel(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def progress(self) -> tuple[int, int, int, int]: ...
    @property
    def message_id(self) -> int: ...
    @property
    def ended(self) -> int: ...
    def results(self) -> list[tuple[int, int, int, int]]: ...

class Retriever:
    def __init__(self, *, threads: int = ..., memory: int = ...) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def start(
        self,
        records: Records,
        order: list[int],
        *,
        association: int,
        socket: int,
        offers: list[tuple[str, str, int]],
        message_id: int,
        window: int,
        network_timeout: int,
        originator: str = ...,
        originator_id: int = ...,
        answers: tuple[int, int, str] | None = ...,
        answer_every: int = ...,
        total: int = ...,
        completed: int = ...,
        failed: int = ...,
        warning: int = ...,
        loan: Any = ...,
    ) -> Retrieval: ...
    def next(self) -> Retrieval | None: ...
