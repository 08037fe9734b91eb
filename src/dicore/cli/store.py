"""`dicore store`: what is in a store, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dicore.cli.output import SETTINGS, escape, human_bytes, progress, show, show_json, show_table
from dicore.errors import StoreError

if TYPE_CHECKING:
    from dicore.store import Store

StoreDir = Annotated[
    Path, typer.Argument(metavar="STORE_DIR", exists=True, file_okay=False, help="A folder that `dicore serve` wrote.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

store = typer.Typer(
    help="Look into a store and keep it: list, verify, delete, compact, back up.\n\n"
    "Example: dicore store ls archive/ PatientName='DOE*'",
    no_args_is_help=True,
    **SETTINGS,
)

_COLUMNS = {  # what `ls` shows of a match; --json shows all of it
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies"),
    "STUDY": (
        *("PatientID", "PatientName", "StudyDate", "ModalitiesInStudy", "StudyDescription"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyInstanceUID"),
    ),
    "SERIES": ("Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances", "SeriesInstanceUID"),
    "IMAGE": ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}
_HEADINGS = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfSeriesRelatedInstances": "Images",
    "NumberOfStudyRelatedInstances": "Images",
    "NumberOfStudyRelatedSeries": "Series",
}


@store.command("ls")
def ls(
    folder: StoreDir,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="What to match: PS3.4 C.2.2.2 wildcards, ranges, lists of UIDs."),
    ] = None,
    level: Annotated[
        Literal["PATIENT", "STUDY", "SERIES", "IMAGE"], typer.Option("--level", case_sensitive=False)
    ] = "STUDY",
    as_json: Json = False,
) -> None:
    """List what matches, a study a line unless --level says otherwise.

    \b
    Examples:
      dicore store ls archive/
      dicore store ls archive/ --level SERIES PatientName='DOE*' StudyDate=20240101-20241231
      dicore store ls archive/ --level IMAGE --json
    """
    wanted = dict(_key(key) for key in keys or ())
    with _open(folder) as opened:
        try:
            found = opened.find(level=level, **wanted)  # type: ignore[arg-type]  # all are text
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="KEY=VALUE") from None
    if as_json:
        for row in found:
            show_json(row)
        return
    columns = _COLUMNS[level]
    show_table([_HEADINGS.get(name, name) for name in columns], ([row[name] for name in columns] for row in found))


@store.command("export")
def export(
    folder: StoreDir, out: Annotated[Path, typer.Argument(metavar="OUT_DIR", file_okay=False)], as_json: Json = False
) -> None:
    """Write every instance as a .dcm file.

    \b
    Example:
      dicore store export archive/ out/
    """
    with _open(folder) as opened, progress("exporting", "instances") as update:
        count = opened.export(out, progress=update)
    if as_json:
        show_json({"folder": str(out), "instances": count})
    else:
        show(f"exported {count} instances to {escape(str(out))}")


@store.command("verify")
def verify(folder: StoreDir, as_json: Json = False) -> None:
    """Read everything and check it; exit status 0 when all is whole.

    \b
    Example:
      dicore store verify archive/
    """
    with _open(folder) as opened, progress("verifying", "bytes") as update:
        report = opened.verify(progress=update)
    if as_json:
        problems = [str(problem) for problem in report.problems]
        show_json({"ok": report.ok, "instances": report.instances, "bytes": report.bytes, "problems": problems})
    else:
        for problem in report.problems:
            show(escape(str(problem)))
        verdict = "all whole" if report.ok else f"{len(report.problems)} problems"
        show(f"{report.instances} instances, {human_bytes(report.bytes)}: {verdict}")
    if not report.ok:
        raise typer.Exit(1)


@store.command("rebuild")
def rebuild(folder: StoreDir, as_json: Json = False) -> None:
    """Make the index anew from the segments.

    \b
    Example:
      dicore store rebuild archive/
    """
    with _open(folder) as opened, progress("indexing", "instances") as update:
        opened.rebuild(progress=update)
        count = len(opened)
    if as_json:
        show_json({"instances": count})
    else:
        show(f"indexed {count} instances")


@store.command("delete")
def delete(
    folder: StoreDir,
    keys: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="What to delete, as `ls` matches it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say how many instances match.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what matches. `compact` gives the space back.

    \b
    Example:
      dicore store delete archive/ StudyInstanceUID=1.2.3 --yes
    """
    wanted = dict(_key(key) for key in keys)
    with _open(folder) as opened:
        try:
            found = list(opened.query("IMAGE", {**wanted, "SOPClassUID": wanted.get("SOPClassUID", "")}))
            if not any(value not in ("", "*") for value in wanted.values()):
                raise ValueError("a key that matches everything would delete everything")
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="KEY=VALUE") from None
        rows = [(row["SOPClassUID"], row["SOPInstanceUID"]) for row in found]
        count = opened.delete_instances(rows) if yes else 0
    if as_json:
        show_json({"matched": len(found), "deleted": count})
    elif yes:
        show(f"deleted {count} instances")
    else:
        show(f"{len(found)} instances match; --yes deletes them")


