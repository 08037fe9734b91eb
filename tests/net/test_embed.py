"""csrc/examples/embed.c, built as a vendor would build it and called by DCMTK."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicore
import wire
from conftest import ROOT, absent, free_port
from dicore import synth

EXAMPLE = ROOT / "csrc" / "examples" / "embed.c"


@pytest.fixture(scope="module")
def embed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The running program: its port and its folder."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        absent("no C compiler")
    assert compiler is not None
    folder = tmp_path_factory.mktemp("embed")
    sources = [EXAMPLE] + [p for column in ("base", "dataset", "net") for p in (ROOT / "csrc" / column).glob("*.c")]
    options = ["-O1", "-g", "-std=gnu11", "-D_GNU_SOURCE", f"-I{ROOT / 'csrc' / 'include'}", f"-I{ROOT / 'csrc'}"]
    subprocess.run(
        [compiler, *options, "-fsanitize=address,undefined", *map(str, sources), "-lz", "-o", str(folder / "embed")],
        check=True,
    )
    received = folder / "received"
    received.mkdir()
    port = free_port()
    process = subprocess.Popen([folder / "embed", str(port), received], stderr=subprocess.PIPE)
    try:
        for _ in range(200):
            try:
                wire.connect(port).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                time.sleep(0.02)
        yield port, received
        assert process.poll() is None, "it has died"
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert b"Sanitizer" not in said


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 300


def test_dcmtk_echoes_and_stores(embed: tuple[int, Path], dcmtk: str, tmp_path: Path) -> None:
    port, received = embed
    subprocess.run(["echoscu", "127.0.0.1", str(port)], check=True, timeout=30)
    instances = list(synth.studies(5, 1, modality="CT", slices=4, size=256))
    for number, instance in enumerate(instances):
        (tmp_path / f"{number}.dcm").write_bytes(instance.data)
    subprocess.run(["storescu", "+sd", "127.0.0.1", str(port), str(tmp_path)], check=True, timeout=30)
    for instance in instances:
        kept, sent = dicore.read(received / f"{instance.sop_instance_uid}.dcm"), dicore.read(instance.data)
        assert bytes(kept.pixels()) == bytes(sent.pixels())
        assert kept.SOPInstanceUID == instance.sop_instance_uid
    assert len(list(received.iterdir())) == len(instances)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\0\0\0\0\x06" + bytes(6), bytes(100)])
def test_nonsense_is_aborted_and_the_next_is_served(embed: tuple[int, Path], said: bytes) -> None:
    port, received = embed
    with wire.connect(port) as connection:
        connection.sendall(said)
        answer = wire.receive_pdu(connection)
        assert answer is not None
        assert answer.kind == wire.ABORT
    with wire.associate(port) as connection:
        assert wire.echo(connection) == 0
        data = wire.ct_data_set(wire.instance_uid(7))
        connection.sendall(wire.store_message(wire.instance_uid(7), data)[:-5])  # and gone
    with wire.associate(port) as connection:
        assert wire.store(connection, wire.instance_uid(8), data) == 0
        assert wire.store(connection, "../escape", data, 2) == 0xA700
    assert not [one.name for one in received.parent.iterdir() if "escape" in one.name]
    assert (received / f"{wire.instance_uid(8)}.dcm").exists()
    (received / f"{wire.instance_uid(8)}.dcm").unlink()
