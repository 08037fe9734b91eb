"""Where a peer is: `AE@host:port`, `dicom://AE@host:port`, `dicoms://AE@host:port` (TLS), `host:port`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_PORT", "Address", "check_ae_title", "printable"]

DEFAULT_PORT = 104
_TLS_PORT = 2762  # PS3.8 9.1.1: dicom-tls


@dataclass(frozen=True, slots=True)
class Address:
    """A peer: `ae_title` is the called AE title ('ANY-SCP' when the text names none), IPv6 hosts without brackets.
    `tls` for `dicoms://`, where the port is 2762 unless it is said."""

    ae_title: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str | Address) -> Address:
        """Read an address; raises ValueError, saying which part is wrong."""
        if isinstance(text, Address):
            return text
        rest, tls = text, False
        scheme, mark, after = text.partition("://")
        if mark:
            if scheme.lower() not in ("dicom", "dicoms"):
                raise ValueError(f"{text!r}: the scheme is {scheme!r}, only 'dicom' and 'dicoms' are spoken here")
            rest, tls = after.rstrip("/"), scheme.lower() == "dicoms"
        title, mark, place = rest.rpartition("@")
        if not mark:
            title = "ANY-SCP"
        if place.startswith("["):
            host, mark, port_text = place[1:].partition("]")
            if not mark:
                raise ValueError(f"{text!r}: the bracket of the IPv6 address is not closed")
            port_text = port_text.removeprefix(":")
        else:
            host, _, port_text = place.partition(":")
            if ":" in port_text:
                raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:11112")
        if not host:
            raise ValueError(f"{text!r}: no host; write AE@host:port")
        try:
            port = int(port_text) if port_text else _TLS_PORT if tls else DEFAULT_PORT
        except ValueError:
            port = -1
        if not 0 < port < 65536:
            raise ValueError(f"{text!r}: the port is {port_text!r}, not a number from 1 to 65535")
        return cls(check_ae_title(title), host, port, tls)

    @classmethod
    def of(cls, title: str, place: str | Address) -> Address:
        """Where `title` is: "host:port", "AE@host:port" when it is called by another title, either with a scheme or
        without; raises ValueError."""
        if isinstance(place, Address) or "@" in place:
            return cls.parse(place)
        scheme, mark, rest = place.rpartition("://")
        return cls.parse(f"{scheme}{mark}{title}@{rest}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'dicoms://' if self.tls else ''}{self.ae_title}@{host}:{self.port}"


def check_ae_title(title: str) -> str:
    """An AE title without its outer spaces; raises ValueError unless 1 to 16 printable ASCII characters, no backslash
    (PS3.5 6.2, VR AE)."""
    title = title.strip(" ")
    if not 0 < len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"{title!r} is not an AE title: 1 to 16 printable ASCII characters, no backslash")
    return title


def printable(text: str | bytes, limit: int = 64) -> str:
    """Text of a peer made safe for a log line or a terminal: one line of printable ASCII, at most `limit` of it."""
    if isinstance(text, bytes):
        text = text[: limit + 1].decode("ascii", "backslashreplace")
    safe = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    return safe if len(text) <= limit else safe[:limit] + "..."
