"""DESIGN 1: imports and includes run downwards only, and siblings stay strangers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "dicore"
C = ROOT / "csrc"

GROUND = {"_native", "errors", "uid"}
CONTENT = {"scan", "series", "transcode", "deidentify"}
FRAMES = GROUND | {"pixel"}
MEANING = FRAMES | {"content"}  # over anything with get(): knows no Dataset, whose methods delegate to it
DATASET = MEANING | {"dataset"}
CONTENTS = DATASET | CONTENT
ASSEMBLY = CONTENTS | {"net", "store", "server"}
MAY_IMPORT = {  # first name below dicore: what else of ours it may import; itself always
    "_native": {"errors"},  # check() raises them
    "errors": set(),
    "uid": set(),
    "pixel": GROUND,
    "content": FRAMES,
    "dataset": MEANING,
    **dict.fromkeys(CONTENT, DATASET),
    "net": CONTENTS,
    "store": CONTENTS,
    "server": CONTENTS | {"net", "store"},
    **dict.fromkeys(("web", "ingest", "synth"), ASSEMBLY),
    "loadtest": ASSEMBLY | {"synth"},
    "cli": ASSEMBLY | {"web", "loadtest", "ingest", "synth"},
    "__main__": {"cli"},
}
EVERYTHING = {"__init__", "blocking", "torch"}  # may import all; nobody imports them
OF_PACKAGE = {"__version__"}  # names that `from dicore import` may take anywhere, importing nothing


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First names below `dicore` that a module imports, at any depth in it; '__init__' for `import dicore` alone."""
    module = ("dicore", *path.relative_to(PACKAGE).with_suffix("").parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: len(module) - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] if base == ["dicore"] else base for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "dicore" and name[-1] not in OF_PACKAGE:
                found.add(name[1] if len(name) > 1 else "__init__")
    return found


MODULES = sorted(p for p in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_imports_run_downwards(path: Path) -> None:
    name = layer(path)
    if name in EVERYTHING:
        return
    assert name in MAY_IMPORT, f"{name} is in no layer of DESIGN 1"
    allowed = MAY_IMPORT[name] | {name}
    if name in ("cli", "__main__", "loadtest", "web", "ingest", "synth", "server"):
        allowed |= {"__init__"}  # the assembled names, by `import dicore`
    # public names, taken from the lazy package, are as good as their modules
    unknown = imported(path) - allowed - set(PUBLIC)
    public = {PUBLIC[n] for n in imported(path) & set(PUBLIC)} - allowed
    assert not unknown | public, f"{path.relative_to(ROOT)} may not import {sorted(unknown | public)}"


def _public() -> dict[str, str]:
    """Public name: the layer of its module, from the table in dicore/__init__.py."""
    import dicore

    found = {n: m.split(".")[1] for n, (m, attribute) in dicore._LAZY.items() if attribute is not None}
    return found | {n: "errors" for n in dicore.__all__ if n[0].isupper() and n not in found}


PUBLIC = _public()


def test_native_modules_import_only_each_other_and_errors() -> None:
    sources = [
        *(PACKAGE / "_native").glob("*.pyx"),
        *(PACKAGE / "_native").glob("*/*.pxi"),
        *(PACKAGE / "_native").glob("*.pxd"),
    ]
    assert sources
    statement = re.compile(r"^\s*(?:from\s+(dicore[\w.]*)\s+c?import\s+([\w*]+)|c?import\s+(dicore[\w.]*))", re.M)
    for path in sources:
        for match in statement.finditer(path.read_text()):
            name = (match[1] or match[3]).split(".")[1:] or [match[2]]
            assert name[0] in ("_native", "errors"), f"{path.name} imports {match[0].strip()}"


# ---- C
C_MAY_INCLUDE = {
    "base": set(),
    "dataset": {"base"},
    "pixel": {"base", "dataset", "kernels"},
    "kernels": {"base"},  # a header of the pixel column
    **{name: {"base", "dataset", "pixel"} for name in ("scan", "deidentify", "store")},
    **{name: {"base"} for name in ("capture", "phases")},  # headers of the net column
    "net": {"base", "dataset", "pixel", "capture", "phases"},
    **{
        name: {"base", "dataset", "pixel", "net", "store", "capture", "phases", "retrieve"}
        for name in ("engine", "retrieve")
    },
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def column(include: str, source: Path) -> str | None:
    """The column of csrc that an include belongs to."""
    parts = include.split("/")
    if parts[0] == "dicore":
        return parts[1].removesuffix(".h")
    if len(parts) > 1:
        return parts[0]
    return source.parent.name  # beside the file that includes it


SOURCES = sorted(p for folder in C_MAY_INCLUDE for p in (C / folder).glob("*.[ch]"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(C)))
def test_c_includes_run_downwards(path: Path) -> None:
    own = path.parent.name
    for include in INCLUDE.findall(path.read_text()):
        name = column(include, path)
        if name == "dicore" and own == "base":  # base defines dicore_version()
            continue
        assert name in C_MAY_INCLUDE[own] | {own}, f"{path.relative_to(C)} may not include {include}"


@pytest.mark.parametrize("path", sorted((C / "include" / "dicore").glob("*.h")), ids=lambda p: p.name)
def test_public_headers_include_downwards(path: Path) -> None:
    own = path.stem
    if own == "dicore":
        return
    for include in INCLUDE.findall(path.read_text()):
        parts = include.split("/")
        assert parts[0] == "dicore", f"{path.name} includes {include}, which is not installed"
        assert parts[1].removesuffix(".h") in C_MAY_INCLUDE[own], f"{path.name} may not include {include}"


def test_libdicore_never_calls_malloc() -> None:
    """DESIGN 9: memory comes from the caller or an allocator argument."""
    call = re.compile(r"\b(?:malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|posix_memalign)\s*\(")
    comment = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
    for path in SOURCES:
        code = comment.sub("", path.read_text())
        assert not call.search(code), f"{path.relative_to(C)} calls {call.search(code)[0]}"  # type: ignore[index]
