"""`dicore loadtest`: what a PACS can take."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicore.cli.address import peer
from dicore.cli.output import SETTINGS, escape, say, show, show_json, show_table

if TYPE_CHECKING:
    from dicore.loadtest import Result, Scenario, State

loadtest = typer.Typer(
    **SETTINGS,
    no_args_is_help=True,
    help="Find out what a PACS can take.\n\n"
    "Example: dicore loadtest run DICORE@127.0.0.1:11112 --operation echo --rate 500 -o echo.json\n\n"
    "Exit status: 0 ok, 1 failed, 2 usage, 3 an objective was missed, 4 the measurement is invalid, 130 interrupted.",
)

Target = Annotated[str, typer.Argument(metavar="TARGET", help="AE@host:port or dicom://AE@host:port.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="JSON file; beside it .html.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before loading an address that is not local.")]
Web = Annotated[str, typer.Option("--web", metavar="URL", help="The DICOMweb service, for stow, qido and wado.")]
Ray = Annotated[str, typer.Option("--ray", metavar="HOST:PORT", help="Generate on the nodes of this Ray cluster.")]
Processes = Annotated[int, typer.Option("--processes", "-p", min=1, max=256, help="Generator processes.")]


@loadtest.command("init")
def init(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="hospital.")] = "hospital",
    exams: Annotated[int, typer.Option("--exams-per-year", min=1000, help="How busy it is.")] = 100_000,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="How long the run takes.")] = 10.0,
    archive: Annotated[str, typer.Option("--move-to", metavar="AE", help="C-MOVE to this AE instead of C-GET.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same load.")] = 1,
) -> None:
    """Write a commented scenario to stdout: a hospital's busiest hour out of its exams a year.

    \b
    Example:
      dicore loadtest init hospital --exams-per-year 300000 > morning.toml
    """
    if kind != "hospital":
        raise typer.BadParameter("hospital is the kind there is", param_hint="KIND")
    from dicore.loadtest import hospital

    show(hospital(exams, minutes=minutes, archive=archive, seed=seed).rstrip("\n"))


@loadtest.command("run")
def run(
    target: Target,
    scenario: Annotated[Path | None, typer.Argument(metavar="SCENARIO", exists=True, help="TOML file.")] = None,
    operation: Annotated[str, typer.Option("--operation", help="Without a file: echo, store, find, ...")] = "echo",
    rate: Annotated[float, typer.Option("--rate", min=0.01, help="Without a file: arrivals a second.")] = 10.0,
    users: Annotated[int, typer.Option("--users", min=0, help="Without a file: closed model, so many users.")] = 0,
    duration: Annotated[str, typer.Option("--duration", help="Without a file: 30s, 10m, ...")] = "10s",
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, help="Without a file: at once.")] = 8,
    processes: Processes = 1,
    ray: Ray = "",
    web: Web = "",
    output: Output = None,
    ledger: Annotated[Path | None, typer.Option("--ledger", help="Keep what was acknowledged in this file.")] = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="First print this machine's own ceiling.")] = False,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole result as JSON on stdout.")] = False,
) -> None:
    """Put a load on a target and measure it.

    \b
    Examples:
      dicore loadtest run PACS@127.0.0.1:11112 morning.toml -o monday.json
      dicore loadtest run PACS@127.0.0.1:11112 --operation echo --rate 500 --duration 30s
    """
    plan = _scenario(scenario, operation, rate, users, duration, associations, web=web)
    address = _confirmed(target, plan, yes)
    import dicore.loadtest as lt

    _print_plan(plan)
    ceiling = _self_test() if self_test else {}
    with _live(plan) as (progress, hand_over):
        result = hand_over(
            lambda stop: lt.run(
                plan,
                address,
                processes=processes,
                progress=progress,
                stop=stop,
                ledger_path=ledger,
                command=_command(),
                ray=ray,
            )
        )
    result.ceiling = ceiling
    _finish(result, output, as_json)


@loadtest.command("breakpoint")
def breakpoint_(
    target: Target,
    scenario: Annotated[Path | None, typer.Argument(metavar="SCENARIO", exists=True, help="TOML file.")] = None,
    operation: Annotated[str, typer.Option("--operation", help="Without a file: echo, store, find, ...")] = "echo",
    p99: Annotated[str, typer.Option("--p99", help="Without a file: what must hold.")] = "1s",
    start: Annotated[float, typer.Option("--start", min=0.01, help="First rate, in all streams together.")] = 10.0,
    ceiling: Annotated[float, typer.Option("--ceiling", min=0.1, help="Never more than this rate.")] = 20_000.0,
    trial: Annotated[str, typer.Option("--trial", help="Length of a trial.")] = "20s",
    hold: Annotated[str, typer.Option("--hold", help="Length of each of the three holds.")] = "60s",
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, help="Without a file: at once.")] = 32,
    processes: Processes = 1,
    ray: Ray = "",
    web: Web = "",
    output: Output = None,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole result as JSON on stdout.")] = False,
) -> None:
    """Find the highest rate that a target holds within the scenario's objective.

    Doubles until it fails, bisects to 5 %, holds the answer three times, then shows what 10 % more does.

    \b
    Example:
      dicore loadtest breakpoint PACS@127.0.0.1:11112 --operation store --p99 500ms --start 50
    """
    from dicore.loadtest.scenario import seconds

    plan = _scenario(scenario, operation, start, 0, trial, associations, p99=p99, ceiling=ceiling, web=web)
    address = _confirmed(target, plan, yes)
    import dicore.loadtest as lt

    def told(search: Any) -> None:
        step = search.steps[-1]
        word = {True: "held", False: "failed", None: "not known"}[step.passed]
        say(f"{step.phase:>7}  {step.rate:>10,.4g}/s  {word}  {step.note}")

    with _live(plan) as (progress, hand_over):
        result = hand_over(
            lambda stop: lt.search(
                plan, address, start=start, ceiling=ceiling, trial=seconds(trial), hold=seconds(hold),
                processes=processes, progress=progress, told=told, command=_command(), ray=ray,
            )
        )  # fmt: skip
    _finish(result, output, as_json)


@loadtest.command("report")
def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", exists=True, help="JSON file of a run.")],
    baseline: Annotated[Path | None, typer.Option("--baseline", exists=True, help="An earlier run's JSON.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML file (default: beside RESULT).")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also a line per stream and second.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Also JUnit XML, for a CI server.")] = None,
    prometheus: Annotated[Path | None, typer.Option("--prometheus", help="Also Prometheus' text form.")] = None,
) -> None:
    """Make the HTML report of a run again, against another run if you like.

    \b
    Example:
      dicore loadtest report tuesday.json --baseline monday.json -o tuesday.html
    """
    import dicore.loadtest as lt
    from dicore.loadtest.report import text

    try:
        this = lt.Result.load(result)
        before = lt.Result.load(baseline) if baseline is not None else None
    except ValueError as error:
        say(f"dicore: {escape(str(error))}")
        raise typer.Exit(1) from None
    page = output or result.with_suffix(".html")
    page.write_text(lt.page(this, before), encoding="utf-8")
    for path, make in ((csv, text.csv_text), (junit, text.junit), (prometheus, text.prometheus)):
        if path is not None:
            path.write_text(make(this), encoding="utf-8")
    if before is not None:
        for one in lt.compare(before, this):
            show(f"{escape(one.stream)}, {one.percent:g} %: {one}")
    say(f"wrote {page}")


@loadtest.command("record")
def record(
    target: Target,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PATH", help="Where to; JSON Lines, a new file.")],
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Listen here; 0: any, printed.")] = 11113,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Stand as a proxy before a target and keep what happens, without a name in it, until Ctrl-C.

    Kept: times, kinds, SOP classes, transfer syntaxes, sizes, statuses, releases and aborts. Not kept: AE titles,
    addresses, UIDs of instances, keys, any byte of a data set. Point the modalities at the proxy's port.

    \b
    Example:
      dicore loadtest record PACS@10.0.0.5:104 --port 11113 -o day.jsonl
    """
    import asyncio
    import signal

    from dicore.loadtest.record import Recorder
    from dicore.loadtest.run import run_loop

    address = str(peer(target, None, None))

    async def main() -> tuple[int, int]:
        stop = asyncio.Event()
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
        async with Recorder(address, output, port=port, host=host) as proxy:
            say(f"{host}:{proxy.port} goes to {address}; Ctrl-C ends the recording")
            await stop.wait()
        return proxy.conversations, proxy.messages

    try:
        associations, messages = run_loop(main)
    except FileExistsError:
        say(f"dicore: {escape(str(output))} exists; a recording is never overwritten")
        raise typer.Exit(1) from None
    show(f"{associations:,} associations, {messages:,} messages, to {escape(str(output))}")


