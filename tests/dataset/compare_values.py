"""Every element's value of every corpus file, dicore against pydicom, with the differences counted by kind.

python tests/dataset/compare_values.py [CORPUS] [--show 30]

CORPUS is a folder of DICOM files (default: DICORE_CORPUS or ../shared/corpus, its dev/ folder where there is one).
Compared are value and type: pydicom's DSfloat, IS, UID, PersonName and MultiValue count as float, int, str, PersonName
and list.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as PydicomSequence
from pydicom.valuerep import PersonName as PydicomPersonName

import dicore
from dicore.dataset import PersonName

ROOT = Path(__file__).resolve().parents[2]
NOT_DICOM = frozenset({".tsv", ".jsonl", ".gz", ".json", ".md", ".txt", ".py"})


@dataclass
class Result:
    """How many elements agree, and of the others how many of which kind, with examples."""

    files: int = 0
    agree: int = 0
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def percent(self) -> float:
        return 100 * self.agree / max(1, self.agree + sum(self.kinds.values()))

    def differ(self, kind: str, example: str) -> None:
        self.kinds[kind] += 1
        if self.kinds[kind] <= 5:
            self.examples.append(f"{kind}: {example}")


def corpus_files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in NOT_DICOM)


def plain(value: Any) -> Any:
    """A value of either library as builtins."""
    if isinstance(value, (PersonName, PydicomPersonName)):
        return ("PN", str(value))
    if isinstance(value, (MultiValue, list)) and not isinstance(value, PydicomSequence):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(value)
    for kind in (int, str, bytes):
        if isinstance(value, kind):
            return kind(value) if kind is not str else value[:]  # str(UID) would be its name
    return value


def same(ours: Any, theirs: Any) -> bool:
    a, b = plain(ours), plain(theirs)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, str) and isinstance(b, str):
        return str.__eq__(a, b)
    return type(a) is type(b) and a == b


def pydicom_values(dataset: pydicom.Dataset, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, VR, value or exception) of every element; of a sequence the number of its items."""
    for tag in sorted(dataset.keys()):
        path = f"{prefix}{tag.group:04X},{tag.elem:04X}"
        try:
            element = dataset[tag]
            value = element.value
        except Exception as error:
            yield path, "", error
            continue
        if element.VR == "SQ":
            yield path, "SQ", len(value)
            for number, item in enumerate(value):
                yield from pydicom_values(item, f"{path}[{number}].")
        else:
            yield path, str(element.VR), value


def dicore_values(dataset: dicore.Dataset) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for path, element in dataset.walk():
        try:
            value = element.value
        except dicore.DicoreError as error:
            value = error
        found[path] = (element.vr, len(value) if element.vr == "SQ" and isinstance(value, list) else value)
    return found


def compare_file(path: Path, result: Result) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = list(pydicom_values(pydicom.dcmread(path, force=True)))
        except Exception as error:
            theirs, failed = [], error
            try:
                dicore.read(path)
            except dicore.DicoreError:
                result.kinds["neither reads the file"] += 1
                return
            result.differ(f"pydicom cannot read the file ({type(failed).__name__})", str(path))
            return
        try:
            ours = dicore_values(dicore.read(path))
        except dicore.DicoreError as error:
            result.differ("dicore cannot read the file", str(error))
            return
    result.files += 1
    for where, vr, value in theirs:
        at = f"{path.name} {where} {vr}"
        if where not in ours:
            result.differ("only pydicom has the element", at)
            continue
        our_vr, our_value = ours.pop(where)
        if isinstance(value, Exception) or isinstance(our_value, Exception):
            kind = "both raise" if isinstance(value, Exception) and isinstance(our_value, Exception) else (
                f"{our_vr}: pydicom raises" if isinstance(value, Exception) else f"{vr}: dicore raises")  # fmt: skip
            result.differ(kind, f"{at}: {value!r:.80} against {our_value!r:.80}")
        elif our_vr != vr:
            result.differ(f"VR {our_vr}, pydicom {vr}", at)
        elif not same(our_value, value):
            what = "type" if type(plain(our_value)) is not type(plain(value)) else "value"
            result.differ(f"{vr}: another {what}", f"{at}: {our_value!r:.80}, pydicom {value!r:.80}")
        else:
            result.agree += 1
    for where, (vr, _) in ours.items():
        result.differ("only dicore has the element", f"{path.name} {where} {vr}")


def compare_corpus(root: Path) -> Result:
    result = Result()
    for path in corpus_files(root):
        compare_file(path, result)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("DICORE_CORPUS", ROOT.parent / "shared" / "corpus"))
    parser.add_argument(
        "corpus", nargs="?", type=Path, default=default / "dev" if (default / "dev").is_dir() else default
    )
    parser.add_argument("--show", type=int, default=30)
    arguments = parser.parse_args()
    result = compare_corpus(arguments.corpus)
    for example in result.examples[: arguments.show]:
        print(example)
    print(f"{result.files} files, {result.agree} elements agree ({result.percent:.2f} %)")
    for kind, count in result.kinds.most_common():
        print(f"{count:7d}  {kind}")
    return 0 if result.percent >= 98 else 1


if __name__ == "__main__":
    sys.exit(main())
