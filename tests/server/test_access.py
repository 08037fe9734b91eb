"""Who may associate, and where it is safe to listen."""

from __future__ import annotations

import pytest

from dicore.errors import DicoreError
from dicore.server import Access


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_the_loopback_needs_no_rule(host: str) -> None:
    Access().check_bind(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example.org"])
def test_another_address_needs_one_of_three_ways_and_the_error_names_them(host: str) -> None:
    with pytest.raises(DicoreError, match=r"--allow-ae.*--allow-net.*--insecure"):
        Access().check_bind(host)
    Access.of(["CT1"]).check_bind(host)
    Access.of((), ["10.0.0.0/8"]).check_bind(host)
    Access.of(insecure=True).check_bind(host)


@pytest.mark.parametrize(
    ("titles", "networks", "caller", "peer", "refused"),
    [
        ((), (), "ANY", "192.0.2.1", None),
        (["CT1", "CT2"], (), "CT2", "192.0.2.1", None),
        (["CT1"], (), "CT1   ", "192.0.2.1", None),  # padded, as AE titles are
        (["CT1"], (), "ct1", "192.0.2.1", "AE title"),
        ((), ["192.0.2.0/24"], "ANY", "192.0.2.77", None),
        ((), ["192.0.2.0/24"], "ANY", "192.0.3.77", "address"),
        ((), ["192.0.2.9"], "ANY", "192.0.2.9", None),
        ((), ["192.0.2.0/24"], "ANY", "::ffff:192.0.2.7", None),  # an IPv4 caller of a dual-stack socket
        ((), ["2001:db8::/32"], "ANY", "2001:db8::1", None),
        ((), ["2001:db8::/32"], "ANY", "192.0.2.1", "address"),
        ((), ["fe80::/10"], "ANY", "fe80::1%eth0", None),
        ((), ["192.0.2.0/24"], "ANY", "", None),  # a Unix socket
        (["CT1"], ["192.0.2.0/24"], "CT1", "192.0.3.1", "address"),  # both must hold
        (["CT1"], ["192.0.2.0/24"], "XX", "192.0.2.1", "AE title"),
    ],
)
def test_a_caller_must_keep_every_rule_that_is_given(
    titles: list[str], networks: list[str], caller: str, peer: str, refused: str | None
) -> None:
    verdict = Access.of(titles, networks).refuses(caller, peer)
    assert (verdict is None) == (refused is None)
    assert refused is None or (verdict is not None and refused in verdict)


@pytest.mark.parametrize("network", ["10.0.0.0/33", "pacs.example", "", "10.0.0"])
def test_a_network_that_is_none_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Access.of((), [network])
