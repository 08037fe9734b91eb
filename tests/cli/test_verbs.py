"""What each verb does, as a process, on real files and real sockets."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest

from conftest import Serving, dicore_cli, dicore_command
from dicore import synth


def dicore(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return dicore_cli(*args, check=False, env={"COLUMNS": "100", "NO_COLOR": "1"})


def json_of(*args: str | Path) -> list[Any]:
    """Run with --json, which must succeed, and parse its lines."""
    result = dicore(*args, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def body(data: bytes) -> str:
    """SHA-256 of what follows the file meta information."""
    return hashlib.sha256(data[144 + int.from_bytes(data[140:144], "little") :]).hexdigest()


@pytest.fixture
def phantoms(tmp_path: Path) -> Path:
    """Two CT studies of three images."""
    folder = tmp_path / "phantoms"
    folder.mkdir()
    for number, instance in enumerate(synth.studies(3, 2, modality="CT", slices=3, size=64)):
        (folder / f"{number}.dcm").write_bytes(instance.data)
    return folder


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """A file with a sequence in a sequence, a private block, and names that would like to talk to the terminal."""
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.PatientName = "山田^太郎"
    ds.PatientID = "[red]\x1b[2Jx[/red]"
    ds.PatientComments = "one\r\ntwo"
    ds.Rows = 512
    ds.PixelAspectRatio = [1, 2]
    ds.DoubleFloatRealWorldValueFirstValueMapped = 1.5
    ds.FrameIncrementPointer = 0x00181063
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.CodeValue = "DEEP"
    outer.PurposeOfReferenceCodeSequence = [inner]
    outer.ReferencedSOPInstanceUID = "1.2.3.5"
    ds.ReferencedImageSequence = [outer, pydicom.Dataset()]
    block = ds.private_block(0x0011, "DICORE TEST", create=True)
    block.add_new(1, "OB", bytes(range(200)))
    path = tmp_path / "nested.dcm"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


# ---- dump ------------------------------------------------------------------------------------------------------------
def test_dump_prints_every_element_in_order_in_the_look_of_dcmdump(nested: Path) -> None:
    result = dicore("dump", nested)
    assert result.returncode == 0, result.stderr
    shown = [line.split()[0] for line in result.stdout.splitlines() if line.strip().startswith("(")]
    expected = [f"({e.tag.group:04x},{e.tag.element:04x})" for e in pydicom.dcmread(nested).file_meta]

    def visit(dataset: pydicom.Dataset) -> None:
        for element in dataset:
            expected.append(f"({element.tag.group:04x},{element.tag.element:04x})")
            for item in element.value if element.VR == "SQ" else ():
                expected.append("(fffe,e000)")
                visit(item)

    visit(pydicom.dcmread(nested))
    assert shown == expected
    lines = {line.strip().partition(" # ")[0].strip() for line in result.stdout.splitlines()}
    assert {
        "(0010,0010) PN [山田^太郎]",
        "(0028,0010) US 512",
        "(0028,0034) IS [1\\2]",
        "(0040,9214) FD 1.5",
        "(0028,0009) AT (0018,1063)",
        "(0008,0018) UI [1.2.3.4]",
        "(0008,0016) UI =Secondary Capture Image Storage",
        "(0008,1140) SQ (Sequence #=2)",
        "(0008,0100) SH [DEEP]",
    } <= lines


def test_dump_gives_the_terminal_nothing_to_obey_and_parses_no_markup(nested: Path) -> None:
    text = dicore("dump", nested).stdout
    assert r"[[red]\x1b[2Jx[/red]]" in text
    assert r"one\x0d\x0atwo" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_dump_cuts_long_values_unless_full(nested: Path) -> None:
    whole = "\\".join(f"{byte:02x}" for byte in range(200))
    assert whole not in dicore("dump", nested).stdout
    assert whole in dicore("dump", nested, "--full").stdout


def test_dump_of_a_path_prints_that_element_only(nested: Path) -> None:
    path = "ReferencedImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue"
    result = dicore("dump", nested, "--path", path, "--path", "0028,0010")
    assert [line.split("#")[0].strip() for line in result.stdout.splitlines()] == [
        "(0008,0100) SH [DEEP]",
        "(0028,0010) US 512",
    ]
    missing = dicore("dump", nested, "--path", "PatientSex")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "PatientSex" in missing.stderr


def test_dump_json_is_dicom_json(nested: Path) -> None:
    (found,) = json_of("dump", nested, "--full")
    assert found == json.loads(pydicom.dcmread(nested).to_json())
    (one,) = json_of("dump", nested, "--path", "PatientName")
    assert one == {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "山田^太郎"}]}}


def test_dump_json_refers_to_long_values(phantoms: Path) -> None:
    first, second = json_of("dump", phantoms / "0.dcm", phantoms / "1.dcm")
    assert first["00080018"]["Value"] != second["00080018"]["Value"]
    assert first["7FE00010"]["BulkDataURI"].startswith((phantoms / "0.dcm").as_uri())
    assert "InlineBinary" not in first["7FE00010"]


def test_dump_tells_a_bad_file_and_goes_on(nested: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(nested.read_bytes()[:300])
    result = dicore("dump", bad, tmp_path / "none.dcm", nested)
    assert result.returncode == 1
    assert "(0028,0010) US 512" in result.stdout
    assert str(bad) in result.stderr
    assert f"{tmp_path / 'none.dcm'}: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_dump_reads_standard_input(nested: Path) -> None:
    with open(nested, "rb") as file:
        result = subprocess.run(
            [*dicore_command(), "dump", "-"], stdin=file, capture_output=True, text=True, check=True
        )
    assert "(0028,0010) US 512" in result.stdout


def test_dump_warns_of_deviations_and_strict_refuses_them(nested: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.dcm"
    data = nested.read_bytes()
    bare.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])  # no preamble, no file meta
    result = dicore("dump", bare)
    assert result.returncode == 0
    assert "(0028,0010) US 512" in result.stdout
    assert f"warning: {bare}" in result.stderr
    strict = dicore("dump", bare, "--strict")
    assert strict.returncode == 1
    assert strict.stdout == ""
    assert strict.stderr.count("\n") == 1


def test_dump_into_a_pipe_that_closes_early_says_nothing(phantoms: Path) -> None:
    files = [str(path) for path in sorted(phantoms.iterdir())] * 20
    process = subprocess.Popen(
        [*dicore_command(), "dump", "--full", *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 1


# ---- synth, codecs ---------------------------------------------------------------------------------------------------
def test_synth_writes_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    (said,) = json_of("synth", tmp_path / "a", "--studies", "2", "--slices", "2", "--size", "64", "--seed", "5")
    assert said["instances"] == 4
    assert (
        json_of("synth", tmp_path / "b", "--studies", "2", "--slices", "2", "--size", "64", "--seed", "5")[0]["bytes"]
        == said["bytes"]
    )
    a, b = ({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.dcm")} for name in "ab")
    assert a == b
    assert sum(map(len, a.values())) == said["bytes"]
    studies = {pydicom.dcmread(path).StudyInstanceUID for path in (tmp_path / "a").rglob("*.dcm")}
    assert len(studies) == 2


def test_codecs_lists_a_decoder_for_every_uncompressed_syntax() -> None:
    found = {row["syntax"]: row for row in json_of("codecs")}
    assert all(found[uid]["decode_by"] for uid in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))
    assert dicore("codecs").stdout.splitlines()[0].split("\t")[0] == "syntax"


# ---- echo, send, serve, store ----------------------------------------------------------------------------------------
def test_instances_go_from_files_through_send_serve_and_export_to_files(
    phantoms: Path, serve: Serving, tmp_path: Path
) -> None:
    server = serve()
    answers = json_of("echo", server.address, "--count", "3")
    assert [(a["number"], a["status"]) for a in answers] == [(1, 0), (2, 0), (3, 0)]
    assert dicore("echo", "-aec", server.ae_title, "-aet", "ME", "127.0.0.1", str(server.port)).returncode == 0
    (report,) = json_of("send", phantoms, "--to", server.address, "--associations", "3")
    assert (report["sent"], report["failed"], report["failures"]) == (6, 0, [])
    assert server.stop() == 0

    assert len(json_of("store", "ls", server.store)) == 2
    images = json_of("store", "ls", server.store, "--level", "IMAGE")
    assert len(images) == 6
    name = pydicom.dcmread(phantoms / "0.dcm").PatientName
    assert json_of("store", "ls", server.store, f"PatientName={name}")
    assert json_of("store", "ls", server.store, "PatientName=NOBODY*") == []
    header, *rows = dicore("store", "ls", server.store).stdout.splitlines()
    assert len(rows) == 2
    assert "StudyInstanceUID" in header.split("\t")
    (verdict,) = json_of("store", "verify", server.store)
    assert verdict["ok"] is True
    assert verdict["instances"] == 6
    assert json_of("store", "rebuild", server.store) == [{"instances": 6}]
    (stats,) = json_of("store", "stats", server.store)
    assert 6 in stats.values()
    out = tmp_path / "out"
    assert json_of("store", "export", server.store, out) == [{"folder": str(out), "instances": 6}]
    sent = {body(path.read_bytes()) for path in phantoms.iterdir()}
    assert {body(path.read_bytes()) for path in out.rglob("*.dcm")} == sent


def test_what_was_acknowledged_outlives_a_kill(phantoms: Path, serve: Serving, tmp_path: Path) -> None:
    server = serve()
    assert dicore("send", phantoms, "--to", server.address, "-n", "2").returncode == 0
    server.kill()
    assert dicore("store", "verify", server.store).returncode == 0
    assert dicore("store", "export", server.store, tmp_path / "out").returncode == 0
    sent = {body(path.read_bytes()) for path in phantoms.iterdir()}
    assert {body(path.read_bytes()) for path in (tmp_path / "out").rglob("*.dcm")} == sent


def test_verify_finds_a_damaged_instance_and_says_which(phantoms: Path, serve: Serving) -> None:
    server = serve()
    assert dicore("send", phantoms, "--to", server.address).returncode == 0
    assert server.stop() == 0
    data = (phantoms / "2.dcm").read_bytes()
    (segment,) = (server.store / "segments").glob("*.seg")
    with open(segment, "r+b") as file, mmap.mmap(file.fileno(), 0) as stored:
        stored[stored.find(data[-2000:]) + 1000] ^= 1
    result = dicore("store", "verify", server.store, "--json")
    assert result.returncode == 1
    verdict = json.loads(result.stdout)
    assert verdict["ok"] is False
    assert any(str(pydicom.dcmread(phantoms / "2.dcm").SOPInstanceUID) in problem for problem in verdict["problems"])


def test_a_file_that_is_no_dicom_is_named_and_the_others_are_sent(phantoms: Path, serve: Serving) -> None:
    server = serve()
    bad = phantoms / "notes.dcm"
    bad.write_bytes(b"not DICOM at all")
    result = dicore("send", phantoms, "--to", server.address, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert (report["sent"], report["failed"]) == (6, 1)
    assert report["failures"][0]["path"] == str(bad)
    assert str(bad) in result.stderr


def test_nobody_listening_is_told_in_one_line(port: int, phantoms: Path) -> None:
    for args in (["echo", f"A@127.0.0.1:{port}"], ["send", str(phantoms), "--to", f"A@127.0.0.1:{port}"]):
        result = dicore(*args)
        assert result.returncode == 1
        assert str(port) in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_ends_serve_with_status_0(serve: Serving, ending: signal.Signals) -> None:
    server = serve()
    server.process.send_signal(ending)
    assert server.process.wait(30) == 0


def test_callers_that_are_not_allowed_are_rejected(serve: Serving) -> None:
    server = serve(None, "--allow-ae", "CT1")
    assert dicore("echo", server.address, "-aet", "CT1").returncode == 0
    refused = dicore("echo", server.address, "-aet", "CT2")
    assert refused.returncode == 1
    assert "reject" in refused.stderr.lower()
    elsewhere = serve(server.store.with_name("other"), "--allow-net", "192.0.2.0/24")
    assert dicore("echo", elsewhere.address).returncode == 1


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = dicore("serve", tmp_path / "store", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert str(port) in result.stderr


def test_an_interrupted_verb_ends_with_130_and_no_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        process = subprocess.Popen(
            [*dicore_command(), "echo", f"A@127.0.0.1:{silent.getsockname()[1]}"], stderr=subprocess.PIPE, text=True
        )
        connection, _ = silent.accept()
        assert connection.recv(1)  # the A-ASSOCIATE-RQ: it is waiting for the answer now
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in error


# ---- demo ------------------------------------------------------------------------------------------------------------
def test_demo_checks_every_hash_and_draws_a_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    (figures,) = json_of("demo", "--dir", tmp_path / "demo", "--out", sheet, "--associations", "4")
    assert figures["failures"] == []
    assert figures["instances"] > 100
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert dicore("store", "verify", tmp_path / "demo" / "store").returncode == 0
    again = dicore("demo", "--dir", tmp_path / "demo")
    assert again.returncode == 2


# ---- edit


def test_edit_changes_what_it_is_told_and_nothing_else(nested: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.dcm"
    before = nested.read_bytes()
    values = ["PatientID=X1", "Rows=0x10", "PixelAspectRatio=3\\4", "FrameIncrementPointer=(0018,1065)"]
    values += ["0013,0010=ACME", "0013,1001=FD:2.5"]
    sets = [word for value in values for word in ("-s", value)]
    result = dicore("edit", nested, *sets, "-d", "PatientComments", "-o", out)
    assert result.returncode == 0, result.stderr
    assert not result.stdout
    assert nested.read_bytes() == before
    was, now = pydicom.dcmread(nested), pydicom.dcmread(out)
    assert now.PatientID == "X1"
    assert (now.Rows, now.PixelAspectRatio, now.FrameIncrementPointer) == (16, [3, 4], 0x00181065)
    assert (now[0x0013, 0x1001].VR, now[0x0013, 0x1001].value) == ("FD", 2.5)
    assert "PatientComments" not in now
    for element in was:
        if element.keyword not in ("PatientID", "Rows", "PixelAspectRatio", "FrameIncrementPointer", "PatientComments"):
            assert now[element.tag] == element


def test_edit_into_a_folder_in_place_and_through_pipes(phantoms: Path, tmp_path: Path) -> None:
    files = sorted(phantoms.glob("*.dcm"))
    options = ("-s", "StudyInstanceUID=1.2.3", "-t", "ImplicitVRLittleEndian")
    told = json_of("edit", *files, *options, "-o", tmp_path / "edited")
    assert [Path(line["output"]).name for line in told] == [f.name for f in files]
    for file in files:
        edited = pydicom.dcmread(tmp_path / "edited" / file.name)
        assert (edited.StudyInstanceUID, edited.file_meta.TransferSyntaxUID) == ("1.2.3", "1.2.840.10008.1.2")
        assert edited.PixelData == pydicom.dcmread(file).PixelData
    assert dicore("edit", files[0], "--in-place", "-s", "PatientID=here").returncode == 0
    assert pydicom.dcmread(files[0]).PatientID == "here"
    command = [*dicore_command(), "edit", "-", "-d", "PatientID", "-o", "-"]
    piped = subprocess.run(command, input=files[0].read_bytes(), capture_output=True, check=True)
    assert "PatientID" not in pydicom.dcmread(io.BytesIO(piped.stdout))


def test_edit_says_what_is_wrong(phantoms: Path, tmp_path: Path) -> None:
    file, out = phantoms / "0.dcm", tmp_path / "out.dcm"
    for wrong in (["-s", "PatientID=X"], ["-s", "PatientID", "-o", str(out)], ["--in-place", "-o", str(out)]):
        assert dicore("edit", file, *wrong).returncode == 2
    for wrong, says in (
        (["-s", "NoSuchThing=1"], "NoSuchThing"),
        (["-s", "Rows=x"], "invalid literal"),
        (["-s", "SOPInstanceUID=1.x"], "no UID"),
        (["-s", "0009,1001=1"], "VR"),
        (["-t", "JPEGBaseline8Bit"], "transcode"),
        (["-t", "NoSuchSyntax"], "NoSuchSyntax"),
    ):
        result = dicore("edit", file, *wrong, "-o", out)
        assert result.returncode == 1, wrong
        assert says in result.stderr
        assert "Traceback" not in result.stderr
    assert not out.exists()
    assert dicore("edit", tmp_path / "none.dcm", file, "-s", "PatientID=1", "-o", tmp_path / "some").returncode == 1
    assert [p.name for p in (tmp_path / "some").iterdir()] == ["0.dcm"]
