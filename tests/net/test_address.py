from __future__ import annotations

import pytest

from dicore.net import Address
from dicore.net.address import check_ae_title, printable


@pytest.mark.parametrize(
    ("text", "title", "host", "port"),
    [
        ("STORE@example.org:11112", "STORE", "example.org", 11112),
        ("dicom://STORE@example.org:11112", "STORE", "example.org", 11112),
        ("dicom://STORE@example.org:11112/", "STORE", "example.org", 11112),
        ("DICOM://A B@10.0.0.1", "A B", "10.0.0.1", 104),
        ("localhost:4242", "ANY-SCP", "localhost", 4242),
        ("X@[::1]:104", "X", "::1", 104),
        ("X@[fe80::1]", "X", "fe80::1", 104),
    ],
)
def test_an_address_is_read_and_printed_back(text: str, title: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.ae_title, address.host, address.port) == (title, host, port)
    assert Address.parse(str(address)) == address == Address.parse(address)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no host"),
        ("X@", "no host"),
        ("X@host:0", "not a number from 1 to 65535"),
        ("X@host:65536", "not a number"),
        ("X@host:abc", "not a number"),
        ("X@::1", "brackets"),
        ("X@[::1", "not closed"),
        ("http://X@host:80", "scheme"),
        ("A_TITLE_OF_17_BYTES@host:104", "AE title"),
        ("A\\B@host:104", "AE title"),
        ("@host:104", "AE title"),
    ],
)
def test_a_wrong_address_is_refused_with_its_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Address.parse(text)


def test_an_ae_title_is_printable_ascii() -> None:
    assert check_ae_title("  MAIN PACS ") == "MAIN PACS"
    for bad in ("", "   ", "TAB\tTAB", "Ä", "A" * 17):
        with pytest.raises(ValueError, match="AE title"):
            check_ae_title(bad)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain", "plain"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("Ä", "\\xc4"),
        (b"\xff\x00", "\\xff\\x00"),
        ("x" * 100, "x" * 64 + "..."),
    ],
)
def test_text_of_a_peer_is_one_safe_line(text: str | bytes, safe: str) -> None:
    assert printable(text) == safe
