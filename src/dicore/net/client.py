"""The client's side of an association on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

from dicore import uid
from dicore._native import net as native
from dicore._native.net import Link, Paths, Pump
from dicore._native.status import status_text
from dicore.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationStateError,
    ConnectionFailed,
    DicomFormatError,
    DimseError,
    NetworkError,
    NetworkTimeout,
    ProtocolViolation,
    TransferSyntaxError,
)
from dicore.net.address import Address, check_ae_title, printable
from dicore.net.limits import Limits, Timeouts
from dicore.net.rewrite import rewrite
from dicore.net.status import describe, is_failure

if TYPE_CHECKING:
    from dicore.dataset import Dataset

__all__ = ["Association", "connect", "default_contexts"]

Context = tuple[str, Sequence[str]]
Storable = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "Dataset"]

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen by connect, so that each destination has them all

_REJECT_REASONS = {  # PS3.8 table 9-21
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_ABORT_REASONS = {  # PS3.8 table 9-26
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter",
}


def default_contexts() -> list[Context]:
    """Verification and the usual storage classes, each in the two uncompressed little endian syntaxes."""
    syntaxes = (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)
    return [(one, syntaxes) for one in uid.SOP_CLASSES]


class Association:
    """An open association, made by `connect`. One operation at a time is on the wire; others wait for their turn.

    Cancelling an operation aborts the association: DICOM has no way to take half a message back.
    """

    def __init__(self, address: Address, link: Link, sock: socket.socket, timeouts: Timeouts) -> None:
        self.address = address
        self._link = link
        self._socket = sock
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._waiter: asyncio.Future[tuple[Any, ...]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._watched = False
        self._pump: Pump | None = None  # has the socket meanwhile, in another thread
        self._end: NetworkError | None = None  # why it is over

    # -- what there is to see

    @property
    def open(self) -> bool:
        """True until it is released, aborted or broken."""
        return self._end is None

    @property
    def ended(self) -> NetworkError | None:
        """Why it is over; None while it is open."""
        return self._end

    @property
    def contexts(self) -> dict[tuple[str, str], int]:
        """(SOP class, transfer syntax) -> id of the accepted presentation contexts."""
        return dict(self._link.contexts)

    def __repr__(self) -> str:
        return f"<Association with {self.address}, {'open' if self.open else f'ended: {self._end}'}>"

    # -- operations

    async def c_echo(self) -> int:
        """C-ECHO. Returns 0; raises DimseError for any other status."""
        context_id = next((number for (one, _), number in self._link.contexts.items() if one == uid.VERIFICATION), None)
        if context_id is None and self.open:
            raise AssociationStateError("no context for Verification was accepted", peer=str(self.address))
        return await self._request("C-ECHO", lambda: self._link.start_echo(context_id or 0))

    async def c_store(self, instance: Storable, *, priority: int = 0) -> int:
        """C-STORE of a file, of bytes of one, or of a Dataset. Returns 0 or the warning status that the peer gave.

        It goes out as it is stored. When the peer accepted no context for that, an uncompressed data set is rewritten
        in another uncompressed syntax, in a thread; otherwise TransferSyntaxError. Raises DimseError for a failure
        status, DicomFormatError for what is no DICOM file, OSError for what cannot be read.
        """
        if isinstance(instance, str | os.PathLike):
            return await self._store_file(os.fspath(instance))
        data = memoryview(instance if isinstance(instance, bytes | bytearray | memoryview) else instance.part10_bytes())
        return (await self._store_bytes(data.cast("B"), priority))[0]

    async def release(self) -> None:
        """End the association in order. Nothing when it is over already."""
        if not self.open:
            return
        async with self._lock:
            if self.open:
                try:
                    await self._operate(self._link.start_release)
                except NetworkError:
                    return  # it is over, which is what was asked for
                finally:
                    self._close(AssociationStateError("the association is released", peer=str(self.address)))

    def abort(self) -> None:
        """End the association now, with an A-ABORT. Nothing when it is over already."""
        self._abort(AssociationStateError("the association is aborted", peer=str(self.address)))

    async def __aenter__(self) -> Association:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.release()
        else:
            self.abort()

    # -- C-STORE

    async def _store_file(self, path: str) -> int:
        async with self._lock:
            self._check_open()
            pump = self.pump([self], Paths([os.fsencode(path)]), [0])
            await self.pumped([self], pump)
            ((_, outcome, status, detail),) = pump.results()
        if outcome == native.SENT:
            return self._checked("C-STORE", status, "")
        if outcome == native.UNREADABLE:
            raise OSError(detail, os.strerror(detail), path)
        if outcome == native.NO_CONTEXT:
            return (await self.store_rewritten(path))[0]
        if outcome == native.LOST and self._end is not None:
            raise self._end
        raise DicomFormatError(file_failure(outcome, detail), path=path)

    async def store_rewritten(self, path: str) -> tuple[int, int]:
        """C-STORE of a file for whose syntax there is no context: the status, and how many bytes went out."""
        data = await self._loop.run_in_executor(None, _read, path)
        return await self._store_bytes(memoryview(data), 0)

    async def _store_bytes(self, data: memoryview, priority: int) -> tuple[int, int]:
        sop_class, instance, syntax, start = native.identify_bytes(data)
        self._check_open()
        context_id = self._link.contexts.get((sop_class, syntax))
        body = data[start:]
        if context_id is None:
            new = next((one for one in uid.UNCOMPRESSED if (sop_class, one) in self._link.contexts), None)
            if new is None or syntax not in uid.UNCOMPRESSED:
                raise TransferSyntaxError(
                    f"{self.address} accepted no context for {uid.name(sop_class)} in {uid.name(syntax)}"
                )
            body = memoryview(await self._loop.run_in_executor(None, rewrite, data, new))
            context_id = self._link.contexts[sop_class, new]
        elif len(body) % 2:
            if syntax != uid.DEFLATED:
                raise DicomFormatError(file_failure(native.ODD, 0))
            body = memoryview(bytes(body) + b"\0")
        number = context_id
        status = await self._request(
            "C-STORE", lambda: self._link.start_store(number, sop_class, instance, body, priority)
        )
        return status, len(body)

    @staticmethod
    def pump(associations: Sequence[Association], paths: Paths, order: list[int]) -> Pump:
        """What sends the files `order` of `paths` over `associations`, once it runs (`pumped`)."""
        return Pump([one._link for one in associations], paths, order)

    @staticmethod
    async def pumped(associations: Sequence[Association], pump: Pump) -> None:
        """Run a pump over associations in a thread. Their sockets are its own meanwhile; cancelling aborts them."""
        loop = asyncio.get_running_loop()
        for one in associations:
            one._pump = pump
            one._unwatch()
        running = loop.run_in_executor(None, pump.run)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            pump.cancel()
            await asyncio.wait([running])
            raise
        finally:
            for number, one in enumerate(associations):
                one._pump = None
                end = pump.ended(number)
                if end is not None:
                    one._close(one._end_of(end))
                else:
                    one._watch()

    # -- one operation

    async def _request(self, name: str, begin: Callable[[], int]) -> int:
        async with self._lock:
            answer = await self._operate(begin)
        return self._checked(name, answer[3], answer[4])

    def _checked(self, name: str, status: int, comment: str) -> int:
        if status != 0 and (is_failure(status) or name == "C-ECHO"):
            remark = f": {printable(comment)}" if comment else ""
            raise DimseError(
                f"{name} failed with {describe(status)}{remark}", status=status, comment=comment, peer=str(self.address)
            )
        return status

    async def _operate(self, begin: Callable[[], object]) -> tuple[Any, ...]:
        self._check_open()
        self._waiter = waiter = self._loop.create_future()
        try:
            begin()
            self._push()
            self._arm()
            answer: tuple[Any, ...] = await waiter
            return answer
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _check_open(self) -> None:
        if self._end is not None:
            raise AssociationStateError(f"the association is over: {self._end}", peer=str(self.address)) from self._end

    def _done(self, answer: tuple[Any, ...]) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    # -- socket events

    def _watch(self) -> None:
        if self.open and not self._watched:
            self._watched = True
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        try:
            events = self._link.pull()
        except OSError as error:
            return self._close(ConnectionFailed(f"the connection broke: {error.strerror}", peer=str(self.address)))
        for event in events:
            kind = event[0]
            if kind in ("response", "accepted", "released"):
                self._done(event)
            elif kind == "request":
                self._abort(
                    ProtocolViolation("the peer sent a request, which no role allows it", peer=str(self.address))
                )
            else:
                if kind == "release":
                    self._link.release_reply()
                self._say_last_words()
                self._close(self._end_of(event))
            if not self.open:
                return
        if events:
            self._push()

    def _push(self) -> None:
        try:
            blocked = self._link.push()
        except OSError as error:
            return self._close(ConnectionFailed(f"the connection broke: {error.strerror}", peer=str(self.address)))
        if blocked and not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket.fileno(), self._push)
        elif not blocked and self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())

    def _arm(self) -> None:
        """One timer for whatever the core waits for; it looks again when it fires instead of being moved."""
        if self._timer is None and self.open:
            left = self._link.deadline()
            if left is not None:
                self._timer = self._loop.call_later(left / 1000, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        name = self._link.tick()
        if name is None:
            return self._arm()
        self._say_last_words()
        self._close(self._timed_out(name))

    def _timed_out(self, name: str) -> NetworkTimeout:
        times = self._timeouts
        what, limit = {
            "artim": ("the peer did not close", times.artim),
            "request": ("no answer to the association request", times.dimse),
            "network": ("the peer fell silent amid a message", times.network),
            "dimse": ("no response to the request", times.dimse),
        }[name]
        return NetworkTimeout(f"{what} within {limit:g} s ({name} timeout)", peer=str(self.address))

    def _end_of(self, event: tuple[Any, ...]) -> NetworkError:
        """The exception for an event that ends the association."""
        peer = str(self.address)
        match event:
            case ("rejected", result, source, reason):
                why = _REJECT_REASONS.get((source, reason), f"source {source}, reason {reason}")
                kind = "for now" if result == 2 else "for good"
                return AssociationRejected(
                    f"the association was rejected {kind}: {why}",
                    result=result,
                    source=source,
                    reason=reason,
                    peer=peer,
                )
            case ("aborted", source, reason, *_):
                why = _ABORT_REASONS.get(reason, f"reason {reason}") if source == 2 else "by its user"
                return AssociationAborted(
                    f"the peer aborted the association: {why}", source=source, reason=reason, peer=peer
                )
            case ("failed", str() as text, reason, offset):
                return ProtocolViolation(text, section="PS3.8 9.3", offset=offset, peer=peer, abort_reason=reason)
            case ("failed", _, reason, detail):  # of a pump
                return ProtocolViolation(status_text(detail), section="PS3.8 9.3", peer=peer, abort_reason=reason)
            case ("timeout", _, _, detail):
                return self._timed_out(native.TIMEOUT_NAMES[detail])
            case ("broken", _, number, _):
                return ConnectionFailed(f"the connection broke: {os.strerror(number)}", peer=peer)
            case ("release", *_):
                return AssociationStateError("the peer released the association", peer=peer)
        return ConnectionFailed("the peer closed the connection without an A-ABORT", peer=peer)

    # -- the end

    def _abort(self, why: NetworkError) -> None:
        if self._pump is not None:
            self._pump.cancel()  # it aborts, and its end closes us
        elif self.open:
            self._link.start_abort()
            self._say_last_words()
            self._close(why)

    def _say_last_words(self) -> None:
        with contextlib.suppress(OSError):  # the peer may be gone already
            self._link.push()

    def _close(self, why: NetworkError) -> None:
        if not self.open:
            return
        self._end = why
        self._unwatch()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())
        self._link.detach()
        self._socket.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(why)

    # -- the beginning

    async def _associate(self, calling: str, contexts: Iterable[Context], window: int) -> None:
        proposal = [(2 * i + 1, one, list(syntaxes)) for i, (one, syntaxes) in enumerate(contexts)]
        self._link.propose(
            self.address.ae_title,
            calling,
            proposal,
            uid.IMPLEMENTATION_CLASS.encode(),
            uid.IMPLEMENTATION_VERSION.encode(),
            window=(window, 1) if window != 1 else None,
        )

        def begin() -> None:
            self._link.attach(self._socket.fileno())
            self._watch()

        await self._operate(begin)


class _Connecting:
    """What `connect` returns: `async with` it, or `await` it."""

    def __init__(
        self,
        address: Address,
        calling: str,
        contexts: Sequence[Context],
        timeouts: Timeouts,
        limits: Limits,
        window: int,
        source: str | None,
    ) -> None:
        self._address, self._calling, self._contexts = address, calling, contexts
        self._timeouts, self._limits = timeouts, limits
        self._window, self._source = window, source
        self._association: Association | None = None

    def __await__(self) -> Generator[Any, None, Association]:
        return self._connect().__await__()

    async def __aenter__(self) -> Association:
        self._association = await self._connect()
        return self._association

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._association is not None
        await self._association.__aexit__(kind, error, trace)

    async def _connect(self) -> Association:
        times, limits = self._timeouts, self._limits
        sock = await _open_socket(self._address, times.connect, self._source)
        try:
            link = Link(
                pdu=limits.pdu,
                negotiation=limits.negotiation,
                command=limits.command,
                artim=round(times.artim * 1000),
                request=round(times.dimse * 1000),
                network=round(times.network * 1000),
                dimse=round(times.dimse * 1000),
            )
            association = Association(self._address, link, sock, times)
        except BaseException:
            sock.close()
            raise
        try:
            await association._associate(self._calling, self._contexts, self._window)
        except BaseException:
            association.abort()
            raise
        return association


async def _open_socket(address: Address, limit: float, source: str | None) -> socket.socket:
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    try:
        async with asyncio.timeout(limit):
            for family, kind, _, _, where in await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            ):
                sock = socket.socket(family, kind)
                try:
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if source is not None:
                        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                        sock.bind((source, 0))
                    await loop.sock_connect(sock, where)
                    return sock
                except OSError as error:
                    sock.close()
                    if isinstance(error, TimeoutError):
                        raise
                    last = error
                except BaseException:
                    sock.close()
                    raise
    except TimeoutError:
        raise NetworkTimeout(f"no TCP connection within {limit:g} s (connect timeout)", peer=str(address)) from None
    except OSError as error:
        last = error
    raise ConnectionFailed(f"no TCP connection: {last}", peer=str(address)) from last


def file_failure(outcome: int, detail: int) -> str:
    """Why a file was not sent, for the outcomes that lie in the file."""
    if outcome == native.UNREADABLE:
        return os.strerror(detail)
    if outcome == native.NOT_DICOM:
        return f"cannot be sent: {status_text(detail)}"
    if outcome == native.ODD:
        return "the data set has an odd number of bytes, which cannot be sent (PS3.8 annex E)"
    if outcome == native.CHANGED:
        return "the file became shorter while it was sent"
    return "not sent"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def connect(
    to: str | Address,
    *,
    calling: str = "DICORE",
    contexts: Iterable[Context | str] | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    window: int = 1,
    source: str | None = None,
) -> _Connecting:
    """Open an association: `async with dicore.connect("dicom://CALLED@host:port") as assoc:`, or `await` it.

    `contexts` are (SOP class UID, [transfer syntax UIDs]) pairs, or SOP class UIDs alone for the two uncompressed
    little endian syntaxes; at most 128; None proposes Verification and the usual storage classes. `window` asks for so
    many operations at a time (0: as many as the peer likes, at most 64; PS3.7 D.3.3.3). `source` is the address to
    connect from. Leaving the block releases the association, an exception in it aborts.

    Raises ConnectionFailed, NetworkTimeout, AssociationRejected, AssociationAborted, ProtocolViolation.
    """
    chosen: list[Context] = default_contexts() if contexts is None else []
    for one in () if contexts is None else contexts:
        chosen.append((one, (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)) if isinstance(one, str) else one)
    if not 0 < len(chosen) <= 128:
        raise ValueError(f"{len(chosen)} presentation contexts: an association has 1 to 128")
    if not 0 <= window <= 64:
        raise ValueError(f"a window of {window} operations: 1 to 64, or 0 for the most")
    return _Connecting(
        Address.parse(to),
        check_ae_title(calling),
        chosen,
        timeouts or Timeouts(),
        limits or Limits(),
        window,
        source,
    )
