"""Everything here runs over both drivers of `serve`: one conformance suite."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", params=["engine", "asyncio"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)
