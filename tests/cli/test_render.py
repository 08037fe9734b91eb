"""`dicore render`."""

from __future__ import annotations

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore.cli import app

imagecodecs = peer_module("imagecodecs")
FRAMES = (np.arange(3 * 20 * 30).reshape(3, 20, 30) * 2).astype("u2")


@pytest.fixture
def cine(tmp_path):
    path = tmp_path / "cine.dcm"
    dicore.new(
        "CT Image Storage", Rows=20, Columns=30, NumberOfFrames=3, SamplesPerPixel=1, BitsAllocated=16, BitsStored=16,
        HighBit=15, PixelRepresentation=0, PhotometricInterpretation="MONOCHROME2", PixelData=FRAMES.tobytes(),
        WindowCenter=[1000, 500], WindowWidth=[2000, 100], WindowCenterWidthExplanation=["WIDE", "NARROW"],
    ).write(path)  # fmt: skip
    return path


def decoded(path):
    return imagecodecs.png_decode(path.read_bytes())


def test_a_frame_by_every_choice_of_window(cine, tmp_path, capsys):
    ds = dicore.read(cine)
    for args, how in (
        ([], {}), (["--window", "40,400"], {"window": (40, 400)}), (["--window", "narrow"], {"window": 1}),
        (["--window", "1"], {"window": 1}), (["--window", "auto"], {"window": "auto"}),
    ):  # fmt: skip
        assert app.run(["render", str(cine), "-o", str(tmp_path / "x.png"), "--frame", "-1", *args]) == 0
        np.testing.assert_array_equal(decoded(tmp_path / "x.png"), ds.render(2, **how))
        assert capsys.readouterr().out.strip() == str(tmp_path / "x.png")
    assert app.run(["render", str(cine)]) == 0
    np.testing.assert_array_equal(decoded(tmp_path / "cine.png"), ds.render(0))


def test_all_frames_animated_and_as_a_sheet(cine, tmp_path):
    ds = dicore.read(cine)
    assert app.run(["render", str(cine), "--all", "-o", str(tmp_path / "each")]) == 0
    written = sorted((tmp_path / "each").iterdir())
    assert len(written) == 3
    for n, path in enumerate(written):
        np.testing.assert_array_equal(decoded(path), ds.render(n))
    assert app.run(["render", str(cine), "--animated", "-o", str(tmp_path / "moving.png")]) == 0
    np.testing.assert_array_equal(imagecodecs.apng_decode((tmp_path / "moving.png").read_bytes()), ds.render())
    assert app.run(["render", str(cine), "--contact-sheet"]) == 0
    assert decoded(tmp_path / "cine.dcm.sheet.png").shape == (2 * 260 + 4, 2 * 260 + 4)


def test_a_folder(cine, tmp_path, capsys):
    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    cine.rename(folder / "deep" / "a.dcm")
    (folder / "notes.txt").write_text("no image")
    assert app.run(["render", str(folder)]) == 0
    assert "1 images" in capsys.readouterr().out
    assert decoded(tmp_path / "study-png" / "deep" / "a.png").shape == (20, 30)
    assert app.run(["render", str(folder), "--contact-sheet", "-o", str(tmp_path / "s.png")]) == 0
    assert decoded(tmp_path / "s.png").shape == (264, 264)


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["--frame", "7"], 1, "no such frame"),
        (["--window", "bone"], 1, "no window is called 'bone'; there are ['WIDE', 'NARROW']"),
        (["--window", "1,x"], 2, "two numbers"),
        (["--all", "--animated"], 2, "exclude each other"),
        (["--contact-sheet", "--animated"], 2, "exclude each other"),
    ],
)
def test_what_cannot_be_is_told(cine, capsys, args, status, told):
    assert app.run(["render", str(cine), *args]) == status
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_no_file_and_no_pixels(tmp_path, capsys):
    assert app.run(["render", str(tmp_path / "gone.dcm")]) == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert app.run(["render", str(tmp_path / "empty")]) == 1
    assert "no file with pixels" in capsys.readouterr().err
