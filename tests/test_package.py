"""What is installed: light to import, one version everywhere, a C library that works without Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dicore
from conftest import ROOT, absent, dicore_cli


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_pulls_in_neither_asyncio_nor_numpy() -> None:
    code = "import sys, dicore; print(*sorted({'asyncio', 'numpy', 'pydicom', 'typer', 'rich'} & set(sys.modules)))"
    assert python(code) == ""


def test_dataset_pulls_in_no_numpy() -> None:
    assert (
        python("import sys, dicore.dataset; print('numpy' in sys.modules, 'asyncio' in sys.modules)") == "False False"
    )


def test_every_public_name_can_be_had() -> None:
    for name in dicore.__all__:
        assert getattr(dicore, name) is not None
    assert set(dicore.__all__) <= set(dir(dicore))
    with pytest.raises(AttributeError, match="nonsense"):
        dicore.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cmake = re.search(r"project\(dicore VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    header = re.search(r'#define DICORE_VERSION "([^"]+)"', (ROOT / "csrc/include/dicore/dicore.h").read_text())
    assert cmake
    assert header
    assert {project, cmake[1], header[1], dicore.__version__} == {project}
    assert f"## {project}" in (ROOT / "CHANGELOG.md").read_text().replace("[", "").replace("]", "")


def test_the_installed_script_is_this_package() -> None:
    script = Path(sys.executable).with_name("dicore")
    if not script.exists():
        absent("dicore is not installed beside this Python")
    out = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert dicore.__version__ in out


def test_help_names_every_command_and_loads_little() -> None:
    text = dicore_cli("--help").stdout
    for command in ("dump", "edit", "echo", "send", "serve", "scan", "synth", "store", "codecs", "demo"):
        assert re.search(rf"\b{command}\b", text), command


@pytest.mark.parametrize(
    "command", ["dump", "edit", "echo", "send", "serve", "scan", "synth", "store", "store ls", "store export",
                "store verify", "store rebuild", "store stats", "codecs", "demo"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = dicore_cli(*command.split(), "--help").stdout
    assert "Usage" in text
    assert f"dicore {command}" in text


CONSUMER = """
#include <dicore/dicore.h>
#include <stdio.h>
#include <string.h>
int main(void)
{
    puts(dicore_version());
    return strcmp(dicore_version(), DICORE_VERSION) != 0 || dicore_status_text(DICORE_TRUNCATED)[0] == 0;
}
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libdicore alone, built and installed as a vendor would."""
    for tool in ("cmake", "gcc"):
        if not shutil.which(tool):
            absent(f"no {tool}")
    build, where = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    for command in (
        ["cmake", "-S", ROOT, "-B", build, "-DDICORE_PYTHON=OFF", f"-DCMAKE_INSTALL_PREFIX={where}"],
        ["cmake", "--build", build, "--parallel", "2"],
        ["cmake", "--install", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return where


def test_c_library_is_found_by_pkg_config(prefix: Path, tmp_path: Path) -> None:
    if not shutil.which("pkg-config"):
        absent("no pkg-config")
    source = tmp_path / "consumer.c"
    source.write_text(CONSUMER)
    path = next(prefix.rglob("dicore.pc")).parent
    env = {"PKG_CONFIG_PATH": str(path), "PATH": "/usr/bin:/bin"}
    for kind in ([], ["--static"]):
        asked = ["pkg-config", "--cflags", "--libs", *kind, "dicore"]
        flags = subprocess.run(asked, env=env, capture_output=True, text=True, check=True).stdout.split()
        program = tmp_path / f"consumer{len(kind)}"
        link = ["-static-libgcc"] if kind else []
        subprocess.run(["gcc", source, "-o", program, *flags, *link, f"-Wl,-rpath,{path.parent}"], check=True)
        out = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        assert out.strip() == dicore.__version__


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_c_library_is_found_by_cmake(prefix: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "consumer.c").write_text(CONSUMER)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(consumer C)\nfind_package(dicore REQUIRED)\n"
        f"add_executable(consumer consumer.c)\ntarget_link_libraries(consumer dicore::{kind})\n"
    )
    for command in (
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["cmake", "--build", tmp_path / "build"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    out = subprocess.run([tmp_path / "build" / "consumer"], capture_output=True, text=True, check=True).stdout
    assert out.strip() == dicore.__version__


def test_shared_library_shows_only_dicore_names(prefix: Path) -> None:
    library = next(p for p in prefix.rglob("libdicore.so*") if not p.is_symlink())
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1] for line in listed.splitlines()]
    assert "dicore_version" in names
    assert not [name for name in names if not name.startswith("dicore_")]


def test_installed_headers_compile_alone_and_as_cpp(prefix: Path, tmp_path: Path) -> None:
    headers = sorted((prefix / "include" / "dicore").glob("*.h"))
    assert {"base.h", "dicore.h", "dataset.h", "net.h", "pixel.h", "store.h"} <= {h.name for h in headers}
    languages = ["c", "c++"] if shutil.which("g++") else ["c"]
    for header in headers:
        for language in languages:
            command = ["gcc", f"-x{language}", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", prefix / "include"]
            source = tmp_path / f"{header.stem}.{language}"
            source.write_text(f"#include <dicore/{header.name}>\n")
            done = subprocess.run([*command, source], capture_output=True, text=True)
            assert done.returncode == 0, f"{header.name} as {language}: {done.stderr}"


def test_the_files_of_the_load_test_report_are_package_data() -> None:
    report = ROOT / "src" / "dicore" / "loadtest" / "report"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]
    assert settings["wheel"]["packages"] == ["src/dicore"]  # a whole folder, but for:
    for name in ("page.css", "page.js", "uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"):
        assert (report / name).stat().st_size > 500
        assert not any(Path(name).match(pattern) for pattern in settings["wheel"]["exclude"])
