"""What happened to others, asked of dicore: a test named after each weakness that touches the network or the store."""

from __future__ import annotations

import struct
from pathlib import Path

import attacks
import pytest

import dicore
import wire
from conftest import Served, Serving, dicore_cli

NAMES = [
    "../../../../tmp/dicore-escape",
    "/tmp/dicore-escape",
    "dicore-escape;touch$IFS/tmp/dicore-escape",
    "..",
    "$(id>/tmp/dicore-escape)",
]


def send_named(served: Served, name: str, *, calling: bytes = b"TEST") -> int:
    data = wire.ct_data_set("1.2.3").replace(
        wire.explicit(0x00080018, "UI", b"1.2.3\0"), wire.explicit(0x00080018, "UI", wire.uid(name))
    )
    with wire.connect(served.port) as connection:
        connection.sendall(wire.associate_rq(wire.store_contexts(), calling=calling))
        assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
        status = wire.store(connection, name, data)
        wire.release(connection)
    return status


def nothing_escaped(served: Served, out: Path) -> None:
    dicore_cli("store", "export", served.store, out)
    assert all(path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*"))
    outside = [path for path in served.store.parent.rglob("*dicore-escape*") if not path.is_relative_to(out)]
    assert not outside
    assert not Path("/tmp/dicore-escape").exists()


@pytest.mark.parametrize("name", NAMES)
def test_pynetdicom_823_and_1092_an_instance_uid_is_no_path(serve: Serving, tmp_path: Path, name: str) -> None:
    served = serve(None, "--durability", "relaxed")
    send_named(served, name)
    assert served.stop() == 0
    nothing_escaped(served, tmp_path / "out")


def test_cve_2022_2119_and_2120_nor_is_an_ae_title(serve: Serving, tmp_path: Path) -> None:
    served = serve(None, "--durability", "relaxed")
    assert send_named(served, wire.instance_uid(1), calling=b"../../tmp/x") == 0
    assert served.stop() == 0
    nothing_escaped(served, tmp_path / "out")


def test_cve_2026_5663_no_shell_sees_what_a_peer_says(serve: Serving) -> None:
    """Beside the server no process is ever started."""
    served = serve(None, "--durability", "relaxed")
    for name in NAMES:
        send_named(served, name, calling=b"`id>dicore-esc`")
    children = Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text()
    assert children == ""
    assert not Path("/tmp/dicore-escape").exists()


def test_cve_2026_50003_a_retrieving_client_writes_no_path_of_the_server(serve: Serving, tmp_path: Path) -> None:
    """DCMTK's C-GET client named files after what the server sent."""
    served = serve(None, "--durability", "relaxed")
    stored = [name for name in NAMES if send_named(served, name) == 0]
    assert stored
    out = tmp_path / "got"
    study = "1.2.826.0.1.3680043.10.1338.7.1"
    dicore_cli("get", served.address, "-k", f"StudyInstanceUID={study}", "--output", out, check=False)
    inside = [path for path in out.rglob("*") if path.is_file()]
    assert len(inside) == len(stored)
    assert all(path.resolve().parent == out.resolve() for path in inside)
    assert not Path("/tmp/dicore-escape").exists()


def test_cve_2026_52868_a_worklist_query_is_no_path(serve: Serving, tmp_path: Path) -> None:
    """DCMTK's wlmscpfs took the called AE title as a folder."""
    (tmp_path / "wl").mkdir()
    served = serve(None, "--worklist", str(tmp_path / "wl"))
    model = "1.2.840.10008.5.1.4.31"
    for called in (b"../../../etc", b"/etc", b".."):
        with wire.connect(served.port) as connection:
            connection.sendall(wire.associate_rq([wire.context(1, model, [wire.EXPLICIT])], called=called))
            assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
            command = attacks.find_rq().replace(wire.element(0x00000002, wire.uid(attacks.FIND)), b"")
            command = wire.command_set(wire.element(0x00000002, wire.uid(model)), command[12:])
            identifier = wire.explicit(0x00100010, "PN", b"../*")
            connection.sendall(wire.data_pdu(1, command, command=True) + wire.data_pdu(1, identifier, command=False))
            assert wire.response(wire.receive_pdu(connection))[2] == 0  # no match, and no more
            wire.release(connection)


def test_cve_2026_50254_35505_44628_nothing_stays_of_an_association(serve: Serving) -> None:
    """Small here; test_crowds.py::test_t18 does thousands."""
    served = serve(None, "--durability", "relaxed", "--metrics-port", "0")
    wire.associate(served.port).close()
    connections = served.connections
    for _ in range(200):
        with wire.associate(served.port) as connection:
            connection.sendall(attacks.store_command(1))
    served.counters()
    for _ in range(500):
        if served.counters()["associations_open"] == 0:
            break
    assert served.counters()["in_flight"] == 0
    served.settled(connections)


def test_cve_2024_34509_pynetdicom_1086_no_memory_on_the_word_of_a_length(serve: Serving) -> None:
    served = serve(None, "--durability", "relaxed")
    wire.associate(served.port).close()
    served.forget_peak()
    rss = served.rss
    longest = wire.associate_rq()[:6].replace(wire.associate_rq()[2:6], b"\x7f\xff\xff\xff")
    for data in (longest, b"\x04\x00\xff\xff\xff\xff" + struct.pack(">IBB", 0xFFFFFFF0, 1, 3)):
        attacks.plain(data, associated=data[0] == 4)(served.port, 20)
    assert served.peak_rss < rss + (16 << 20)


def test_cve_2026_3650_an_unknown_vr_in_the_file_meta_is_no_allocation(tmp_path: Path) -> None:
    """GDCM read the length of an unknown VR into memory."""
    import resource

    path = tmp_path / "vr.dcm"
    path.write_bytes(bytes(128) + b"DICM" + struct.pack("<HH2sxxI", 2, 1, b"ZZ", 0xF0000000) + bytes(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with dicore.Store(tmp_path / "store") as store:
        report = store.add([path])
        assert len(store) == 0
        assert report.failures
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 64 * 1024


def test_cve_2025_0896_nobody_else_comes_in_unless_told(tmp_path: Path) -> None:
    """Orthanc listened to everybody without a password."""
    result = dicore_cli("serve", tmp_path / "s", "--host", "0.0.0.0", "--port", "0", check=False)
    assert result.returncode != 0
    for way in ("--allow-ae", "--allow-net", "--insecure"):
        assert way in result.stderr


def test_cve_2019_11687_what_came_over_the_network_has_no_preamble(serve: Serving) -> None:
    served = serve(None)
    with wire.associate(served.port) as connection:
        assert wire.store(connection, wire.instance_uid(1), wire.ct_data_set(wire.instance_uid(1))) == 0
        wire.release(connection)
    assert served.stop() == 0
    with dicore.Store(served.store, read_only=True) as store:
        assert bytes(store.record(wire.instance_uid(1)))[:132] == bytes(128) + b"DICM"


def test_a_deeply_nested_instance_is_stored_and_indexed_or_refused(serve: Serving) -> None:
    """Orthanc's Deeply-Nested-Sequence."""
    served = serve(None)
    said = attacks.deep_store(served.port, 20)
    assert said.answer.startswith(("status 0000", "status A", "status C"))
    assert served.stop() == 0
    with dicore.Store(served.store, read_only=True) as store:
        assert store.verify().ok
