"""Who may associate, and whether it is safe to listen where one was told to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicore.errors import DicoreError

if TYPE_CHECKING:
    from dicore.net.tls import Certificate

__all__ = ["Access"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Access:
    """The rule for callers: AE title in `ae_titles`, address in one of `networks`, certificate one of `certificates`,
    where these are given. An AE title is a label that anybody can wear; an address and a certificate are not.

    Both empty lets everybody in; a listener that is reachable from elsewhere then needs `insecure=True`.
    """

    ae_titles: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    insecure: bool = False
    certificates: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        ae_titles: Sequence[str] = (),
        networks: Sequence[str] = (),
        *,
        insecure: bool = False,
        certificates: Sequence[str] = (),
    ) -> Access:
        """Build the rule from text; networks are CIDR ('10.0.0.0/8') or one address; certificates are 'CN=name',
        'DNS:name', 'URI:..', 'email:..', 'IP Address:..' or 'sha256:HEX'. Raises ValueError on a bad one."""
        for one in certificates:
            if not one.startswith(("CN=", "DNS:", "URI:", "email:", "IP Address:", "sha256:")):
                raise ValueError(f"{one!r}: write CN=name, DNS:name, URI:.., email:.., IP Address:.. or sha256:HEX")
        return cls(
            frozenset(ae_titles),
            tuple(ipaddress.ip_network(network, strict=False) for network in networks),
            insecure,
            tuple(certificates),
        )

    def check_bind(self, host: str, *, tls: bool = False) -> None:
        """Raises DicoreError when listening on `host` would let strangers in without anybody having said so. `tls`:
        peers have to show a certificate."""
        if tls or _is_loopback(host) or self.ae_titles or self.networks or self.insecure:
            return
        raise DicoreError(
            f"listening on {host or 'every address'} would take instances from anybody who reaches it; choose one of"
            " --allow-ae TITLE (callers by AE title), --allow-net CIDR (callers by network), --tls-cert with --tls-ca"
            " (callers by certificate), --insecure (everybody)"
        )

    def admits_certificate(self, certificate: Certificate | None) -> bool:
        """Whether who shows this may associate."""
        return certificate is not None and any(certificate.matches(rule) for rule in self.certificates)

    def admits(self, address: str) -> bool:
        """Whether a caller from this IP address may associate; a Unix socket's caller ('') is local."""
        if not self.networks or not address:
            return True
        caller = ipaddress.ip_address(address.partition("%")[0])
        caller = getattr(caller, "ipv4_mapped", None) or caller  # ::ffff:10.0.0.1 on a dual-stack socket
        return any(caller in network for network in self.networks)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False  # a name: who knows where it leads
