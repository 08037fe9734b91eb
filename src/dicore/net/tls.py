"""TLS for associations: contexts by the profiles of PS3.15 annex B, certificates that are replaced while a listener
runs, and what a certificate says of a peer.

    tls = server_context("server.pem", "server.key", ca="clients.pem")       # with `ca` peers must show a certificate
    async with dicore.listen(port=2762, tls=tls, on_c_store=sink) as scp:
        scp.reload_tls()                                                     # the files have changed
    async with dicore.connect("dicoms://PACS@pacs.example", tls=client_context(ca="hospital.pem")) as assoc:

Profiles, all TLS 1.2 and 1.3 with forward secrecy:

- "bcp195": BCP 195 TLS (PS3.15 B.9): also takes AES-CBC with SHA-2 from a peer with TLS 1.2 that has nothing better.
- "non-downgrading": Non-Downgrading BCP 195 TLS (B.10): authenticated encryption only.
- "bcp195-extended": Extended BCP 195 TLS (B.11): AES-GCM alone, 256 bits first, ephemeral keys.
- "rfc9325": BCP 195 RFC 8996, 9325 TLS (B.12): AES-GCM and ChaCha20 over elliptic curves, no DHE, no CBC.
- "tls13": as "non-downgrading", TLS 1.3 alone.

B.12 is the newest, by RFC 8996 and 9325. B.13, its modified form, is not claimed: servers need all of a list of TLS 1.3
suites for it, some with CCM, which cannot be turned on through Python. Keys of RSA and DHE have 2048 bits or more
(B.10, B.11), which is security level 2 of OpenSSL. DHE is offered where we call; where we are called the key exchange
is over elliptic curves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any

__all__ = ["PROFILES", "Certificate", "ServerContext", "client_context", "explain", "server_context"]

PathLike = str | os.PathLike[str]

_CURVES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES128-GCM-SHA256"
)
_CHACHA = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
_DHE = "DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256"
_CBC = "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"
_KEYS = "@SECLEVEL=2"
PROFILES = {
    "bcp195": ":".join((_CURVES, _CHACHA, _DHE, _CBC, _KEYS)),
    "non-downgrading": ":".join((_CURVES, _CHACHA, _DHE, _KEYS)),
    "bcp195-extended": ":".join((_CURVES, _DHE, _KEYS)),
    "rfc9325": ":".join((_CURVES, _CHACHA, _KEYS)),
    "tls13": ":".join((_CURVES, _CHACHA, _KEYS)),
}
"""The cipher suites of TLS 1.2 by profile; those of TLS 1.3 are all fit."""


def _restrict(context: ssl.SSLContext, profile: str) -> None:
    try:
        ciphers = PROFILES[profile]
    except KeyError:
        raise ValueError(f"TLS profile {profile!r}: one of {', '.join(PROFILES)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if profile == "tls13" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def _load(
    context: ssl.SSLContext, cert: PathLike | None, key: PathLike | None, ca: PathLike | None, password: str | None
) -> None:
    """Files into a context; errors name the file."""
    for path in (cert, key, ca):
        if path is not None:
            with open(path, "rb"):  # OSError with the path: ssl's own has none
                pass
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password or "")
        except ssl.SSLError as error:
            raise ValueError(
                f"{os.fspath(key or cert)}: no key for {os.fspath(cert)}: {error.reason or error}"
            ) from None
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise ValueError(f"{os.fspath(ca)}: no certificates in PEM: {error.reason or error}") from None


class ServerContext(ssl.SSLContext):
    """A server's context, whose certificates may be read again."""

    _files: tuple[Any, ...]
    _current: ServerContext

    def reload(self) -> None:
        """Read the files again: for associations from now on, those that are open go on. When the files are not fit,
        what was there stays, and OSError or ValueError tells why."""
        self._current = _server(*self._files)

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        if self._current is not self:
            connection.context = self._current


def _server(
    cert: PathLike, key: PathLike | None, ca: PathLike | None, profile: str, password: str | None
) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, profile)
    _load(context, cert, key, ca, password)
    context.verify_mode = ssl.CERT_NONE if ca is None else ssl.CERT_REQUIRED
    context.num_tickets = 0  # a resumed session would not look at the peer's certificate again
    context.options |= ssl.OP_NO_TICKET
    context._files = (cert, key, ca, profile, password)
    context._current = context
    return context


def server_context(
    cert: PathLike,
    key: PathLike | None = None,
    ca: PathLike | None = None,
    profile: str = "bcp195",
    *,
    password: str | None = None,
) -> ServerContext:
    """For `listen(tls=)` and `serve(tls=)`: PEM files of the certificate (with its chain), its key (None: in the same
    file), and of who signs the peers' certificates; with `ca` a peer without such a certificate is refused.

    Raises OSError for what cannot be read, ValueError for what is no certificate or key, or no profile.
    """
    context = _server(cert, key, ca, profile, password)
    context.sni_callback = context._choose
    return context