@loadtest.command("replay")
def replay(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", exists=True, help="File of `loadtest record`.")],
    target: Target,
    speed: Annotated[float, typer.Option("--speed", min=0.001, help="2: twice as fast.")] = 1.0,
    destination: Annotated[str, typer.Option("--move-to", metavar="AE", help="C-MOVE to it; else left out.")] = "",
    output: Output = None,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole result as JSON on stdout.")] = False,
) -> None:
    """Play a recorded day against a target, with made-up content of the same kinds and sizes.

    \b
    Example:
      dicore loadtest replay day.jsonl NEW@127.0.0.1:11112 --speed 2 -o replay.json
    """
    from dicore.loadtest.record import load
    from dicore.loadtest.replay import replay as play
    from dicore.loadtest.run import run_loop

    try:
        conversations = load(recording)
    except ValueError as error:
        say(f"dicore: {escape(str(error))}")
        raise typer.Exit(1) from None
    messages = sum(len(one.messages) for one in conversations)
    span = (conversations[-1].at - conversations[0].at) / speed if conversations else 0.0
    what = f"{messages:,} messages of {len(conversations):,} associations in {span:,.0f} s"
    address = _allowed(target, what, yes)
    if not conversations:
        say(f"dicore: {escape(str(recording))} has no association in it")
        raise typer.Exit(1)
    say(what)
    result = run_loop(lambda: play(conversations, address, speed=speed, destination=destination))
    result.command = _command()
    _finish(result, output, as_json)


