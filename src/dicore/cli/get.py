"""`dicore get`: C-GET into a folder or a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title, keys_of, peer
from dicore.cli.output import progress
from dicore.cli.retrieval import check_model, each, finish, lacking, nothing
from dicore.cli.wire import Wire


def get(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="AE@host:port, dicom://AE@host:port, or a host.")],
    port: Annotated[int | None, typer.Argument(metavar="PORT", help="The port, when ADDRESS is a host.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", "-od", metavar="DIR", help="A folder for files, or a store's folder.")
    ] = Path("."),
    keys: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY=VALUE", help="What to fetch: the unique keys.")
    ] = None,
    level: Annotated[str, typer.Option("--level", "-l", help="PATIENT, STUDY, SERIES or IMAGE.")] = "STUDY",
    model: Annotated[str, typer.Option("--model", "-m", help="study or patient.")] = "study",
    called: Annotated[str | None, typer.Option("--called", "-aec", metavar="AE", help="Called AE title.")] = None,
    calling: Annotated[str, typer.Option("--calling", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Ask for the peer's list first and fetch only what is not here.")
    ] = False,
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    tls_any_name: tls.NoHostname = False,
    wire: Wire = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per instance, and one for the end.")] = False,
) -> None:
    """Fetch instances from a DICOM node over the same association (C-GET).

    A folder that is a dicore store takes them as a store does; any other gets a .dcm file per instance.

    \b
    Examples:
      dicore get PACS@pacs.example:104 -k StudyInstanceUID=1.2.3 --output study/
      dicore get PACS@pacs.example:104 -k StudyInstanceUID=1.2.3 --output archive/ --reconcile
      dicore get -aec PACS pacs.example 104 --level SERIES -k StudyInstanceUID=1.2 -k SeriesInstanceUID=1.3 --json
    """
    target = peer(address, port, called)
    title = ae_title(calling)
    secure = tls.client(target, tls_cert, tls_key, tls_ca, tls_profile, tls_any_name)
    wanted, _ = keys_of(keys or [])
    level = wanted.pop("QueryRetrieveLevel", level)

    import contextlib

    from dicore.net import Progress, connect
    from dicore.net.queries import GET

    check_model(model, GET)

    async def ask() -> Progress | None:
        with contextlib.ExitStack() as stack:
            to: Any = output
            if (output / "segments").is_dir():
                from dicore.store import Store

                to = stack.enter_context(Store(output))
            options: dict[str, Any] = {"to": to, "level": level, "model": model, **wanted}
            update = stack.enter_context(progress(f"getting from {target}", "instances"))
            asked = [options]
            if reconcile:
                have = to.__contains__ if to is not output else lambda uid: (output / f"{uid}.dcm").is_file()
                parts = await lacking(target, {"tls": secure, "calling": title}, wanted, level, model, have)
                asked = [{"to": to, "level": "IMAGE", "model": model, **keys} for keys in parts]
            if not asked:
                return nothing()
            async with connect(target, tls=secure, wire=wire, calling=title, receive=True) as association:
                return await each(asked, lambda one: association.c_get(None, **one), update, as_json=as_json)

    finish(ask, "got", quiet=as_json)
