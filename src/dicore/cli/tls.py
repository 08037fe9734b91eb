"""The --tls options, the same for every network command."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dicore.net.address import Address

__all__ = [
    "Ca",
    "Cert",
    "DestinationCa",
    "DestinationCert",
    "DestinationKey",
    "Key",
    "NoHostname",
    "Profile",
    "client",
    "server",
]

Cert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="PEM", exists=True, dir_okay=False, help="TLS: our certificate, with its chain."
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="PEM", exists=True, dir_okay=False, help="Its key; else in the same file."),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca", metavar="PEM", exists=True, dir_okay=False, help="TLS: who signs the peers' certificates."
    ),
]
DestinationCa = Annotated[
    Path | None,
    typer.Option(
        "--destination-tls-ca",
        metavar="PEM",
        exists=True,
        dir_okay=False,
        help="Who signs those of dicoms:// destinations.",
    ),
]
DestinationCert = Annotated[
    Path | None,
    typer.Option(
        "--destination-tls-cert", metavar="PEM", exists=True, dir_okay=False, help="Our certificate for those who ask."
    ),
]
DestinationKey = Annotated[
    Path | None,
    typer.Option(
        "--destination-tls-key", metavar="PEM", exists=True, dir_okay=False, help="Its key; else in the file."
    ),
]
Profile = Annotated[
    str,
    typer.Option("--tls-profile", help="bcp195, non-downgrading, bcp195-extended, rfc9325 (PS3.15 annex B), tls13."),
]
NoHostname = Annotated[
    bool, typer.Option("--tls-any-name", help="The peer's certificate need not name the host that is called.")
]


def client(
    target: Address, cert: Path | None, key: Path | None, ca: Path | None, profile: str, any_name: bool
) -> ssl.SSLContext | None:
    """The context of a command that calls; None: plain. `dicoms://`, --tls-ca or --tls-cert ask for TLS."""
    if not target.tls and cert is None and ca is None:
        return None
    from dicore.net.tls import client_context

    try:
        return client_context(ca, cert, key, profile, check_hostname=not any_name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tls-...") from None


def server(cert: Path | None, key: Path | None, ca: Path | None, profile: str) -> ssl.SSLContext | None:
    """The context of a command that is called; None: plain."""
    if cert is None:
        if key is not None or ca is not None:
            raise typer.BadParameter("--tls-key and --tls-ca need --tls-cert", param_hint="--tls-cert")
        return None
    from dicore.net.tls import server_context

    try:
        return server_context(cert, key, ca, profile)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tls-...") from None