@loadtest.command("cleanup")
def cleanup(
    made: Annotated[str, typer.Argument(metavar="RUN|RESULT", help="A run's id, or its JSON file.")],
    target: Annotated[str | None, typer.Option("--target", metavar="AE@HOST:PORT", help="Ask it by C-FIND.")] = None,
    store: Annotated[Path | None, typer.Option("--store", exists=True, file_okay=False, help="A dicore store.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them from the store.")] = False,
) -> None:
    """List what a run left at its target, by the UID root that all of it has; --remove deletes it from a store.

    DICOM has no service to delete: at other targets, take the list to their own tools.

    \b
    Example:
      dicore loadtest cleanup monday.json --target PACS@127.0.0.1:11112
    """
    from dicore.errors import DicoreError
    from dicore.loadtest import Result
    from dicore.loadtest.cleanup import found_at, found_in, removed_from
    from dicore.loadtest.run import run_loop

    run_id, path = made, Path(made)
    try:
        if path.exists():
            run_id = Result.load(path).run
        if store is not None:
            studies = found_in(store, run_id)
        elif target is not None:
            studies = run_loop(lambda: found_at(target, run_id))
        else:
            say("dicore: say where to look: --target or --store")
            raise typer.Exit(2)
        for one in studies:
            show(one)
        say(f"{len(studies):,} studies of run {escape(run_id)}")
        if remove:
            if store is None:
                say("dicore: only a dicore store given by --store can remove")
                raise typer.Exit(2)
            say(f"removed {removed_from(store, studies):,} instances")
    except (DicoreError, ValueError) as error:
        say(f"dicore: {escape(str(error))}")
        raise typer.Exit(1) from None


