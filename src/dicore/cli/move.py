"""`dicore move`: C-MOVE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title, keys_of, peer
from dicore.cli.output import progress
from dicore.cli.retrieval import check_model, each, finish, lacking, nothing
from dicore.cli.wire import Wire


def move(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="AE@host:port, dicom://AE@host:port, or a host.")],
    port: Annotated[int | None, typer.Argument(metavar="PORT", help="The port, when ADDRESS is a host.")] = None,
    destination: Annotated[
        str, typer.Option("--destination", "-d", "-aem", metavar="AE", help="Where to: an AE title the peer knows.")
    ] = "",
    keys: Annotated[
        list[str] | None, typer.Option("--key", "-k", metavar="KEY=VALUE", help="What to send: the unique keys.")
    ] = None,
    level: Annotated[str, typer.Option("--level", "-l", help="PATIENT, STUDY, SERIES or IMAGE.")] = "STUDY",
    model: Annotated[str, typer.Option("--model", "-m", help="study or patient.")] = "study",
    called: Annotated[str | None, typer.Option("--called", "-aec", metavar="AE", help="Called AE title.")] = None,
    calling: Annotated[str, typer.Option("--calling", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    reconcile: Annotated[
        Path | None,
        typer.Option(
            "--reconcile",
            metavar="STORE_DIR",
            exists=True,
            file_okay=False,
            help="The destination's store: only what is not in it is sent.",
        ),
    ] = None,
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    tls_any_name: tls.NoHostname = False,
    wire: Wire = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per response of the peer.")] = False,
) -> None:
    """Have a DICOM node send instances to another one (C-MOVE).

    Instances that failed are named on stderr; the exit status is then 1.

    \b
    Examples:
      dicore move PACS@pacs.example:104 --destination ARCHIVE -k StudyInstanceUID=1.2.3
      dicore move PACS@pacs.example:104 -d ARCHIVE -k StudyInstanceUID=1.2.3 --reconcile archive/
      dicore move -aec PACS -aem ARCHIVE pacs.example 104 -k QueryRetrieveLevel=STUDY -k StudyInstanceUID=1.2
    """
    target = peer(address, port, called)
    title = ae_title(calling)
    secure = tls.client(target, tls_cert, tls_key, tls_ca, tls_profile, tls_any_name)
    to = ae_title(destination)
    wanted, _ = keys_of(keys or [])
    level = wanted.pop("QueryRetrieveLevel", level)

    from dicore.net import Progress, connect
    from dicore.net.queries import MOVE

    check_model(model, MOVE)

    async def ask() -> Progress | None:
        asked: list[dict[str, Any]] = [{"destination": to, "level": level, "model": model, **wanted}]
        if reconcile is not None:
            from dicore.store import Store

            with Store(reconcile, read_only=True) as store:
                parts = await lacking(
                    target, {"tls": secure, "calling": title}, wanted, level, model, store.__contains__
                )
            asked = [{"destination": to, "level": "IMAGE", "model": model, **keys} for keys in parts]
        if not asked:
            return nothing()
        with progress(f"{target} sends to {to}", "instances") as update:
            async with connect(target, tls=secure, wire=wire, calling=title, contexts=[MOVE[model]]) as association:
                return await each(asked, lambda one: association.c_move(None, **one), update, as_json=as_json)

    finish(ask, "moved", quiet=as_json)
