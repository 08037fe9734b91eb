from collections.abc import Callable
from os import PathLike
from typing import Any, Self

class Stream: ...

class Capture:
    path: str
    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        on_failure: Callable[[str, OSError], object],
        buffer: int = 33554432,
        application: str = "",
    ) -> Self: ...
    def begin(self, own: Any, peer: Any, called: bool, comment: str) -> Stream | None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def counts(self) -> tuple[int, int] | None: ...
    def close(self) -> None: ...
