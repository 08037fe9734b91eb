"""Where to send to: `AE@host:port`, `dicom://AE@host:port`, or DCMTK's `-aec AE host port`."""

from __future__ import annotations

import typer

from dicore.net.address import Address, check_ae_title

__all__ = ["ae_title", "keys_of", "peer"]


def peer(target: str, port: int | None, called: str | None) -> Address:
    """The address that the command line gave in one way or the other. Raises typer.BadParameter (exit status 2)."""
    if port is not None:
        target = f"{target}:{port}" if ":" not in target or target.startswith("[") else f"[{target}]:{port}"
    try:
        address = Address.parse(target)
        if called is None:
            return address
        if "@" in target:
            raise ValueError(f"the called AE title stands twice, in {target!r} and in --called")
        return Address(check_ae_title(called), address.host, address.port)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="address") from None


def ae_title(text: str) -> str:
    """`text` as an AE title of ours. Raises typer.BadParameter (exit status 2)."""
    try:
        return check_ae_title(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def keys_of(texts: list[str]) -> tuple[dict[str, str], bool]:
    """The -k options: {keyword or 'gggg,eeee': value}, and whether one of them only returns (has no '=').

    Raises typer.BadParameter for what is no attribute."""
    from dicore.dataset.dictionary import tag_to_keyword
    from dicore.dataset.editing import parse_key

    found: dict[str, str] = {}
    bare = False
    for text in texts:
        name, mark, value = text.partition("=")
        name = name.strip().removeprefix("(").removesuffix(")")
        try:
            tag = parse_key(name)
        except (ValueError, KeyError) as error:
            raise typer.BadParameter(f"{text!r}: {error}", param_hint="--key") from None
        found[tag_to_keyword(tag) or name] = value
        bare = bare or not mark
    return found, bare