def _scenario(
    path: Path | None,
    operation: str,
    rate: float,
    users: int,
    duration: str,
    associations: int,
    p99: str = "",
    ceiling: float = 0.0,
    web: str = "",
) -> Scenario:
    import dicore.loadtest as lt

    try:
        if path is not None:
            return lt.load(path, **({"web": web} if web else {}))
        load = f"users = {users}" if users else f"arrivals = {{rate = {rate}}}"
        asked = f'[objective]\np99 = "{p99}"\nerrors = 0.001' if p99 else ""
        most = max(20_000.0, ceiling)
        return lt.parse(
            f'name = "{operation}"\nduration = "{duration}"\nweb = "{web}"\n{asked}\n[safety]\nrate = {most}\n'
            "[[stream]]\n"
            f'name = "{operation}"\noperation = "{operation}"\n{load}\nassociations = {associations}\n',
            where="the options",
        )
    except (lt.ScenarioError, ValueError) as error:
        say(f"dicore: {escape(str(error)) if path is None else str(error)}")
        raise typer.Exit(2) from None


def _confirmed(target: str, plan: Scenario, yes: bool) -> str:
    """The address; asks before a load goes to another machine than this one."""
    most = sum(one.arrivals.profile(plan.duration).peak for one in plan.streams if one.arrivals)
    what = f"up to {most:,.0f} operations a second for {plan.duration:,.0f} s"
    if plan.web:
        from urllib.parse import urlsplit

        service = urlsplit(plan.web)
        _allowed(f"WEB@{service.hostname}:{service.port or 80}", what, yes)
    return _allowed(target, what, yes)


def _allowed(target: str, what: str, yes: bool) -> str:
    import ipaddress

    address = peer(target, None, None)
    host = address.host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return str(address)
    if host == "localhost" or yes:
        return str(address)
    say(f"{address} is not this machine: {what}.")
    if not sys.stdin.isatty():
        say("dicore: say --yes to load it without being asked")
        raise typer.Exit(2)
    typer.confirm("Is it yours to load?", abort=True, err=True)
    return str(address)


def _print_plan(plan: Scenario) -> None:
    rows = []
    for one in plan.streams:
        if one.arrivals:
            profile = one.arrivals.profile(plan.duration)
            load = f"{profile.total / profile.duration:,.4g}/s, {one.arrivals.model}, peak {profile.peak:,.4g}/s"
        else:
            load = f"{one.users} users, think {one.think:g} s"
        what = f"{one.material.modality} {one.material.size} x {one.material.size}" if one.operation == "store" else ""
        rows.append((one.name, one.operation, load, one.users or one.associations, one.association, what))
    say(f"{escape(plan.name)}: {plan.duration:,.0f} s, {plan.warmup:,.0f} s of it warm-up, seed {plan.seed}")
    with contextlib.redirect_stdout(sys.stderr):
        show_table(("stream", "operation", "load", "associations", "each for a", "images"), rows, drawn=True)


@contextlib.contextmanager
def _live(plan: Scenario) -> Iterator[tuple[Callable[[State], None], Callable[[Callable[[Any], Any]], Result]]]:
    """The live view, and what runs the load under it: Ctrl-C ends the load and keeps the result."""
    import asyncio
    import signal

    from dicore.loadtest.run import run_loop

    terminal = sys.stderr.isatty()
    last = [0.0]
    display: Any = None
    if terminal:
        from rich.console import Console
        from rich.live import Live

        display = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)

    def progress(state: State) -> None:
        if display is not None:
            display.update(_view(state))
        elif time.monotonic() - last[0] >= 5:
            last[0] = time.monotonic()
            done = sum(one.operations for one in state.streams.values())
            errors = sum(one.errors for one in state.streams.values())
            say(f"{state.second + 1:,} of {plan.duration:,.0f} s: {done:,} operations, {errors:,} errors")

    def hand_over(make: Callable[[Any], Any]) -> Result:
        async def main() -> Result:
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
            result: Result = await make(stop)
            interrupted.append(stop.is_set())
            return result

        result: Result = run_loop(main)
        if interrupted[-1]:
            result.remarks.append("The run was interrupted; this is what there was.")
        return result

    interrupted: list[bool] = []
    with display if display is not None else contextlib.nullcontext():
        yield progress, hand_over


