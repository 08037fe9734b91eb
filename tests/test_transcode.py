"""transcode: frames into another syntax, read by others, with the attributes that follow."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dicore
from dicore import uid
from dicore.dataset.encode import encapsulated

P = "1.2.840.10008.1.2.4."
NATIVE = [uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.EXPLICIT_BIG, uid.DEFLATED]
LOSSLESS = ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.5"]
LOSSLESS += [P + end for end in ("57", "70", "80", "90", "201", "202", "110")]
DCMTK = {P + "70": "dcmdjpeg", P + "57": "dcmdjpeg", P + "80": "dcmdjpls", "1.2.840.10008.1.2.5": "dcmdrle"}


def pictures(shape, dtype="u2", bits=12, seed=0):
    rng = np.random.default_rng(seed)
    top = 1 << bits - (np.dtype(dtype).kind == "i")
    slope = np.indices(shape).sum(0) * 7 % top
    image = (slope + rng.integers(0, 9, shape)) % top
    return (image - (top // 2 if np.dtype(dtype).kind == "i" else 0)).astype(dtype)


def instance(frames, bits, photometric="MONOCHROME2", **more):
    """An uncompressed instance of `frames` (n, rows, columns[, 3])."""
    samples = frames.shape[3] if frames.ndim == 4 else 1
    elements = {
        "PatientID": "4711",
        "PatientName": "DOE^JANE",
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric,
        "NumberOfFrames": frames.shape[0],
        "Rows": frames.shape[1],
        "Columns": frames.shape[2],
        "BitsAllocated": frames.dtype.itemsize * 8,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(frames.dtype.kind == "i"),
        "PixelData": frames.tobytes() + bytes(frames.nbytes % 2),
        **({"PlanarConfiguration": 0} if samples > 1 else {}),
        **more,
    }
    return dicore.new("Multi-frame Grayscale Word Secondary Capture Image Storage", elements)


@pytest.mark.parametrize("syntax", NATIVE + LOSSLESS)
@pytest.mark.parametrize("kind", ["12 in 16", "signed", "8", "rgb", "1 bit"])
def test_lossless_syntaxes_give_the_same_frames(syntax, kind, tmp_path):
    if kind == "1 bit":
        bits = np.random.default_rng(1).integers(0, 2, (3, 11, 13)).astype("u1")
        ds = instance(bits, 1, BitsAllocated=1, PixelData=np.packbits(bits, bitorder="little").tobytes() + b"\0" * 2)
        if syntax.startswith(P):
            pytest.skip("these formats are not written with one bit")
        want = bits
    else:
        dtype, stored = {"12 in 16": ("u2", 12), "signed": ("i2", 12), "8": ("u1", 8), "rgb": ("u1", 8)}[kind]
        want = pictures((3, 20, 31, 3) if kind == "rgb" else (3, 20, 31), dtype, stored)
        ds = instance(want, stored, "RGB" if kind == "rgb" else "MONOCHROME2")
    made = dicore.transcode(ds, syntax, threads=2)
    assert made.transfer_syntax == made.file_meta.TransferSyntaxUID == syntax
    assert made.SOPInstanceUID == ds.SOPInstanceUID
    assert (made.PatientName, made.get("LossyImageCompression")) == ("DOE^JANE", None)
    np.testing.assert_array_equal(made.pixels(raw=True), want)
    assert made.warnings == []
    back = dicore.transcode(made, uid.EXPLICIT_LITTLE, out=tmp_path / "back.dcm")
    np.testing.assert_array_equal(back.pixels(raw=True), want)
    if syntax.endswith((".90", ".201", ".202")) and kind == "rgb":
        assert made.PhotometricInterpretation == "YBR_RCT"
        assert back.PhotometricInterpretation == "RGB"


@pytest.mark.parametrize("syntax", DCMTK)
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 10), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)])
def test_dcmtk_reads_what_is_written(tmp_path, dcmtk, syntax, dtype, bits):
    want = pictures((2, 24, 30), dtype, bits)
    dicore.transcode(instance(want, bits), syntax, out=tmp_path / "a.dcm")
    tool = shutil.which(DCMTK[syntax])
    if tool is None:
        pytest.skip(f"{DCMTK[syntax]} is not installed")
    subprocess.run([tool, tmp_path / "a.dcm", tmp_path / "b.dcm"], check=True, capture_output=True)
    np.testing.assert_array_equal(dicore.read(tmp_path / "b.dcm").pixels(), want)


@pytest.mark.parametrize("end", ["57", "70", "80", "90", "201", "110"])
def test_pydicom_reads_what_is_written(end):
    import pydicom

    want = pictures((2, 24, 30), "i2", 12)
    made = dicore.transcode(instance(want, 12), P + end).to_pydicom()
    assert isinstance(made, pydicom.FileDataset)
    if end != "110":  # which pydicom does not decode
        np.testing.assert_array_equal(made.pixel_array, want)


@pytest.mark.parametrize(
    ("end", "photometric"), [("50", "YBR_FULL_422"), ("91", "YBR_ICT"), ("81", "RGB"), ("112", "XYB")]
)
def test_a_lossy_step_says_so(end, photometric):
    want = pictures((2, 32, 32, 3), "u1", 8)
    ds = instance(want, 8, "RGB", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    made = dicore.transcode(ds, P + end, quality=90)
    assert made.SOPInstanceUID != ds.SOPInstanceUID
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert made.PhotometricInterpretation == photometric
    assert made.LossyImageCompression == "01"
    assert float(made.LossyImageCompressionRatio) > 0
    assert made.LossyImageCompressionMethod.startswith("ISO_1")
    assert made.ImageType == ["DERIVED", "PRIMARY", "AXIAL"]
    source = made.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert made.pixels().shape == want.shape
    twice = dicore.transcode(made, P + ("91" if end != "91" else "50"))
    assert len(twice.LossyImageCompressionMethod) == len(twice.LossyImageCompressionRatio) == 2
    lossless = dicore.transcode(made, P + "80")
    assert (lossless.LossyImageCompression, lossless.SOPInstanceUID) == ("01", made.SOPInstanceUID)
    if end != "112":
        np.testing.assert_array_equal(lossless.pixels(), made.pixels())


def test_ybr_stays_ybr_without_loss():
    rgb = pictures((1, 32, 32, 3), "u1", 8)
    lossy = dicore.transcode(instance(rgb, 8, "RGB"), P + "50", subsampling="444")
    assert lossy.PhotometricInterpretation == "YBR_FULL"
    for syntax in LOSSLESS:
        made = dicore.transcode(lossy, syntax)
        assert made.PhotometricInterpretation == "YBR_FULL"
        np.testing.assert_array_equal(made.pixels(raw=True), lossy.pixels(raw=True))


def test_jpeg_recompression_keeps_the_jpeg():
    lossy = dicore.transcode(instance(pictures((2, 32, 32, 3), "u1", 8), 8, "RGB"), P + "50")
    made = dicore.transcode(lossy, P + "111")
    np.testing.assert_array_equal(made.pixels(raw=True), lossy.pixels(raw=True))
    assert (made.SOPInstanceUID, made.PhotometricInterpretation) == (lossy.SOPInstanceUID, "YBR_FULL_422")
    with pytest.raises(dicore.TransferSyntaxError, match="no JPEG"):
        dicore.transcode(dicore.transcode(lossy, P + "80"), P + "111")


def test_what_comes_back_different_is_not_written(tmp_path, monkeypatch):
    from dicore import pixel

    ds = instance(pictures((3, 8, 8)), 12)
    encode, calls = pixel.encode, []

    def forgetful(frame, *rest):
        calls.append(1)
        return encode(frame if len(calls) != 2 else frame ^ 1, *rest)

    monkeypatch.setattr(pixel, "encode", forgetful)
    with pytest.raises(dicore.PixelDataError, match="came back different") as caught:
        dicore.transcode(ds, P + "80", out=tmp_path / "no.dcm")
    assert caught.value.frame == 1
    assert list(tmp_path.iterdir()) == []
    calls.clear()
    assert dicore.transcode(ds, P + "80", verify=False).transfer_syntax == P + "80"


def test_float_pixels_are_refused_where_they_cannot_be():
    values = np.linspace(0, 1, 16, dtype="<f4").tobytes()
    ds = dicore.new(
        "1.2.840.10008.5.1.4.1.1.30",
        {
            "Rows": 4,
            "Columns": 4,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 32,
            "FloatPixelData": values,
        },
    )
    with pytest.raises(dicore.TransferSyntaxError, match="FloatPixelData"):
        dicore.transcode(ds, P + "90")
    assert dicore.transcode(ds, uid.IMPLICIT_LITTLE).pixels().tobytes() == values


def test_a_corrupt_frame_is_named(tmp_path):
    want = pictures((3, 8, 8))
    good = dicore.transcode(instance(want, 12), P + "80")
    _, items = good._frame_source()
    streams = [bytes(items.frame(n)) for n in range(3)]
    bad = good.edit({"PixelData": encapsulated([streams[0], streams[1][:20], streams[2]])})
    for threads in (1, 3):
        with pytest.raises(dicore.PixelDataError) as caught:
            dicore.transcode(bad, P + "70", threads=threads)
        assert caught.value.frame == 1


def test_offset_tables(tmp_path, monkeypatch):
    from dicore import transcode as name  # the function; its module is reached through sys.modules

    assert callable(name)
    module = sys.modules["dicore.transcode"]
    want = pictures((5, 16, 16))
    made = dicore.transcode(instance(want, 12), P + "80")
    _, items = made._frame_source()
    assert (items.source, items.table_length) == ("basic", 20)
    monkeypatch.setattr(module, "_BASIC_LIMIT", 100)
    made = dicore.transcode(instance(want, 12), P + "80")
    _, items = made._frame_source()
    assert (items.source, items.table_length) == ("extended", 0)
    assert len(struct.unpack("<5Q", bytes(made.ExtendedOffsetTable))) == 5
    np.testing.assert_array_equal(made.pixels(), want)
    back = dicore.transcode(made, uid.EXPLICIT_LITTLE)
    assert "ExtendedOffsetTable" not in back
    np.testing.assert_array_equal(back.pixels(), want)


def test_what_stands_behind_the_pixels_stays():
    ds = instance(pictures((2, 8, 8)), 12, DataSetTrailingPadding=b"\0" * 20)
    made = dicore.transcode(ds, P + "80")
    assert bytes(made.DataSetTrailingPadding) == b"\0" * 20
    assert bytes(dicore.transcode(made, uid.IMPLICIT_LITTLE).DataSetTrailingPadding) == b"\0" * 20


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_does_not_grow_with_the_frames(tmp_path, threads):
    instance(pictures((8, 512, 512)), 12).write(tmp_path / "few.dcm")
    instance(pictures((72, 512, 512)), 12).write(tmp_path / "many.dcm")  # 38 MB
    program = f"""
