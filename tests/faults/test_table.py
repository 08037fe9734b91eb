"""Every test that docs/how-dicore-is-tested.md names is there."""

from __future__ import annotations

import re

from conftest import ROOT


def test_the_tests_that_the_documentation_names_exist() -> None:
    text = (ROOT / "docs/how-dicore-is-tested.md").read_text()
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_\w+))?`", text)
    assert len(named) > 20
    for path, test in named:
        assert (ROOT / path).is_file(), path
        if test:
            assert re.search(rf"^def {test}\b", (ROOT / path).read_text(), re.M), f"{path}::{test}"
