from typing import Any

from typing_extensions import Buffer

class Deidentifier:
    def __init__(
        self,
        rules: dict[int, int],
        safe: list[tuple[int, bytes]],
        words: list[bytes],
        constants: list[tuple[int, str, bytes]],
        defaults: tuple[int, int, int, int, int, int, int],
        key: bytes,
        implementation: bytes,
        version_name: bytes,
    ) -> None: ...
    def apply(
        self,
        data: Buffer,
        transfer_syntax: bytes = ...,
        patient: bytes = ...,
        name: bytes = ...,
        logged: bool = ...,
        path: Any = ...,
    ) -> tuple[bytes, list[tuple[int, int, int]] | None, str | None]: ...

def new_uid(key: bytes, uid: bytes) -> str: ...
def pseudonym(key: bytes, identifier: bytes) -> str: ...
def days(key: bytes, identifier: bytes) -> int: ...
def shifted(vr: str, value: bytes, by: int) -> bytes | None: ...
def dictionary_names() -> list[str]: ...