def _view(state: State) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"{state.target}, {state.second + 1} of {state.scenario.duration:.0f} s"), title_justify="left"
    )
    for name in ("stream", "a second", "wanted", "errors", "p50 ms", "p99 ms", "waiting", "associations"):
        table.add_column(name, justify="left" if name == "stream" else "right")
    for one in state.streams.values():
        second = one.seconds.get(state.second - 1) or one.seconds.get(state.second)
        p50, p99 = one.response.percentile(50), one.response.percentile(99)
        if second is not None:
            table.add_row(
                Text(one.name), f"{second.done:,}", f"{second.intended:,}" if one.open else "", f"{one.errors:,}",
                "" if p50 is None else f"{p50 / 1000:,.2f}", "" if p99 is None else f"{p99 / 1000:,.2f}",
                f"{second.waiting:,}", f"{second.associations:,}",
            )  # fmt: skip
    return table


def _self_test() -> dict[str, float]:
    """What this machine reaches against an SCP of its own that does nothing."""
    from dicore.loadtest.run import run_loop, self_test

    ceiling: dict[str, float] = run_loop(self_test)
    for name, value in ceiling.items():
        say(f"this machine's ceiling, {name}: {value:,.0f} a second")
    return ceiling


def _command() -> str:
    return " ".join(["dicore", *sys.argv[1:]])


def _finish(result: Result, output: Path | None, as_json: bool) -> None:
    import dicore.loadtest as lt
    from dicore.loadtest.report.text import summary
    from dicore.loadtest.verdict import exit_status

    if output is not None:
        result.save(output)
        output.with_suffix(".html").write_text(lt.page(result), encoding="utf-8")
    if as_json:
        show_json(result.to_json())
    else:
        if result.ledger is not None:
            book = result.ledger
            lost = f"{len(book.missing):,}" if book.looked_for else "not looked"
            of = f"of {book.acknowledged:,} acknowledged"
            show(f"acknowledged but not found: {lost} ({of}) {escape(book.remark)}".rstrip())
            for name, found in (("lost", book.missing), ("altered", book.altered), ("twice", book.duplicated)):
                for uid in found:
                    show(f"  {name}: {uid}")
        columns = ("stream", "operations", "errors", "a second", "MB/s", "p50 ms", "p95 ms", "p99 ms", "max ms")
        show_table(columns, summary(result), right=range(1, 9), drawn=True)
        for one in result.streams:
            for failure in sorted(one.failures, key=lambda f: -f.count)[:5]:
                show(f"  {escape(one.name)}: {failure.count:,} x {failure.kind}: {escape(failure.detail)}")
        if result.breakpoint is not None:
            show(f"breakpoint: {result.breakpoint:,.4g} a second")
        for check in result.checks:
            word = {True: "held", False: "MISSED", None: "not known"}[check.held]
            show(f"  {escape(check.what)}: wanted {check.wanted}, measured {check.got}: {word}")
        show(str(result.judgement.verdict))
        for reason in (*result.judgement.reasons, *result.remarks):
            show(f"  {escape(reason)}")
    if output is not None:
        say(f"wrote {output} and {output.with_suffix('.html')}")
    if any("interrupted" in remark for remark in result.remarks):
        raise typer.Exit(130)
    raise typer.Exit(exit_status(result.judgement, result.checks))
