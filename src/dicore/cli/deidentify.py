"""`dicore deidentify`: files and folders without the identities in them (PS3.15 annex E)."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dicore.cli.output import escape, human_bytes, progress, say, show, show_json, show_table


def deidentify(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", exists=True, help="Files, and folders taken whole.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the new files: <new UID>.dcm.")],
    options: Annotated[
        list[str],
        typer.Option("--option", "-O", metavar="NAME", help="An option of the profile; more than once or with commas."),
    ] = [],  # noqa: B006  (Typer copies it)
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file", metavar="FILE", exists=True, dir_okay=False, help="The secret key: 16 bytes or more."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="HEX", envvar="DICORE_DEIDENTIFY_KEY", show_envvar=True, help="The same in hexadecimal."
        ),
    ] = None,
    save_key: Annotated[
        Path | None, typer.Option("--save-key", metavar="FILE", help="Make a random key and keep it in this new file.")
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--mapping",
            metavar="CSV",
            exists=True,
            dir_okay=False,
            help="old Patient ID, new ID[, new name]; no header.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="JSON", help="Where to write what was done.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", "-n", min=1, max=256, help="Files at once.")] = min(
        4, os.cpu_count() or 1
    ),
    as_json: Annotated[bool, typer.Option("--json", help="What was done as one line of JSON.")] = False,
) -> None:
    """Take the identities out of files and folders (PS3.15 annex E).

    By the Basic Profile and its options. The same key gives the same new UIDs, pseudonyms and dates, so a set may be
    treated in parts, and an interrupted run goes on when it is started again. Without a key a random one is used and
    forgotten. Whoever has the key can test a guess about who is who: keep it as you keep the originals. A file that
    cannot be treated is named on stderr, and the exit status is then 1. Pixels are not looked at.

    \b
    Options of the profile:
      retain_uids  retain_full_dates | retain_modified_dates  retain_patient_characteristics
      retain_device_identity  retain_institution_identity  retain_safe_private
      clean_descriptors  clean_structured_content  clean_graphics  clean_pixel_data (says that you did)

    \b
    Examples:
      dicore deidentify scans/ -o safe/ --save-key project.key --report safe.json
      dicore deidentify more/ -o safe/ --key-file project.key -O retain_modified_dates,clean_descriptors
    """
    secret = _key(key_file, key, save_key)
    chosen = [name.strip() for given in options for name in given.split(",") if name.strip()]
    from dicore.deidentify.folder import FolderReport, deidentify_files
    from dicore.deidentify.profile import policy

    try:
        policy("basic", chosen, secret)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    patients = _mapping(mapping) if mapping is not None else None
    result = FolderReport()
    begun = time.monotonic()
    try:
        with progress(f"de-identifying into {escape(str(out))}", "files") as update:
            deidentify_files(
                paths, out, options=chosen, key=secret, mapping=patients, threads=threads, progress=update, into=result
            )
    finally:  # interrupted, too: what is done is done
        if report is not None:
            _write_report(report, result.as_dict())
    seconds = time.monotonic() - begun
    for path, reason in result.failures:
        say(f"dicore: {escape(str(path))}: {escape(reason)}")
    if as_json:
        show_json(result.as_dict() | {"seconds": round(seconds, 6)})
    else:
        if result.report.actions:
            show_table(
                ("action", "elements"), [(name, f"{n:,}") for name, n in result.report.actions.items()], right=(1,)
            )
        show(
            f"{result.done:,} files written, {human_bytes(result.bytes)}, in {seconds:.2f} s; {result.present:,} were"
            f" there, {result.skipped:,} skipped (no instances), {len(result.failures):,} failed"
        )
        burned = result.report.burned_in_annotation.get("YES", 0)
        if burned:
            say(f"{burned:,} files say that text is burned into their pixels: these were not touched")
    if result.failures or not result.done + result.present:
        raise typer.Exit(1)


def _key(key_file: Path | None, text: str | None, save_key: Path | None) -> bytes:
    if sum(given is not None for given in (key_file, text, save_key)) > 1:
        raise typer.BadParameter("one of --key-file, --key and --save-key")
    if key_file is not None:
        secret = key_file.read_bytes().rstrip(b"\r\n")
    elif text is not None:
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            raise typer.BadParameter("--key is hexadecimal: 32 digits or more") from None
    else:
        import secrets

        secret = secrets.token_hex(32).encode("ascii")
        if save_key is not None:
            try:
                descriptor = os.open(save_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise typer.BadParameter(f"{save_key} exists: --key-file uses it") from None
            with os.fdopen(descriptor, "wb") as out:
                out.write(secret + b"\n")
            say(f"the key is in {escape(str(save_key))}: keep it secret, and apart from the new files")
        return secret
    if len(secret) < 16:
        raise typer.BadParameter("a key has at least 16 bytes")
    return secret


def _mapping(path: Path) -> dict[str, str | tuple[str, str]]:
    found: dict[str, str | tuple[str, str]] = {}
    with open(path, newline="", encoding="utf-8-sig") as opened:
        for number, row in enumerate(csv.reader(opened), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) not in (2, 3) or not cells[0] or not cells[1]:
                raise typer.BadParameter(f"{path}, line {number}: old Patient ID, new ID[, new name]")
            found[cells[0]] = (cells[1], cells[2]) if len(cells) == 3 and cells[2] else cells[1]
    return found


def _write_report(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
