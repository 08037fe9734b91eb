"""`dicore echo`: C-ECHO."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title, peer
from dicore.cli.output import show, show_json
from dicore.cli.wire import Wire


def echo(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="AE@host:port, dicom://AE@host:port, or a host.")],
    port: Annotated[int | None, typer.Argument(metavar="PORT", help="The port, when ADDRESS is a host.")] = None,
    called: Annotated[str | None, typer.Option("--called", "-aec", metavar="AE", help="Called AE title.")] = None,
    calling: Annotated[str, typer.Option("--calling", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many times, over one association.")] = 1,
    timeout: Annotated[
        float, typer.Option("--timeout", "-to", min=0.001, help="Seconds to wait for each answer.")
    ] = 30.0,
    probing: Annotated[bool, typer.Option("--probe", help="Find out what the node accepts, and its quirks.")] = False,
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    tls_any_name: tls.NoHostname = False,
    wire: Wire = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per answer.")] = False,
) -> None:
    """Ask a DICOM node whether it is there (C-ECHO).

    \b
    Examples:
      dicore echo DICORE@127.0.0.1:11112
      dicore echo -aet ME -aec DICORE 127.0.0.1 11112
      dicore echo dicom://PACS@pacs.example:104 --count 5 --json
      dicore echo PACS@pacs.example:104 --probe
    """
    target = peer(address, port, called)
    title = ae_title(calling)
    secure = tls.client(target, tls_cert, tls_key, tls_ca, tls_profile, tls_any_name)

    import asyncio

    from dicore.net import Timeouts, connect
    from dicore.net.capture import opened

    async def ask() -> None:
        timeouts = Timeouts(connect=timeout, artim=timeout, network=timeout, dimse=timeout)
        async with opened(wire) as capture:
            if probing:
                from dicore.cli.probe import probe

                return await probe(target, title, timeouts, as_json, secure, capture)
            start = time.perf_counter()
            async with connect(target, tls=secure, wire=capture, calling=title, timeouts=timeouts) as association:
                for number in range(1, count + 1):
                    await association.c_echo()
                    milliseconds = (time.perf_counter() - start) * 1e3
                    if as_json:
                        show_json({"peer": str(target), "number": number, "status": 0, "ms": round(milliseconds, 3)})
                    else:
                        what = "associated and answered" if number == 1 else "answered"
                        show(f"{target} {what} in {milliseconds:.1f} ms")
                    start = time.perf_counter()

    asyncio.run(ask())
