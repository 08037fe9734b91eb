"""`dicore dump --sr`: the text of a structured report."""

from __future__ import annotations

from pathlib import Path

import dicore
from conftest import dicore_cli

FILES = "dev/pydicom/src/pydicom/data/test_files"


def test_dump_sr_prints_the_report(corpus: Path) -> None:
    path = corpus / FILES / "reportsi.dcm"
    run = dicore_cli("dump", "--sr", path)
    assert run.returncode == 0
    assert run.stdout == dicore.read(path).sr_text() + "\n"
    assert len(run.stdout.splitlines()) > 5


def test_dump_sr_of_an_image_names_the_file(corpus: Path) -> None:
    run = dicore_cli("dump", "--sr", corpus / FILES / "CT_small.dcm", check=False)
    assert run.returncode == 1
    assert "CT_small.dcm" in run.stderr
