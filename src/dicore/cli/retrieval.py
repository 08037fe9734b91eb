"""What `find`, `get` and `move` share: the model that is asked for, and how a retrieval ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import typer

from dicore.cli.output import say, show, show_json

if TYPE_CHECKING:
    from dicore.net import Progress

__all__ = ["check_model", "each", "finish", "lacking", "nothing"]


def check_model(model: str, known: Collection[str]) -> None:
    """Raises typer.BadParameter (exit status 2) for a --model that is none of `known`."""
    if model not in known:
        raise typer.BadParameter(f"{model!r}: one of {', '.join(known)}", param_hint="--model")


async def lacking(
    target: Any, options: dict[str, Any], keys: dict[str, str], level: str, model: str, have: Callable[[str], bool]
) -> list[dict[str, str]]:
    """The keys of the retrievals at IMAGE level for what the peer has and `have` does not; said on stderr."""
    from dicore.net import connect
    from dicore.net.queries import FIND
    from dicore.net.reconcile import missing

    listed = wanting = 0
    found = []
    async with connect(target, contexts=[FIND[model]], **options) as association:
        async for one in missing(association, keys, level=level.upper(), model=model, have=have):
            listed, wanting = listed + one.listed, wanting + one.missing
            if one.missing:
                found.append(one.keys)
    say(f"dicore: the peer has {listed} instances, {listed - wanting} are here, {wanting} are fetched")
    return found


async def each(
    asked: Sequence[dict[str, Any]],
    ask: Callable[[dict[str, Any]], AsyncIterator[Progress]],
    update: Callable[[int, int], object],
    *,
    as_json: bool,
) -> Progress | None:
    """The retrievals of `asked`, one after the other, shown as they go on; their end as that of one."""
    ends: list[Progress] = []
    for one in asked:
        last = None
        async for last in ask(one):
            done = (last.completed or 0) + (last.failed or 0) + (last.warning or 0)
            update(done, done + (last.remaining or 0))
            if as_json:
                show_json(last._asdict())
        if last is not None:
            ends.append(last)
    return total(ends)


def nothing() -> Progress:
    """The end of a retrieval that had nothing to do."""
    from dicore.net import Progress

    return Progress(status=0, remaining=0, completed=0, failed=0, warning=0)


def total(parts: Sequence[Progress]) -> Progress | None:
    """Several retrievals as one."""
    if len(parts) < 2:
        return parts[0] if parts else None
    completed = sum(one.completed or 0 for one in parts)
    failed = sum(one.failed or 0 for one in parts)
    warning = sum(one.warning or 0 for one in parts)
    worst = max(parts, key=lambda one: one.status)
    uids = tuple(uid for one in parts for uid in one.failed_uids)
    return worst._replace(completed=completed, failed=failed, warning=warning, failed_uids=uids)


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
