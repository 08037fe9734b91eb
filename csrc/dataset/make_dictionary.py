"""Generate dictionary_table.c from the dictionaries of pydicom (PS3.6, PS3.7 annex E; private: GDCM's list).

python make_dictionary.py [FILE]   writes FILE, by default dictionary_table.c beside this script.
Deterministic: the same pydicom gives the same bytes. tests/dataset/test_dictionary_table.py regenerates and compares.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable

import pydicom
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries

SLOT_BITS = 14  # of the hash tables of tags and keywords: 16,384 slots for some 5,100 entries
CREATOR_BITS = 11
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
TEXT_FACTOR = 0x9E3779B97F4A7C15


def text_hash(text: bytes, bits: int) -> int:
    """The hash of dictionary.c: 8 bytes at a time, little endian, zero padded."""
    h = len(text)
    for i in range(0, len(text), 8):
        h = (h ^ int.from_bytes(text[i : i + 8], "little")) * TEXT_FACTOR & M64
        h ^= h >> 32
    return h & ((1 << bits) - 1)


def slots(hashes: Iterable[int], bits: int) -> tuple[list[int], int]:
    """Open addressing with linear probing: slot -> number + 1, and the longest probe."""
    size, longest = 1 << bits, 0
    table = [0] * size
    for number, h in enumerate(hashes):
        probes = 0
        while table[(h + probes) % size]:
            probes += 1
        table[(h + probes) % size] = number + 1
        longest = max(longest, probes)
    return table, longest


def tag_factor(tags: list[int]) -> int:
    """An odd factor whose upper bits of tag * factor spread the tags best: few candidates suffice."""

    def cost(factor: int) -> int:
        return sum(i > 0 for i in probes(factor))

    def probes(factor: int) -> list[int]:
        seen: dict[int, int] = {}
        out = []
        for tag in tags:
            h = (tag * factor & M32) >> (32 - SLOT_BITS)
            out.append(seen.get(h, 0))
            seen[h] = out[-1] + 1
        return out

    state, best = 0x2545F491, (1 << 30, 0)
    for _ in range(60):
        state = (state * 1664525 + 1013904223) & M32
        best = min(best, (cost(state | 1), state | 1))
    return best[1]


class Pool:
    """All strings, each once, one after the other with a NUL."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.size = 0

    def add(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = self.size
            self.size += len(text.encode()) + 1
        return self.offsets[text]


def c_text(text: str) -> str:
    out = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'    "{out}\\0"'


def rows(values: Iterable[int], width: int = 24) -> str:
    listed = [str(v) for v in values]
    return ",\n".join("    " + ", ".join(listed[i : i + width]) for i in range(0, len(listed), width))


def vrs_of(text: str) -> tuple[str, ...]:
    return () if text == "NONE" else tuple(text.replace("_", " or ").split(" or "))


def generate() -> str:
    pool = Pool()
    pool.add("")
    vr_lists: dict[tuple[str, ...], int] = {(): 0}
    vms: dict[str, int] = {}

    def common(vr: str, vm: str, name: str) -> tuple[int, int, int]:
        return (
            pool.add(name),
            vr_lists.setdefault(vrs_of(vr), len(vr_lists)),
            vms.setdefault(vm, len(vms)),
        )

    public, keywords = [], []
    for tag, (vr, vm, name, retired, keyword) in sorted(DicomDictionary.items()):
        offset, vr_index, vm_index = common(vr, vm, name)
        public.append((tag, pool.add(keyword), offset, vr_index, vm_index, int(bool(retired))))
        keywords.append(keyword)
    repeating = []
    for pattern, (vr, vm, name, retired, keyword) in RepeatersDictionary.items():  # the first match counts
        mask = int("".join("0" if c == "x" else "F" for c in pattern), 16)
        offset, vr_index, vm_index = common(vr, vm, name)
        tag = int(pattern.replace("x", "0"), 16)
        repeating.append((tag, mask, pool.add(keyword), offset, vr_index, vm_index, int(bool(retired))))

    # A private element is looked up as 'ggggeeee', 'ggggxxee', 'ggxxxxee', in this order: forms 0, 1, 2. Other patterns
    # cannot be met.
    forms = {"........": 0, "....xx..": 1, "..xxxx..": 2}
    creators, private = [], []
    for creator, entries in sorted(private_dictionaries.items(), key=lambda item: item[0].encode()):
        found = []
        for pattern, (vr, vm, name, _) in entries.items():
            form = forms.get("".join("x" if c == "x" else "." for c in pattern))
            if form is not None:
                found.append((form, int(pattern.replace("x", "0"), 16), *common(vr, vm, name)))
        creators.append((pool.add(creator), len(creator.encode()), len(private), len(found)))
        private += sorted(found)
    vm_offsets = [pool.add(vm) for vm in vms]

    factor = tag_factor([row[0] for row in public])
    tag_slots, tag_probes = slots(((row[0] * factor & M32) >> (32 - SLOT_BITS) for row in public), SLOT_BITS)
    named = [(number, k) for number, k in enumerate(keywords) if k]
    keyword_table, keyword_probes = slots((text_hash(k.encode(), SLOT_BITS) for _, k in named), SLOT_BITS)
    keyword_slots = [named[slot - 1][0] + 1 if slot else 0 for slot in keyword_table]
    texts = {offset: text for text, offset in pool.offsets.items()}
    creator_hashes = (text_hash(texts[row[0]].encode(), CREATOR_BITS) for row in creators)
    creator_slots, creator_probes = slots(creator_hashes, CREATOR_BITS)

    vr_rows = ",\n".join(
        "    {" + (", ".join(f"VR('{vr[0]}', '{vr[1]}')" for vr in vrs) or "0") + "}" for vrs in vr_lists
    )
    nl = ",\n"
    return f"""/* Generated by make_dictionary.py from pydicom {pydicom.__version__}: do not edit. */
#include "dataset/dictionary_table.h"

/* longest probe: tags {tag_probes}, keywords {keyword_probes}, creators {creator_probes} */
const uint32_t dictionary_tag_factor = 0x{factor:08x}u;

const uint16_t dictionary_vrs[][3] = {{
{vr_rows}
}};

const uint32_t dictionary_vms[] = {{
{rows(vm_offsets)}
}};

const size_t dictionary_public_count = {len(public)};
const dictionary_public_row dictionary_public[] = {{
{nl.join(f"    {{0x{r[0]:08x}u, {', '.join(map(str, r[1:]))}}}" for r in public)}
}};

const size_t dictionary_repeating_count = {len(repeating)};
const dictionary_repeating_row dictionary_repeating[] = {{
{nl.join(f"    {{0x{r[0]:08x}u, 0x{r[1]:08x}u, {', '.join(map(str, r[2:]))}}}" for r in repeating)}
}};

const dictionary_creator_row dictionary_creators[] = {{
{nl.join(f"    {{{', '.join(map(str, r))}}}" for r in creators)}
}};

const dictionary_private_row dictionary_private[] = {{
{nl.join(f"    {{0x{r[1]:08x}u, {r[2]}, {r[3]}, {r[4]}, {r[0]}}}" for r in private)}
}};

const uint16_t dictionary_tag_slots[1 << DICTIONARY_SLOT_BITS] = {{
{rows(tag_slots)}
}};

const uint16_t dictionary_keyword_slots[1 << DICTIONARY_SLOT_BITS] = {{
{rows(keyword_slots)}
}};

const uint16_t dictionary_creator_slots[1 << DICTIONARY_CREATOR_BITS] = {{
{rows(creator_slots)}
}};

const char dictionary_text[] =
{chr(10).join(c_text(texts[offset]) for offset in sorted(texts))};
"""


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("dictionary_table.c")
    target.write_text(generate(), encoding="ascii", newline="\n")
