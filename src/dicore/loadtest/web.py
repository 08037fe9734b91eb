"""DICOMweb operations by httpx2: STOW-RS, QIDO-RS and WADO-RS (PS3.18 10.4 to 10.6), timed as those of DIMSE are."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dicore.loadtest.ledger import Entry
from dicore.loadtest.material import Source
from dicore.loadtest.operations import Failed
from dicore.loadtest.scenario import Stream

__all__ = ["WebLane"]

_STUDIES = 100  # of the target that a WADO stream without keys takes turns with


class WebLane:
    """As `Lane`: one connection, one request at a time. `association` is its client."""

    __slots__ = ("_operate", "_turn", "association", "base", "entry", "items", "phases", "size", "source", "stream")

    def __init__(self, stream: Stream, base: str, source: Source | None, items: Iterator[tuple[int, int]]) -> None:
        """`base` is the URL of the service ("http://127.0.0.1:8042/dicom-web"); `items` are (pattern, study) to store.

        RuntimeError when httpx2 is not installed.
        """
        _httpx()
        self.stream, self.base, self.source, self.items = stream, base.rstrip("/"), source, items
        self.association: Any = None
        self.phases: dict[str, float] = {}
        self.size = 0
        self.entry: Entry | None = None
        self._turn: Iterator[str] | None = None
        operations: dict[str, Callable[[], Awaitable[None]]] = {
            "stow": self._stow,
            "qido": self._qido,
            "wado": self._wado,
        }
        self._operate = operations[stream.operation]

    async def run(self) -> None:
        """The next request. Raises Failed; the connection stays when it is of use."""
        httpx = _httpx()
        self.phases, self.size, self.entry = {}, 0, None
        try:
            if self.association is None:
                tls = self.stream.tls.context() if self.stream.tls is not None else True
                self.association = httpx.AsyncClient(
                    verify=tls, timeout=self.stream.timeout or None, limits=httpx.Limits(max_connections=1)
                )
            await self._operate()
        except httpx.TimeoutException as error:
            await self.close()
            raise Failed("time-out", type(error).__name__.removesuffix("Timeout").lower() or "http") from error
        except httpx.TransportError as error:
            await self.close()
            raise Failed("connection", str(error)[:80] or type(error).__name__) from error
        if self.stream.association == "image":
            await self.close()

    async def close(self) -> None:
        """Close the connection."""
        if self.association is not None:
            client, self.association = self.association, None
            await client.aclose()

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        """The body of a good answer."""
        begin = time.perf_counter()
        async with self.association.stream(
            method, self.base + path, extensions={"trace": self._trace()}, **options
        ) as answer:
            self.phases["first response"] = time.perf_counter() - begin
            begin = time.perf_counter()
            body: bytes = await answer.aread()
            self.phases["transfer"] = time.perf_counter() - begin
        if answer.status_code >= 400:
            raise Failed("HTTP status", f"{answer.status_code} {answer.reason_phrase}")
        return body

    def _trace(self) -> Callable[[str, Any], Awaitable[None]]:
        begun: dict[str, float] = {}

        async def told(event: str, _: Any) -> None:
            what, _, state = event.rpartition(".")
            if state == "started":
                begun[what] = time.perf_counter()
            elif state == "complete" and what in ("connection.connect_tcp", "connection.start_tls"):
                name = "connect" if what.endswith("tcp") else "TLS"
                self.phases[name] = time.perf_counter() - begun.get(what, time.perf_counter())

        return told

    async def _stow(self) -> None:
        assert self.source is not None
        pattern, study = next(self.items)
        one, number = self.source.patterns[pattern], self.source.number(study)
        root, name = self.source.study(study), one.uid(number)
        self.entry = Entry(name, root, f"{root}.{one.series}", self.source.digest(pattern, study))
        data = one.data(number)
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        answer = await self._request(
            "POST",
            "/studies",
            content=head + data + f"\r\n--{boundary}--\r\n".encode(),
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Accept": "application/dicom+json",
            },
        )
        stored = _json(answer).get("00081199", {}).get("Value", []) if answer else []
        if not any(item.get("00081155", {}).get("Value") == [name] for item in stored):
            raise Failed("STOW", "the answer does not name the instance as stored")
        self.entry.acknowledged = True
        self.size = len(data)

    async def _qido(self) -> None:
        level = {"PATIENT": "studies", "STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}[self.stream.level]
        headers = {"Accept": "application/dicom+json"}
        body = await self._request("GET", f"/{level}", params=dict(self.stream.keys), headers=headers)
        if body:  # 204 is nothing found
            _json(body)
        self.size = len(body)

    async def _wado(self) -> None:
        keys = dict(self.stream.keys)
        if not keys.get("StudyInstanceUID"):
            if self._turn is None:
                self._turn = itertools.cycle(await self._known())
            keys["StudyInstanceUID"] = next(self._turn)
        path = f"/studies/{keys['StudyInstanceUID']}"
        for name, keyword in (("series", "SeriesInstanceUID"), ("instances", "SOPInstanceUID")):
            if keys.get(keyword):
                path += f"/{name}/{keys[keyword]}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        self.size = len(await self._request("GET", path, headers={"Accept": accept}))

    async def _known(self) -> list[str]:
        headers = {"Accept": "application/dicom+json"}
        body = await self._request("GET", "/studies", params={"limit": str(_STUDIES)}, headers=headers)
        found = [one.get("0020000D", {}).get("Value", [""])[0] for one in (_json(body) if body else [])]
        if not found:
            raise Failed("WADO", "the target has no study; name one in keys")
        return found


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise Failed("HTTP", "the answer is not JSON") from None


def _httpx() -> Any:
    try:
        import httpx2
    except ImportError:
        raise RuntimeError("stow, qido and wado need httpx2: pip install 'dicore[loadtest]'") from None
    return httpx2
