"""`dicore codecs`: what can be decoded and encoded here."""

from __future__ import annotations

from typing import Annotated

import typer

from dicore.cli.output import show_json, show_table


def codecs(
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per transfer syntax.")] = False,
) -> None:
    """List what decodes and encodes each transfer syntax.

    Libraries stand in the order of choice; version and licence are the first one's. DICORE_CODEC, and --codec where a
    verb has it, force one by its name.

    \b
    Examples:
      dicore codecs
      dicore codecs --json | jq -r 'select(.decode_by == "") | .name'
    """
    from dicore import pixel

    found = pixel.codecs()
    if as_json:
        for codec in found:
            show_json(codec._asdict())
        return
    show_table(found[0]._fields, found)
