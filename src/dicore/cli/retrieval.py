"""What `find`, `get` and `move` share: the model that is asked for, and how a retrieval ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

import typer

from dicore.cli.output import say, show

if TYPE_CHECKING:
    from dicore.net import Progress

__all__ = ["check_model", "finish"]


def check_model(model: str, known: Collection[str]) -> None:
    """Raises typer.BadParameter (exit status 2) for a --model that is none of `known`."""
    if model not in known:
        raise typer.BadParameter(f"{model!r}: one of {', '.join(known)}", param_hint="--model")


def finish(ask: Callable[[], Coroutine[Any, Any, Progress | None]], word: str, *, quiet: bool) -> None:
    """Run a retrieval, of which `ask` gives the peer's last word, and say how it ended: "`word` n instances", unless
    `quiet`. What failed is named on stderr; the exit status is then 1."""
    import asyncio

    try:
        last = asyncio.run(ask())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if last is None:
        raise typer.Exit(1)
    for uid in last.failed_uids:
        say(f"dicore: {uid}: the peer could not send it")
    if not quiet:
        show(f"{word} {last.completed or 0} instances; {last.failed or 0} failed, {last.warning or 0} with warnings")
    if last.failed or last.status == 0xFE00:
        raise typer.Exit(1)
