"""A timer that is not a millisecond late: asyncio rounds waits up to whole milliseconds, which would be measured."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time

__all__ = ["Timer"]

_CLOCK_MONOTONIC = 1
_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """`await until(moment)` on `time.monotonic()`, by a timerfd; by the loop's own timers where there is none."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._fd = -1
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
        except (OSError, AttributeError):
            return
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._fired)

    async def until(self, moment: float) -> None:
        """Return at `moment`, or at once when it has passed."""
        left = moment - time.monotonic()
        if left <= 0:
            return
        if self._fd < 0:
            await asyncio.sleep(left)
            return
        whole = int(moment)
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(whole, max(1, int((moment - whole) * 1e9))))
        self._waiter = self._loop.create_future()
        self._libc.timerfd_settime(self._fd, 1, ctypes.byref(spec), None)  # 1: absolute
        await self._waiter

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
