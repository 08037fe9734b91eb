"""The --wire option, the same for every network command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Wire"]

Wire = Annotated[
    Path | None,
    typer.Option("--wire", metavar="FILE.pcapng", dir_okay=False, help="Write what is said, for Wireshark; decrypted."),
]
