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
            frozenset(ae_titles),
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