@store.command("compact")
def compact(
    folder: StoreDir,
    rate: Annotated[float | None, typer.Option("--rate", help="MB a second at most.")] = None,
    as_json: Json = False,
) -> None:
    """Give the space of deleted and replaced instances back, beside a running server too.

    \b
    Example:
      dicore store compact archive/ --rate 50
    """
    with _open(folder) as opened, progress("compacting", "bytes") as update:
        report = opened.compact(rate=rate and rate * 1e6, progress=update)
    if as_json:
        show_json({"removed": report.removed, "made": report.made, "copied": report.copied, "freed": report.freed,
                   "kept": report.kept})  # fmt: skip
    else:
        for name, reason in report.kept:
            show(f"{escape(name)} stays: {escape(reason)}")
        show(f"{report.removed} segments removed, {report.made} made, {human_bytes(report.freed)} given back")


@store.command("backup")
def backup(
    folder: StoreDir, out: Annotated[Path, typer.Argument(metavar="OUT_DIR", file_okay=False)], as_json: Json = False
) -> None:
    """Copy a store, a running server's too, to a folder that is a store itself; again only what is new is copied.

    \b
    Example:
      dicore store backup archive/ /mnt/backup/archive/
    """
    with _open(folder) as opened, progress("copying", "bytes") as update:
        copied = opened.backup(out, progress=update)
    if as_json:
        show_json({"folder": str(out), "bytes": copied})
    else:
        show(f"copied {human_bytes(copied)} to {escape(str(out))}")


@store.command("restore")
def restore(
    folder: Annotated[Path, typer.Argument(metavar="BACKUP_DIR", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(metavar="STORE_DIR", file_okay=False)],
    as_json: Json = False,
) -> None:
    """Make a store from a backup and check every byte of it; exit status 1 when it is not whole.

    \b
    Example:
      dicore store restore /mnt/backup/archive/ archive/
    """
    with _open(folder) as opened, progress("copying", "bytes") as update:
        copied = opened.backup(out, progress=update)
    with _open(out) as made:
        report = made.verify()
    if as_json:
        show_json({"folder": str(out), "bytes": copied, "ok": report.ok, "instances": report.instances})
    else:
        show(f"{report.instances} instances restored: {'all whole' if report.ok else 'with damage, see verify'}")
    if not report.ok:
        raise typer.Exit(1)


@store.command("worklist")
def worklist(
    folder: StoreDir,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Items to add: .wl, .json.")
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="KEY=VALUE", help="Take out what matches all of these; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The procedures that are scheduled, for `dicore serve --worklist-store`: add, take out, list.

    \b
    Examples:
      dicore store worklist archive/ order1.json order2.wl
      dicore store worklist archive/ --remove AccessionNumber=A17
      dicore store worklist archive/ --json
    """
    import contextlib

    from dicore.server import Schedule

    wanted = dict(_key(key) for key in remove or ())
    _is_store(folder)
    with contextlib.closing(Schedule(folder)) as schedule:
        if files:
            count = schedule.add(files)
            show_json({"added": count}) if as_json else show(f"scheduled {count} steps")
        elif wanted:
            try:
                count = schedule.remove(wanted)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--remove") from None
            show_json({"removed": count}) if as_json else show(f"took out {count} steps")
        elif as_json:
            for item in schedule.rows():
                show_json(item)
        else:
            head = ("PatientID", "PatientName", "AccessionNumber")
            of_step = ("ScheduledProcedureStepStartDate", "ScheduledStationAETitle", "Modality")
            rows = []
            for item in schedule.items():
                step = item["ScheduledProcedureStepSequence"][0]
                rows.append([str(item.get(k, "")) for k in head] + [str(step.get(k, "")) for k in of_step])
            show_table([*head, *of_step], rows)


@store.command("stats")
def stats(folder: StoreDir, as_json: Json = False) -> None:
    """Count what is there.

    \b
    Example:
      dicore store stats archive/ --json
    """
    with _open(folder) as opened:
        figures = opened.stats()
    if as_json:
        show_json(figures)
    else:
        show_table(["what", "how much"], figures.items(), right=(1,))


def _open(folder: Path) -> Store:
    from dicore.store import Store

    _is_store(folder)
    return Store(folder)


def _is_store(folder: Path) -> None:
    if not (folder / "segments").is_dir():  # opening would make one there
        raise StoreError(f"{folder} is not a store: it has no folder segments/")


def _key(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE, as in PatientName='DOE*'", param_hint="KEY=VALUE")
    return name, value
