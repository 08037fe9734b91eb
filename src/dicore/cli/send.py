"""`dicore send`: C-STORE of files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicore.cli import tls
from dicore.cli.address import ae_title, peer
from dicore.cli.output import escape, human_bytes, progress, say, show, show_json
from dicore.cli.wire import Wire


def send(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", exists=True, help="Files, and folders taken whole.")],
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="AE@host:port or dicom://AE@host:port.")],
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, max=1024, help="How many at once.")] = 1,
    calling: Annotated[str, typer.Option("--calling", "-aet", metavar="AE", help="Our AE title.")] = "DICORE",
    called: Annotated[str | None, typer.Option("--called", "-aec", metavar="AE", help="Called AE title.")] = None,
    window: Annotated[
        int, typer.Option("--window", min=0, max=64, help="Instances under way on each; 0: as many as the peer likes.")
    ] = 1,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="ADDRESS", help="Connect from this address; repeatable.")
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", min=0, max=100, help="Of an instance the peer had no room for, or lost.")
    ] = 0,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", dir_okay=False, help="Note what is done, and skip what it has."),
    ] = None,
    tls_cert: tls.Cert = None,
    tls_key: tls.Key = None,
    tls_ca: tls.Ca = None,
    tls_profile: tls.Profile = "bcp195",
    tls_any_name: tls.NoHostname = False,
    wire: Wire = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one line of JSON.")] = False,
) -> None:
    """Send files and folders to a DICOM node (C-STORE).

    Every file that is not stored is named on stderr with the reason; the exit status is then 1.

    \b
    Examples:
      dicore send scans/ --to DICORE@127.0.0.1:11112
      dicore send a.dcm b.dcm --to dicom://PACS@pacs.example:104 --calling ME --associations 8
      dicore send archive/ --to PACS@pacs.example:104 -n 4 --window 4 --retries 5 --journal sent.txt
    """
    target = peer(to, None, called)
    title = ae_title(calling)
    secure = tls.client(target, tls_cert, tls_key, tls_ca, tls_profile, tls_any_name)

    import asyncio

    import dicore

    with progress(f"sending to {target}", "instances") as update:
        report = asyncio.run(
            dicore.send(
                paths,
                to=target,
                associations=associations,
                calling=title,
                window=window,
                source=source or (),
                retries=retries,
                journal=journal,
                tls=secure,
                wire=wire,
                progress=lambda state: update(state.done, state.total),
            )
        )
    for path, reason in report.failures:
        say(f"dicore: {escape(str(path))}: {escape(str(reason))}")
    rate = report.sent / report.seconds if report.seconds else 0.0
    if as_json:
        show_json(
            {
                "peer": str(target),
                "sent": report.sent,
                "failed": report.failed,
                "warnings": report.warnings,
                "retried": report.retried,
                "skipped": report.skipped,
                "bytes": report.bytes,
                "seconds": round(report.seconds, 6),
                "failures": [{"path": str(path), "reason": str(reason)} for path, reason in report.failures],
            }
        )
    else:
        show(
            f"sent {report.sent} instances, {human_bytes(report.bytes)}, in {report.seconds:.2f} s"
            f" ({rate:,.0f}/s); {report.failed} failed, {report.warnings} with warnings"
            + (f", {report.skipped} were there already" if report.skipped else "")
        )
    if not report.sent and not report.failed and not report.skipped:
        say("dicore: there was no file to send")
    if report.failed or not (report.sent or report.skipped):
        raise typer.Exit(1)
