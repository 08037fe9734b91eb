"""`dicore serve`: a store with a listener before it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title
from dicore.cli.output import escape, log_to_stderr, say, show, show_json
from dicore.cli.wire import Wire

if TYPE_CHECKING:
    import ssl

    from dicore.server import Access
    from dicore.server.config import Config


def serve(
    context: typer.Context,
    store: Annotated[
        Path | None,
        typer.Argument(metavar="STORE_DIR", file_okay=False, help="The store; made when missing. Or in --config."),
    ] = None,
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
    destination: Annotated[
        list[str] | None,
        typer.Option(
            "--destination",
            metavar="AE=HOST:PORT",
            help="Where a C-MOVE may send to; AE=dicoms://.. for TLS; repeatable.",
        ),
    ] = None,
    worklist: Annotated[
        Path | None,
        typer.Option("--worklist", file_okay=False, exists=True, help="A folder of worklist items: .wl, .dcm, .json."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=N", help="in_flight=128MiB, ...: docs/reference/limits.md; repeatable."),
    ] = None,
    timeout: Annotated[
        list[str] | None,
        typer.Option("--timeout", metavar="NAME=SECONDS", help="artim, network, dimse or idle; repeatable."),
    ] = None,
    worklist_store: Annotated[
        bool, typer.Option("--worklist-store", help="The worklist that `dicore store worklist` keeps in the store.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=0, max=65535, help="/metrics, /healthz, /readyz on the loopback."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", dir_okay=False, exists=True, help="A TOML file; what the line says goes before it."),
    ] = None,
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    destination_tls_ca: tls.DestinationCa = None,
    destination_tls_cert: tls.DestinationCert = None,
    destination_tls_key: tls.DestinationKey = None,
    destination_any_name: Annotated[
        bool, typer.Option("--destination-tls-any-name", help="Their certificates need not name the host.")
    ] = False,
    allow_cert: Annotated[
        list[str] | None,
        typer.Option("--allow-cert", metavar="NAME", help="Only this certificate: CN=.., DNS:.., sha256:..."),
    ] = None,
    wire: Wire = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="The log as JSON, a line an association.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Where it listens, as one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than one line per association.")] = False,
) -> None:
    """Receive into a store, durably; answer queries and retrievals.

    Takes every SOP class in every transfer syntax, as it comes, the proposer's first choice. Listens on the loopback;
    any other address needs --allow-ae, --allow-net, --tls-ca or --insecure.
    SIGTERM and SIGINT end it with status 0, after what
    has begun is finished. C-FIND, C-GET and C-MOVE (to a --destination only), worklist, procedure steps and storage
    commitment are answered. SIGHUP reads --config again: callers, destinations and forward rules follow it at once;
    it reads the certificates again as well.

    \b
    Examples:
      dicore serve archive/ --port 11112 --ae-title DICORE
      dicore serve archive/ --host 0.0.0.0 --allow-net 10.1.0.0/16 --allow-ae CT1 --allow-ae CT2
      dicore serve /scratch/in --port 0 --durability relaxed --json
      dicore serve archive/ --destination WS1=10.1.0.7:104 --worklist wl/ --metrics-port 9464
      dicore serve --config server.toml
    """
    from dicore.net.limits import limits_of, raise_open_files, timeouts_of
    from dicore.server import Access

    destinations = dict(_destination(text) for text in destination or ())
    given = {
        "store": store, "port": port, "ae_title": ae_title(title), "host": host, "durability": durability,
        "grace": grace,
        "worklist": worklist, "worklist_store": worklist_store, "metrics_port": metrics_port,
    }  # fmt: skip
    rules: Config | None = None
    if config is not None:
        from dicore.server.config import load

        rules = load(config)
        of_line = {"ae_title": "title"}
        for key in given:
            source = context.get_parameter_source(of_line.get(key, key))
            if source is None or source.name != "COMMANDLINE":
                given[key] = getattr(rules.server, key)
    if given["worklist"] is not None and given["worklist_store"]:
        raise typer.BadParameter("--worklist or --worklist-store, not both", param_hint="--worklist-store")
    if given["store"] is None:
        raise typer.BadParameter("name a folder, or a --config that does", param_hint="STORE_DIR")

    def access_of(rules: Config | None) -> Access:
        callers = [ae_title(caller) for caller in allow_ae or ()]
        networks = list(allow_net or ())
        if rules is not None:
            callers += rules.server.allow_ae
            networks += rules.server.allow_net
        try:
            return Access.of(
                callers,
                networks,
                insecure=insecure or bool(rules and rules.server.insecure),
                certificates=(*(allow_cert or ()), *(rules.server.allow_cert if rules is not None else ())),
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--allow-net") from None

    if rules is not None and tls_cert is None:
        of_file = rules.server
        tls_cert, tls_key, tls_ca = of_file.tls_cert, of_file.tls_key, tls_ca or of_file.tls_ca
        tls_profile = of_file.tls_profile if tls_profile == "bcp195" else tls_profile
    secure = tls.server(tls_cert, tls_key, tls_ca, tls_profile)
    if allow_cert and tls_ca is None:
        raise typer.BadParameter("--allow-cert needs --tls-cert and --tls-ca", param_hint="--allow-cert")
    access_of(rules).check_bind(str(given["host"]), tls=tls_ca is not None)

    def towards(rules: Config | None) -> ssl.SSLContext | None:
        """The TLS of dicoms:// destinations: what the line says, else the file. Read anew each time."""
        if destination_tls_ca or destination_tls_cert or destination_tls_key or destination_any_name:
            from dicore.net.tls import client_context

            return client_context(
                destination_tls_ca,
                destination_tls_cert,
                destination_tls_key,
                tls_profile,
                check_hostname=not destination_any_name,
            )
        return None if rules is None or rules.destination_tls is None else rules.destination_tls.context()

    try:
        towards(rules)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--destination-tls-...") from None
    log_to_stderr("DEBUG" if verbose else "INFO", json=log_json)
    raise_open_files()
    bounds = {
        "limits": _bounds(limits_of, rules.limits if rules else {}, limit, "--limit"),
        "timeouts": _bounds(timeouts_of, rules.timeouts if rules else {}, timeout, "--timeout"),
    }
    _run(
        given,
        destinations,
        config,
        rules,
        access_of,
        driver,
        engine_threads,
        bounds,
        as_json=as_json,
        secure=secure,
        wire=wire,
        towards=towards,
    )


