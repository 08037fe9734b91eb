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
    ("networks", "address", "admitted"),
    [
        ((), "192.0.2.1", True),
        (["192.0.2.0/24"], "192.0.2.77", True),
        (["192.0.2.0/24"], "192.0.3.77", False),
        (["192.0.2.9"], "192.0.2.9", True),
        (["192.0.2.9"], "192.0.2.8", False),
        (["198.51.100.0/24", "192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),  # an IPv4 caller of a dual-stack socket
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "192.0.2.1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["192.0.2.0/24"], "", True),  # a Unix socket
    ],
)
def test_an_address_must_be_in_one_of_the_networks_that_are_given(
    networks: list[str], address: str, admitted: bool
) -> None:
    assert Access.of((), networks).admits(address) is admitted


@pytest.mark.parametrize("network", ["10.0.0.0/33", "pacs.example", "", "10.0.0"])
def test_a_network_that_is_none_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Access.of((), [network])
