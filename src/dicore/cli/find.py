"""`dicore find`: C-FIND."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title, keys_of, peer
from dicore.cli.output import say, show_json, show_table
from dicore.cli.retrieval import check_model
from dicore.cli.wire import Wire


def find(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="AE@host:port, dicom://AE@host:port, or a host.")],
    port: Annotated[int | None, typer.Argument(metavar="PORT", help="The port, when ADDRESS is a host.")] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", metavar="KEY[=VALUE]", help="What to match (Keyword=value) or to return (Keyword)."
        ),
    ] = None,
    level: Annotated[str, typer.Option("--level", "-l", help="PATIENT, STUDY, SERIES or IMAGE.")] = "STUDY",
    model: Annotated[str, typer.Option("--model", "-m", help="study, patient or worklist.")] = "study",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Cancel after so many matches; 0: take all.")] = 0,
    called: Annotated[str | None, typer.Option("--called", "-aec", metavar="AE", help="Called AE title.")] = None,
    calling: Annotated[str, typer.Option("--calling", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    tls_any_name: tls.NoHostname = False,
    wire: Wire = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of DICOM JSON per match, as it comes.")] = False,
) -> None:
    """Ask a DICOM node what it has (C-FIND).

    Without a key that only returns (a Keyword alone) the usual attributes of the level are asked for. The order of the
    columns is that of the answer; tags are written 0010,0020.

    \b
    Examples:
      dicore find PACS@pacs.example:104 -k PatientID=123
      dicore find PACS@pacs.example:104 --level SERIES -k StudyInstanceUID=1.2.3 -k Modality -k SeriesNumber --json
      dicore find -aec RIS 127.0.0.1 11112 --model worklist -k Modality=CT
    """
    target = peer(address, port, called)
    title = ae_title(calling)
    secure = tls.client(target, tls_cert, tls_key, tls_ca, tls_profile, tls_any_name)
    wanted, bare = keys_of(keys or [])
    level = wanted.pop("QueryRetrieveLevel", level)

    import asyncio

    from dicore.net import connect
    from dicore.net.queries import FIND

    check_model(model, FIND)

    async def ask() -> int:
        rows: list[dict[str, str]] = []
        count = 0
        options: dict[str, Any] = {"level": level, "model": model, "returns": not bare, **wanted}
        async with connect(target, tls=secure, wire=wire, calling=title, contexts=[FIND[model]]) as association:
            async for match in association.c_find(None, **options):
                count += 1
                if as_json:
                    show_json(match.to_json_dict())
                else:
                    rows.append({one.keyword or str(one.tag): str(one.value or "") for one in match})
                if count == limit:
                    break
        if not as_json:
            hidden = {"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"}
            columns = list(dict.fromkeys(name for row in rows for name in row if name not in hidden))
            if rows:
                show_table(columns, ([row.get(name, "") for name in columns] for row in rows))
        return count

    try:
        count = asyncio.run(ask())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    say(f"{count} matches")
