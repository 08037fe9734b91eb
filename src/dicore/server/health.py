"""`/healthz`, `/readyz` and `/metrics` (the text format of Prometheus): a few lines of HTTP/1.1 on asyncio."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dicore.errors import DicoreError

if TYPE_CHECKING:
    from dicore.net.record import Times
    from dicore.server.archive import Server

__all__ = ["Health"]

_log = logging.getLogger("dicore.server")
_LONGEST = 16 * 1024
_PATIENCE = 10.0
_GAUGES = {"instances": "Instances in the store.", "segments": "Segments of the store.", "bytes": "Bytes of records.",
           "patients": "Patients.", "studies": "Studies.", "series": "Series."}  # fmt: skip


_NOW = ("open", "in_flight")


def _histograms(phases: Mapping[str, Mapping[str, Times]]) -> Iterator[str]:
    yield "# HELP dicore_phase_seconds How long the phases of associations and messages took."
    yield "# TYPE dicore_phase_seconds histogram"
    for driver, found in phases.items():
        for phase, times in found.items():
            labels = f'phase="{phase}",driver="{driver}"'
            for limit, count in times.cumulative():
                yield f'dicore_phase_seconds_bucket{{{labels},le="{limit:.9g}"}} {count}'
            whole = sum(times.buckets)  # so that +Inf is never less than the bucket before it
            yield f'dicore_phase_seconds_bucket{{{labels},le="+Inf"}} {whole}'
            yield f"dicore_phase_seconds_sum{{{labels}}} {times.sum / 1e9:.9f}"
            yield f"dicore_phase_seconds_count{{{labels}}} {whole}"


class Health:
    """`async with Health(server, port=9464) as health:`; `health.port` is the one that is listened on."""

    def __init__(self, server: Server, *, port: int, host: str = "127.0.0.1") -> None:
        self._server, self._port, self._host = server, port, host
        self._http: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return self._port if self._http is None else int(self._http.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Health:
        self._http = await asyncio.start_server(self._serve, self._host, self._port, limit=_LONGEST)
        return self

    async def __aexit__(self, *what: object) -> None:
        if self._http is not None:
            self._http.close()
            await self._http.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                words = head.partition(b"\r\n")[0].decode("latin-1").split()
                status, body = await self._answer(words)
                kind = "text/plain; version=0.0.4; charset=utf-8"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                    + (b"" if words[:1] == ["HEAD"] else body)
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            _log.debug("health: %r", error)
        finally:
            writer.close()

    async def _answer(self, words: list[str]) -> tuple[str, bytes]:
        if len(words) != 3 or words[0] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", b"GET or HEAD\n"
        loop = asyncio.get_running_loop()
        match words[1].partition("?")[0]:
            case "/healthz":
                return "200 OK", b"ok\n"
            case "/readyz":
                why = await loop.run_in_executor(None, self.unready)
                return ("503 Service Unavailable", f"{why}\n".encode()) if why else ("200 OK", b"ready\n")
            case "/metrics":
                return "200 OK", (await loop.run_in_executor(None, self.metrics)).encode()
        return "404 Not Found", b"/healthz /readyz /metrics\n"

    def unready(self) -> str:
        """Why nothing can be stored now; '' when it can."""
        store = self._server.store
        try:
            if store._closed:
                return "the store is closed"
            if store._native.counters()["failed"]:
                return "the store cannot write"
            free = shutil.disk_usage(store.path).free
        except (DicoreError, OSError) as error:
            return str(error)
        return "" if free > 64 << 20 else f"{free} bytes are free on the disk"

    def metrics(self) -> str:
        """All counters, and what the store holds, in the text format of Prometheus."""
        lines: list[str] = []

        def add(name: str, kind: str, about: str, value: float) -> None:
            lines.extend((f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value}"))

        add("dicore_associations_open", "gauge", "Associations that are open now.", self._server.associations)
        by_driver = self._server.counters_by_driver
        for name in sorted({name for counters in by_driver.values() for name in counters}):
            gauge = name in _NOW
            full = f"dicore_{name}" if gauge else f"dicore_{name}_total"
            about = f"{name.replace('_', ' ')} {'now' if gauge else 'since the start'}."
            lines.extend((f"# HELP {full} {about}", f"# TYPE {full} {'gauge' if gauge else 'counter'}"))
            lines.extend(
                f'{full}{{driver="{driver}"}} {counters[name]}'
                for driver, counters in by_driver.items()
                if name in counters
            )
        lines.extend(_histograms(self._server.phases_by_driver))
        stats = self._server.store.stats()
        for name, count in stats.items():
            if isinstance(count, int):
                if name in _GAUGES:
                    add(f"dicore_store_{name}", "gauge", _GAUGES[name], count)
                else:
                    add(f"dicore_store_{name}_total", "counter", f"{name.replace('_', ' ')} since the start.", count)
        add("dicore_disk_free_bytes", "gauge", "Free on the disk of the store.",
            shutil.disk_usage(self._server.store.path).free)  # fmt: skip
        return "\n".join(lines) + "\n"
