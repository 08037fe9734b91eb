"""What tshark says of a capture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from conftest import absent


def rows(path: Path, port: int, shown: str, *fields: str) -> list[list[str]]:
    """The packets of a capture that a display filter shows, as their columns, or as `fields`."""
    program = shutil.which("tshark")
    if program is None:
        absent("tshark is not installed")
    what = ["-T", "fields", *(part for field in fields for part in ("-e", field))] if fields else []
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    command = [program, "-r", str(path), "-d", f"tcp.port=={port},dicom", *checks, "-Y", shown, *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr
    return [line.split("\t") if fields else line.split() for line in done.stdout.splitlines()]


def said(path: Path, port: int) -> str:
    """What tshark's DICOM dissector makes of it, after checks that nothing in it is wrong: in DICOM, TCP, a
    checksum, an error of any kind."""
    for wrong in (
        "_ws.malformed", "tcp.analysis.flags", "tcp.checksum.status == 0", "ip.checksum.status == 0",
        "_ws.expert.severity >= 0x800000",
    ):  # fmt: skip
        assert rows(path, port, wrong) == [], wrong
    return "\n".join(" ".join(row) for row in rows(path, port, "dicom"))


def ends(path: Path, port: int) -> list[str]:
    """How each stream ends: "FIN" with its number of FINs, or "RST"."""
    streams: dict[str, list[str]] = {}
    for stream, fin, reset in rows(path, port, "tcp", "tcp.stream", "tcp.flags.fin", "tcp.flags.reset"):
        streams.setdefault(stream, []).extend(["FIN"] * int(fin == "1") + ["RST"] * int(reset == "1"))
    return ["+".join(found) for found in streams.values()]
