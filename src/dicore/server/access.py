"""Who may associate, and whether it is safe to listen where one was told to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from dicore.errors import DicoreError

__all__ = ["Access"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Access:
    """The rule for callers: AE title in `ae_titles`, address in one of `networks`, where these are given.

    Both empty lets everybody in; a listener that is reachable from elsewhere then needs `insecure=True`.
    """

    ae_titles: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    insecure: bool = False

    @classmethod
    def of(cls, ae_titles: Sequence[str] = (), networks: Sequence[str] = (), *, insecure: bool = False) -> Access:
        """Build the rule from text; networks are CIDR ('10.0.0.0/8') or one address. Raises ValueError on a bad one."""
        return cls(
            frozenset(title.strip(" ") for title in ae_titles),
            tuple(ipaddress.ip_network(network, strict=False) for network in networks),
            insecure,
        )

    def check_bind(self, host: str) -> None:
        """Raises DicoreError when listening on `host` would let strangers in without anybody having said so."""
        if _is_loopback(host) or self.ae_titles or self.networks or self.insecure:
            return
        raise DicoreError(
            f"listening on {host or 'every address'} would take instances from anybody who reaches it; choose one of"
            " --allow-ae TITLE (callers by AE title), --allow-net CIDR (callers by network), --insecure (everybody)"
        )

    def refuses(self, calling_ae: str, peer: str) -> str | None:
        """Why this caller is not let in, or None. `peer` is its IP address; a Unix socket's peer ('') is local."""
        if self.ae_titles and calling_ae.strip(" ") not in self.ae_titles:
            return "calling AE title not allowed"
        if not self.networks or not peer:
            return None
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1, an IPv4 caller of a dual-stack socket
        return None if any((mapped or address) in network for network in self.networks) else "address not allowed"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False  # a name: who knows where it leads
