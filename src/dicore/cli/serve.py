"""`dicore serve`: a store with a listener before it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dicore.cli.address import ae_title
from dicore.cli.output import escape, log_to_stderr, say, show, show_json

if TYPE_CHECKING:
    from dicore.server import Access


def serve(
    store: Annotated[Path, typer.Argument(metavar="STORE_DIR", file_okay=False, help="The store; made when missing.")],
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="0: any free port; it is printed.")
    ] = 11112,
    title: Annotated[str, typer.Option("--ae-title", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    durability: Annotated[
        Literal["durable", "relaxed"],
        typer.Option("--durability", help="Acknowledge after the bytes are on the disk, or after they are written."),
    ] = "durable",
    allow_ae: Annotated[
        list[str] | None, typer.Option("--allow-ae", metavar="AE", help="Only callers with this AE title; repeatable.")
    ] = None,
    allow_net: Annotated[
        list[str] | None,
        typer.Option("--allow-net", metavar="CIDR", help="Only callers from this network; repeatable."),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond the loopback for everybody.")] = False,
    grace: Annotated[float, typer.Option("--grace", min=0, help="Seconds that peers get to finish at the end.")] = 5.0,
    driver: Annotated[
        Literal["auto", "engine", "asyncio"],
        typer.Option("--driver", help="Threads in C, or the event loop; auto: the engine where it can."),
    ] = "auto",
    engine_threads: Annotated[
        int, typer.Option("--engine-threads", min=0, max=64, help="Of the engine; 0: by the number of processors.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Where it listens, as one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than one line per association.")] = False,
) -> None:
    """Receive instances into a store, durably.

    Takes every SOP class in every transfer syntax, as it comes, the proposer's first choice. Listens on the loopback;
    any other address needs --allow-ae, --allow-net or --insecure. SIGTERM and SIGINT end it with status 0, after what
    has begun is finished.

    \b
    Examples:
      dicore serve archive/ --port 11112 --ae-title DICORE
      dicore serve archive/ --host 0.0.0.0 --allow-net 10.1.0.0/16 --allow-ae CT1 --allow-ae CT2
      dicore serve /scratch/in --port 0 --durability relaxed --json
    """
    name = ae_title(title)
    callers = [ae_title(caller) for caller in allow_ae or ()]

    from dicore.server import Access

    try:
        access = Access.of(callers, allow_net or (), insecure=insecure)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow-net") from None
    access.check_bind(host)
    log_to_stderr("DEBUG" if verbose else "INFO")
    _run(
        store,
        port=port,
        host=host,
        title=name,
        durability=durability,
        access=access,
        grace=grace,
        driver=driver,
        engine_threads=engine_threads,
        as_json=as_json,
    )


def _run(
    path: Path,
    *,
    port: int,
    host: str,
    title: str,
    durability: Literal["durable", "relaxed"],
    access: Access,
    grace: float,
    driver: Literal["auto", "engine", "asyncio"],
    engine_threads: int,
    as_json: bool,
) -> None:
    import asyncio
    import signal

    import dicore
    from dicore.server import serve as open_server

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with dicore.Store(path, durability=durability) as store:
            async with open_server(
                store,
                port=port,
                host=host,
                ae_title=title,
                access=access,
                grace=grace,
                driver=driver,
                engine_threads=engine_threads,
            ) as server:
                if as_json:
                    show_json({"ae_title": title, "host": host, "port": server.port, "store": str(path)})
                else:
                    show(f"{title}@{host}:{server.port} receives into {escape(str(path))} ({durability})")
                sys.stdout.flush()
                await stop.wait()
                say("dicore: ending: what has begun is finished")

    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
