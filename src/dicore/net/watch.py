"""Readers and writers of sockets on whatever loop runs.

libuv ends the watch of a socket that has an error (a reset, say), and uvloop tells its exception handler but not the
reader: the association would wait for its timeout. There an epoll of ours stands between, one for all sockets of the
loop; its own descriptor is only ever readable."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

__all__ = ["add_reader", "add_writer", "remove_reader", "remove_writer"]

Callback = Callable[[], object]
_NEVER_FOR_READERS, _NEVER_FOR_WRITERS = select.EPOLLOUT, select.EPOLLIN | select.EPOLLRDHUP


class _Epoll:
    """Lives as long as something is watched."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def set(self, fd: int, reader: Callback | None, writer: Callback | None) -> bool:
        """True: nothing is watched any more, and this is closed."""
        known = fd in self._readers or fd in self._writers
        for callbacks, callback in ((self._readers, reader), (self._writers, writer)):
            if callback is None:
                callbacks.pop(fd, None)
            else:
                callbacks[fd] = callback
        events = (select.EPOLLIN if reader else 0) | (select.EPOLLOUT if writer else 0)
        if not events and known:
            self._epoll.unregister(fd)
        elif events and known:
            self._epoll.modify(fd, events)
        elif events:
            self._epoll.register(fd, events)
        if self._readers or self._writers:
            return False
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        return True

    def of(self, fd: int) -> tuple[Callback | None, Callback | None]:
        return self._readers.get(fd), self._writers.get(fd)

    def _ready(self) -> None:
        for fd, events in self._epoll.poll(0):
            if events & ~_NEVER_FOR_READERS and (reader := self._readers.get(fd)):
                reader()
            if events & ~_NEVER_FOR_WRITERS and (writer := self._writers.get(fd)):
                writer()
            if self._epoll.closed:
                break


_epolls: dict[asyncio.AbstractEventLoop, _Epoll] = {}


def _is_uvloop(loop: asyncio.AbstractEventLoop) -> bool:
    return type(loop).__module__.partition(".")[0] == "uvloop"


def _set(loop: asyncio.AbstractEventLoop, fd: int, *, reader: Callback | None, writer: Callback | None) -> None:
    epoll = _epolls.get(loop)
    if epoll is None:
        if reader is None and writer is None:
            return
        epoll = _epolls[loop] = _Epoll(loop)
    if epoll.set(fd, reader, writer):
        del _epolls[loop]


def _of(loop: asyncio.AbstractEventLoop, fd: int) -> tuple[Callback | None, Callback | None]:
    epoll = _epolls.get(loop)
    return (None, None) if epoll is None else epoll.of(fd)


def add_reader(loop: asyncio.AbstractEventLoop, fd: int, callback: Callback) -> None:
    """As the loop's: `callback()` whenever there is something to read, the end or an error included."""
    if not _is_uvloop(loop):
        loop.add_reader(fd, callback)
    else:
        _set(loop, fd, reader=callback, writer=_of(loop, fd)[1])


def remove_reader(loop: asyncio.AbstractEventLoop, fd: int) -> None:
    """Before the socket is closed."""
    if not _is_uvloop(loop):
        loop.remove_reader(fd)
    else:
        _set(loop, fd, reader=None, writer=_of(loop, fd)[1])


def add_writer(loop: asyncio.AbstractEventLoop, fd: int, callback: Callback) -> None:
    """As the loop's: `callback()` whenever something can be written, or there is an error."""
    if not _is_uvloop(loop):
        loop.add_writer(fd, callback)
    else:
        _set(loop, fd, reader=_of(loop, fd)[0], writer=callback)


def remove_writer(loop: asyncio.AbstractEventLoop, fd: int) -> None:
    """Before the socket is closed."""
    if not _is_uvloop(loop):
        loop.remove_writer(fd)
    else:
        _set(loop, fd, reader=_of(loop, fd)[0], writer=None)