def client_context(
    ca: PathLike | None = None,
    cert: PathLike | None = None,
    key: PathLike | None = None,
    profile: str = "bcp195",
    *,
    check_hostname: bool = True,
    password: str | None = None,
) -> ssl.SSLContext:
    """For `connect(tls=)` and `send(tls=)`: who signs the peer's certificate (None: whom the system trusts), and what
    we show when asked for. The host that is connected to must stand in the certificate, unless `check_hostname` is
    False.

    Raises as `server_context`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context, profile)
    context.check_hostname = check_hostname
    _load(context, cert, key, ca, password)
    if ca is None:
        context.load_default_certs()
    return context


def explain(error: BaseException) -> str:
    """Why TLS failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        if "alert" in reason:
            return f"the peer refused: {reason}"
        if reason in ("wrong version number", "http request", "record layer failure"):
            return f"the peer does not speak TLS ({reason})"
        return reason
    if isinstance(error, TimeoutError):
        return "the handshake was not finished in time"
    if isinstance(error, ConnectionAbortedError):  # what asyncio makes of its ssl_handshake_timeout
        return "the handshake was not finished in time"
    if isinstance(error, ConnectionError):
        return "the peer closed the connection during the handshake"
    return str(error)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a peer showed. `subject` is the common name, `names` are all that it is valid for ('CN=..', 'DNS:..',
    'IP Address:..', 'URI:..', 'email:..', 'sha256:HEX' of the whole)."""

    subject: str
    names: frozenset[str]
    not_after: str

    @classmethod
    def of(cls, connection: Any) -> Certificate | None:
        """Of an SSLObject or SSLSocket; None: the peer showed none."""
        whole = None if connection is None else connection.getpeercert(True)
        if not whole:
            return None
        read = connection.getpeercert() or {}
        subject = {name: value for part in read.get("subject", ()) for name, value in part}
        common = subject.get("commonName", "")
        names = {f"{kind}:{value}" for kind, value in read.get("subjectAltName", ())}
        names.add("sha256:" + hashlib.sha256(whole).hexdigest())
        if common:
            names.add(f"CN={common}")
        return cls(common, frozenset(names), read.get("notAfter", ""))

    def matches(self, rule: str) -> bool:
        """Whether it is the one that `rule` names: one of `names`."""
        if rule.lower().startswith("sha256:"):
            return rule.lower().replace(":", "") in {one.replace(":", "") for one in self.names}
        return rule in self.names


# -- a client's connection: what drives an association has a plain socket, the other end of which is relayed


class _End(asyncio.Protocol):
    """One of the two ends of a relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: Any = None
        self.other: _End | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        for data in self.waiting:
            self.transport.write(data)
        self.waiting.clear()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        if self.other.transport is None:
            self.other.waiting.append(data)
        else:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and self.relay.error is None and self is self.relay.outer:
            self.relay.error = error
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Relay:
    """Between a TLS connection and a plain socket (`sock`) for who knows nothing of TLS. `error` is what broke it."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.outer, self.inner = _End(self), _End(self)
        self.outer.other, self.inner.other = self.inner, self.outer
        self.sock: socket.socket
        self.version = self.cipher = ""
        self.certificate: Certificate | None = None
        self.ends: tuple[Any, Any] = (None, None)  # our name and the peer's

    @classmethod
    async def open(cls, sock: socket.socket, context: ssl.SSLContext, host: str, limit: float) -> Relay:
        """Handshake over a connected socket. Raises OSError (ssl.SSLError among them), TimeoutError."""
        loop = asyncio.get_running_loop()
        relay = cls()
        relay.ends = sock.getsockname(), sock.getpeername()
        ours, theirs = socket.socketpair()
        try:
            for one in (ours, theirs):
                one.setblocking(False)
            await loop.create_connection(lambda: relay.inner, sock=theirs)
            relay.inner.transport.pause_reading()
            await loop.create_connection(
                lambda: relay.outer,
                sock=sock,
                ssl=context,
                server_hostname=host,
                ssl_handshake_timeout=limit,
                ssl_shutdown_timeout=2.0,
            )
        except BaseException:
            ours.close()
            if relay.inner.transport is not None:
                relay.inner.transport.abort()  # and with it `theirs`
            else:
                theirs.close()
            raise
        relay.inner.transport.resume_reading()
        relay.sock = ours
        connection = relay.outer.transport.get_extra_info("ssl_object")
        relay.version = connection.version() or ""
        with contextlib.suppress(TypeError):
            relay.cipher = connection.cipher()[0]
        relay.certificate = Certificate.of(connection)
        return relay
