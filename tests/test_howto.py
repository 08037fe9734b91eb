"""The code of docs/how-to/pixels.md runs as it stands, over real files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/how-to/pixels.md"


def test_the_page_on_pixels_runs(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(corpus / "dev/pydicom/src/pydicom/data/test_files")
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["volume"].ndim == 3  # type: ignore[attr-defined]
    assert "\n" in capsys.readouterr().out.strip()


def test_the_configuration_on_the_page_on_observability_is_one(tmp_path: Path) -> None:
    from dicore.server.config import load

    text = (PAGE.parent / "observability.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "server.toml").write_text(block)
    config = load(tmp_path / "server.toml")
    assert config.destinations["PACS2"] == "dicoms://10.1.2.4:2762"
    assert config.destination_tls is not None
