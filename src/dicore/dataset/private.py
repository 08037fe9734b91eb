"""Private elements that a program knows and the built-in private dictionary does not (PS3.5 7.8)."""

from __future__ import annotations

from collections.abc import Mapping

from dicore._native.dataset import register_private_elements

__all__ = ["register_private"]


def register_private(creator: str, elements: Mapping[int | tuple[int, int], tuple[str, str, str]]) -> None:
    """Tell how the private elements of `creator` are read where the file has no VR (implicit VR) or UN.

        dicore.dataset.register_private("ACME 1.1", {0x00091001: ("DS", "1-n", "Gantry Drift"), (0x0009, 0x1002): ...})

    `elements` maps tags to (VR, VM, name). The block (here 10) does not matter: a file may reserve any other. Data sets
    that are opened from now on know them, those that are open do not. They go before the built-in private dictionary;
    what is registered again is replaced. Thread-safe. ValueError for a tag that is not private, a VR that does not exist
    or a creator that is empty or not Latin-1: then nothing is registered.
    """
    if not creator.strip(" \0") or "\\" in creator:
        raise ValueError(f"{creator!r} is no private creator")
    listed = []
    for key, (vr, vm, name) in elements.items():
        tag = key[0] << 16 | key[1] if isinstance(key, tuple) else int(key)
        if not 0 <= tag <= 0xFFFFFFFF or not tag >> 16 & 1 or tag & 0xFFFF < 0x1000:
            raise ValueError(f"{tag:#010x} is no tag of a private element")
        listed.append((tag, vr, vm, name))
    register_private_elements(creator, listed)