import dicore, imagecodecs, concurrent.futures
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
folder = {str(tmp_path)!r}
def both(name):
    dicore.transcode(f"{{folder}}/{{name}}.dcm", "1.2.840.10008.1.2.5", out=folder + "/rle.dcm", threads={threads})
    dicore.transcode(folder + "/rle.dcm", "{P}70", out=folder + "/sv1.dcm", threads={threads})
    return peak()
print(-both("few") + both("many"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10 << 20
    ds = dicore.read(tmp_path / "sv1.dcm")
    np.testing.assert_array_equal(ds.pixels(frames=71), dicore.read(tmp_path / "many.dcm").pixels(frames=71))


def test_arguments(tmp_path):
    ds = instance(pictures((1, 8, 8)), 12)
    for wrong in ({"quality": 101}, {"near": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            dicore.transcode(ds, P + "81", **wrong)
    with pytest.raises(ValueError, match="no transfer syntax"):
        dicore.transcode(ds, "Betamax")
    with pytest.raises(dicore.CodecUnavailable, match="nothing encodes"):
        dicore.transcode(ds, P + "102")
    with pytest.raises(dicore.CodecUnavailable, match="no codec 'x'"):
        dicore.transcode(ds, P + "80", codec="x")
    same = dicore.transcode(ds, uid.EXPLICIT_LITTLE, out=tmp_path / "same.dcm")
    assert same.pixels().tobytes() == ds.pixels().tobytes()
    assert dicore.transcode(ds, uid.transfer_syntax(P + "80")).transfer_syntax == P + "80"


def test_the_corpus_comes_back(corpus: Path):
    """A sample of real files, through the syntaxes that hold what they hold."""
    done = 0
    for path in sorted((corpus / "dev").rglob("*.dcm"))[::11]:
        try:
            ds = dicore.read(path)
            want = ds.pixels(raw=True)
        except dicore.DicoreError:
            continue
        for syntax in ("1.2.840.10008.1.2.5", P + "80", P + "90", uid.EXPLICIT_BIG):
            deep = ds.get("BitsAllocated") == 1 or ds.get("BitsStored", 0) > 16
            if syntax == ds.transfer_syntax:
                continue
            if deep and "PixelData" in ds and syntax not in ("1.2.840.10008.1.2.5", uid.EXPLICIT_BIG):
                with pytest.raises((dicore.PixelDataError, dicore.TransferSyntaxError), match=r"Bits|cannot be"):
                    dicore.transcode(ds, syntax)
                continue
            if "PixelData" not in ds and syntax != uid.EXPLICIT_BIG:
                continue
            made = dicore.transcode(ds, syntax)
            got = made.pixels(raw=True)
            np.testing.assert_array_equal(got.astype(got.dtype.newbyteorder("=")), want, err_msg=f"{path} {syntax}")
            done += 1
    assert done > 40
