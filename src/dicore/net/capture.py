"""What associations say, as a pcapng file that Wireshark opens: `wire=` of `listen`, `connect`, `send` and `serve`.

    async with dicore.connect("PACS@pacs.example:104", wire="talk.pcapng") as assoc: ...

    with dicore.net.Capture("all.pcapng") as capture:          # several of them in one file
        await dicore.send(paths, to="PACS@pacs.example:104", wire=capture)

Each association is a TCP stream as it would have been captured, without rights to capture: what is said under TLS is
shown decrypted, a Unix socket as one between two ports of 127.0.0.1. The file holds what patients' data were sent: it
is made for its owner alone (mode 0600)."""

from __future__ import annotations

import asyncio
import logging
import os
from types import TracebackType

from dicore import uid
from dicore._native import capture as native

__all__ = ["Capture", "CaptureFile", "opened"]

log = logging.getLogger("dicore.net")


def _failed(path: str, error: OSError) -> None:
    log.error("%s: the capture has ended, associations go on: %s", path, error.strerror)


class Capture(native.Capture):
    """A pcapng file that any number of associations write to, until `close`; a context manager.

    Packets wait in memory (up to `buffer` bytes, twice) and are written by a thread of its own. When they come faster
    than the disk takes them, an association waits once, 50 ms at most; then packets are left out, which Wireshark shows
    as "not captured" and `counts` counts. When the disk is full the file ends with its last whole packet, and a line of
    the log says so. Raises OSError when it cannot be made."""

    def __new__(cls, path: str | os.PathLike[str], *, buffer: int = 32 << 20) -> Capture:
        return super().__new__(
            cls, path, on_failure=_failed, buffer=buffer, application=f"dicore {uid.IMPLEMENTATION_VERSION}"
        )

    def __init__(self, path: str | os.PathLike[str], *, buffer: int = 32 << 20) -> None:
        pass

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


CaptureFile = str | os.PathLike[str] | Capture


class opened:
    """`async with opened(wire) as capture:`: a Capture as it is (it stays open), a path as one for as long as the block
    runs, None as None."""

    def __init__(self, wire: CaptureFile | None) -> None:
        self._own = wire is not None and not isinstance(wire, native.Capture)
        self._wire = wire
        self.capture: Capture | None = None

    async def open(self) -> Capture | None:
        """Raises OSError."""
        if isinstance(self._wire, Capture):
            self.capture = self._wire
        elif self._wire is not None:
            self.capture = await asyncio.to_thread(Capture, self._wire)
        return self.capture

    async def close(self) -> None:
        capture, self.capture = self.capture, None
        if capture is not None and self._own:
            await asyncio.to_thread(capture.close)

    async def __aenter__(self) -> Capture | None:
        return await self.open()

    async def __aexit__(self, *what: object) -> None:
        await self.close()
