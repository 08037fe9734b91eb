"""`make soak` for ten seconds a driver: that it runs, and that nothing is lost or left. The long one judges memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import soak


def test_a_short_soak_loses_and_leaves_nothing(driver: str, tmp_path: Path) -> None:
    result = asyncio.run(soak.soak(driver, 10, tmp_path))
    done = result["done"]
    for service in (
        "echo",
        "store",
        "match",
        "get",
        "move",
        "commitment",
        "procedure step",
        "store over TLS",
        "hostile",
    ):
        assert done.get(service), service
    assert result["acknowledged"] >= done["store"]