def _bounds(read: Callable[[Any], Any], file: Mapping[str, Any], line: list[str] | None, option: str) -> Any:
    """Limits or Timeouts: what the line says goes before what the file says."""
    try:
        return read({**file, **dict(_setting(text) for text in line or ())})
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _setting(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark:
        raise ValueError(f"{text!r}: write NAME=VALUE")
    return name.strip(), value.strip()


def _destination(text: str) -> tuple[str, str]:
    """AE=host:port or AE=dicoms://host:port."""
    from dicore.net import Address

    title, mark, place = text.partition("=")
    try:
        if not mark or "@" in place:
            raise ValueError(f"{text!r}: write AE=host:port or AE=dicoms://host:port")
        return ae_title(title), str(Address.of(title.strip(), place))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--destination") from None


def _run(
    given: dict[str, Any],
    destinations: dict[str, str],
    config: Path | None,
    rules: Config | None,
    access_of: Callable[[Config | None], Access],
    driver: Literal["auto", "engine", "asyncio"],
    engine_threads: int,
    bounds: dict[str, Any],
    *,
    as_json: bool,
    secure: ssl.SSLContext | None,
    wire: Path | None,
    towards: Callable[[Config | None], ssl.SSLContext | None],
) -> None:
    import asyncio
    import contextlib
    import signal

    import dicore
    from dicore.errors import DicoreError
    from dicore.server import Health, Hooks, Schedule
    from dicore.server import serve as open_server

    path, title, host = given["store"], given["ae_title"], given["host"]
    current = [rules]

    def places() -> dict[str, str]:
        return {**(current[0].destinations if current[0] is not None else {}), **destinations}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        hooks = None
        if rules is not None and rules.forward:
            hooks = Hooks(route=lambda request: current[0].route(request) if current[0] is not None else [])
        duplicates = rules.server.duplicates if rules is not None else "keep-first"
        async with contextlib.AsyncExitStack() as stack:
            keys: dict[str, Sequence[str]] | None = None
            if rules is not None and rules.keys is not None:
                keys = {str(level): names for level, names in rules.keys.items()}
            store = stack.enter_context(
                dicore.Store(path, durability=given["durability"], duplicates=duplicates, extra_keys=keys)
            )
            steps = stack.enter_context(contextlib.closing(Schedule(path))) if given["worklist_store"] else None
            server = await stack.enter_async_context(
                open_server(
                    store,
                    port=given["port"],
                    host=host,
                    ae_title=title,
                    access=access_of(rules),
                    grace=given["grace"],
                    destinations=places(),
                    worklist=steps if steps is not None else given["worklist"],
                    hooks=hooks,
                    driver=driver,
                    engine_threads=engine_threads,
                    tls=secure,
                    wire=wire,
                    destination_tls=towards(rules),
                    **bounds,
                )
            )

            def reload() -> None:
                if secure is not None:
                    try:
                        server.reload_tls()
                        say("dicore: the certificates are read again")
                    except (OSError, ValueError) as error:
                        say(f"dicore: the certificates stay as they were: {escape(str(error))}")
                if config is None:
                    if (context := towards(None)) is not None:
                        server.reload(access=access_of(None), destinations=places(), destination_tls=context)
                    return
                from dicore.server.config import load

                before = current[0]
                try:
                    current[0] = load(config)
                    server.reload(
                        access=access_of(current[0]), destinations=places(), destination_tls=towards(current[0])
                    )
                except (DicoreError, OSError, ValueError, typer.BadParameter) as error:
                    current[0] = before
                    say(f"dicore: {config} is not taken: {error}")
                else:
                    say(f"dicore: {config} is read again; [server] beyond its callers needs a restart")

            loop.add_signal_handler(signal.SIGHUP, reload)
            said = {"ae_title": title, "host": host, "port": server.port, "store": str(path)}
            if given["metrics_port"] is not None:
                health = await stack.enter_async_context(Health(server, port=given["metrics_port"]))
                said["metrics_port"] = health.port
            if as_json:
                show_json(said)
            else:
                show(f"{title}@{host}:{server.port} receives into {escape(str(path))} ({given['durability']})")
                if "metrics_port" in said:
                    show(f"http://127.0.0.1:{said['metrics_port']}/metrics")
            sys.stdout.flush()
            await stop.wait()
            say("dicore: ending: what has begun is finished")

    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
