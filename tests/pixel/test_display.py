"""`Dataset.hu`, `Dataset.render`: against pydicom over the whole corpus, and step by step on images made here."""

from __future__ import annotations

import json
import struct
import warnings
import zlib

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore import pixel
from dicore.errors import PixelDataError
from dicore.pixel.lut import expand_segments

CT = "1.2.840.10008.5.1.4.1.1.2"


def image(pixels, photometric="MONOCHROME2", **elements):
    """A data set over an array (frames?, rows, columns[, samples]) of integers."""
    pixels = np.asarray(pixels)
    samples = 3 if pixels.ndim > 2 and pixels.shape[-1] == 3 and photometric in ("RGB", "YBR_FULL") else 1
    shape = pixels.shape[:-1] if samples == 3 else pixels.shape
    bits = 8 * pixels.dtype.itemsize
    given = {
        "SOPInstanceUID": "1.2.3.4",
        "Rows": shape[-2],
        "Columns": shape[-1],
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    if len(shape) == 3:
        given["NumberOfFrames"] = shape[0]
    if samples == 3:
        given["PlanarConfiguration"] = 0
    return dicore.new(CT, given | elements)


RAMP = np.arange(0, 4096, 16, dtype="i2").reshape(16, 16)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def by_formula(x, c, w, function="LINEAR"):
    """PS3.3 C.11.2.1.2 as it is written."""
    x = np.asarray(x, float)
    if function == "SIGMOID":
        return 255 / (1 + np.exp(-4 * (x - c) / w))
    if function == "LINEAR":
        c, w = c - 0.5, w - 1
    return np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 255, ((x - c) / w + 0.5) * 255))


# ---- against pydicom ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readable(corpus):
    """Paths of the images whose pixels have a reference and are grey, palette or colour of 8 or 16 bits."""
    listed = corpus / "dev" / "reference.jsonl"
    if not listed.exists():
        pytest.skip(f"no {listed}: all its files are left out")
    entries = [json.loads(line) for line in listed.read_text().splitlines()]
    return [corpus / "dev" / e["path"] for e in entries if any("sha256" in v for v in e.get("pixels", {}).values())]


def test_hu_and_render_agree_with_pydicom_over_the_corpus(readable):
    peer_module("pydicom")
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_presentation_lut, apply_voi_lut

    wrong, compared = [], {"hu": 0, "grey": 0, "palette": 0}
    for path in readable:
        ours = dicore.read(path)
        layout = ours.pixel_layout()
        theirs = pydicom.dcmread(path, force=True)
        stored = ours.pixels(frames=0)  # decoding has tests of its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if layout.photometric == "PALETTE COLOR":
                want = apply_color_lut(stored, theirs)
                want = want >> 8 if want.dtype.itemsize == 2 and want.max() > 255 else want
                if np.abs(ours.render(0).astype(int) - want).max() > 1:
                    wrong.append(f"{path}: palette")
                compared["palette"] += 1
                continue
            if layout.samples > 1:
                continue
            modality = theirs.get("ModalityLUTSequence")
            if modality and modality[0].get("LUTDescriptor") is None:
                continue  # an item with nothing in it: pydicom raises TypeError
            if "SharedFunctionalGroupsSequence" in theirs:
                continue  # pydicom does not look into them; test_functional_groups_... does
            values = apply_modality_lut(stored, theirs)
            if not np.array_equal(ours.hu(0), values.astype(np.float32)):
                wrong.append(f"{path}: hu")
            compared["hu"] += 1
            tables = [i for i in theirs.get("VOILUTSequence") or () if "LUTData" in i]
            if "PixelPresentation" in theirs and theirs.PixelPresentation == "COLOR":
                continue
            if tables:
                shown = apply_voi_lut(values, theirs) / (2.0 ** tables[0].LUTDescriptor[2] - 1) * 255
            elif theirs.get("WindowWidth") is not None:
                shown = apply_voi_lut(values, theirs).astype(float)
                low, high = 0.0, 2.0**layout.bits_stored - 1
                if layout.signed:
                    low, high = -(2.0 ** (layout.bits_stored - 1)), 2.0 ** (layout.bits_stored - 1) - 1
                if theirs.get("ModalityLUTSequence"):
                    low, high = 0.0, 2.0 ** theirs.ModalityLUTSequence[0].LUTDescriptor[2] - 1
                slope, intercept = theirs.get("RescaleSlope"), theirs.get("RescaleIntercept")
                if slope is not None and intercept is not None:
                    low, high = low * slope + intercept, high * slope + intercept
                shown = (shown - low) / (high - low) * 255
            else:
                continue
            if layout.photometric == "MONOCHROME1":
                shown = 255 - shown
            if np.abs(ours.render(0).astype(float) - shown).max() > 1:
                wrong.append(f"{path}: render differs by {np.abs(ours.render(0).astype(float) - shown).max()}")
            compared["grey"] += 1
            if theirs.get("PresentationLUTShape") == "INVERSE" and layout.photometric == "MONOCHROME1":
                assert apply_presentation_lut(shown, theirs) is not None
    assert not wrong
    assert compared["hu"] > 120
    assert compared["grey"] > 60
    assert compared["palette"] > 8


def test_every_image_of_the_corpus_renders_and_levels_agree(readable):
    for path in readable:
        ds = dicore.read(path)
        layout = ds.pixel_layout()
        shown = ds.render(0, overlays=True)
        colour = layout.samples > 1 or layout.photometric == "PALETTE COLOR" or ds.get("PixelPresentation") == "COLOR"
        assert shown.shape == (layout.rows, layout.columns, 3)[: 3 if colour else 2], path
        assert shown.dtype == np.uint8


# ---- grey -----------------------------------------------------------------------------------------------------------


def test_hu_is_the_exact_product_rounded_once():
    every = np.arange(65536, dtype="u2").reshape(256, 256)
    for stored in (every, every.view("i2"), np.arange(256, dtype="u1").reshape(16, 16)):
        for slope, intercept in ((1, -1024), (0.1, 0.37), (-2.5, 7), (1e-3, 1e6), (300.0, 0)):
            got = image(stored, RescaleSlope=slope, RescaleIntercept=intercept).hu()
            np.testing.assert_array_equal(got, (stored.astype(float) * slope + intercept).astype(np.float32))
    np.testing.assert_array_equal(image(every).hu(), every.astype(np.float32))
    out = np.empty((256, 256), np.float32)
    assert image(every).hu(out=out) is out
    with pytest.raises(ValueError, match="float32"):
        image(every).hu(out=np.empty((2, 2), np.float32))
    with pytest.raises(PixelDataError, match="modality values"):
        image(np.zeros((2, 2, 3), "u1"), "RGB").hu()


def test_functional_groups_give_each_frame_its_own_steps():
    frames = np.stack([RAMP, RAMP, RAMP])
    per_frame = [
        {
            "PixelValueTransformationSequence": [{"RescaleSlope": s, "RescaleIntercept": i}],
            "FrameVOILUTSequence": [{"WindowCenter": c, "WindowWidth": w}],
        }
        for s, i, c, w in ((1, 0, 2048, 4096), (2, -100, 100, 300))
    ]
    shared = [{"PixelValueTransformationSequence": [{"RescaleSlope": 3, "RescaleIntercept": 1}]}]
    ds = image(frames, PerFrameFunctionalGroupsSequence=per_frame, SharedFunctionalGroupsSequence=shared)
    np.testing.assert_array_equal(ds.hu(), np.stack([RAMP, RAMP * 2 - 100, RAMP * 3 + 1]).astype(np.float32))
    shown = ds.render(slice(0, 2), threads=2)
    for n, (values, c, w) in enumerate(((RAMP, 2048, 4096), (RAMP * 2 - 100, 100, 300))):
        assert np.abs(shown[n] - by_formula(values, c, w)).max() <= 0.51
    np.testing.assert_array_equal(ds.render(1), shown[1])
    np.testing.assert_array_equal(ds.render([-2]), shown[1:])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_every_window_function_on_every_type(function, dtype):
    stored = np.arange(-128 if dtype[0] == "i" else 0, 128 if dtype[0] == "i" else 256).astype(dtype).reshape(16, 16)
    ds = image(
        stored,
        RescaleSlope=2,
        RescaleIntercept=-50,
        WindowCenter=[40, 7],
        WindowWidth=[111, 1],
        VOILUTFunction=function,
    )
    values = stored.astype(float) * 2 - 50
    assert np.abs(ds.render().astype(float) - by_formula(values, 40, 111, function)).max() <= 0.51
    assert np.abs(ds.render(window=(10, 30)).astype(float) - by_formula(values, 10, 30, function)).max() <= 0.51
    assert np.abs(ds.render(window=1).astype(float) - by_formula(values, 7, 1, function)).max() <= 0.51


def test_windows_by_name_number_and_automatically():
    names = ["BRAIN", "bone"]
    ds = image(RAMP, WindowCenter=[40, 500], WindowWidth=[80, 2000], WindowCenterWidthExplanation=names)
    np.testing.assert_array_equal(ds.render(window="Bone"), ds.render(window=(500, 2000)))
    np.testing.assert_array_equal(ds.render(window=-1), ds.render(window=1))
    np.testing.assert_array_equal(ds.render(), ds.render(window="brain"))
    automatic = ds.render(window="auto")
    assert (automatic.min(), automatic.max()) == (0, 255)
    with pytest.raises(ValueError, match="no window is called 'lung'"):
        ds.render(window="lung")
    with pytest.raises(ValueError, match="no window 2; there are 2"):
        ds.render(window=2)
    with pytest.raises(ValueError, match="a window of nan"):
        ds.render(window=(float("nan"), 1))
    with pytest.raises(PixelDataError, match="VOI LUT Function"):
        image(RAMP, WindowCenter=1, WindowWidth=2, VOILUTFunction="CUBIC").render()


def test_padding_is_left_out_of_the_automatic_window():
    padded = RAMP.copy()
    padded[0] = -2000
    plain = image(padded, PixelPaddingValue=-2000).render()
    inner = padded[1:].astype(float)
    want = (inner - inner.min()) / (inner.max() - inner.min()) * 255
    assert np.abs(plain[1:] - want).max() <= 0.51
    assert (plain[0] == 0).all()
    ranged = padded.copy()
    ranged[1] = -1990
    both = image(ranged, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990).render()
    assert both[2, 0] == 0
    for constant in (np.zeros((4, 4), "u1"), np.full((4, 4), 255, "u1")):
        assert (image(constant).render() == constant).all()


def test_monochrome1_and_the_presentation_lut_shape_invert_once():
    ds = image(RAMP, WindowCenter=2048, WindowWidth=4096)
    one = image(RAMP, "MONOCHROME1", WindowCenter=2048, WindowWidth=4096)
    shaped = image(RAMP, "MONOCHROME1", WindowCenter=2048, WindowWidth=4096, PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(one.render(), 255 - ds.render())
    np.testing.assert_array_equal(shaped.render(), one.render())


def lut(first, values, bits, **more):
    return dict(LUTDescriptor=[len(values) % 65536, first, bits], LUTData=np.asarray(values, "<u2").tobytes(), **more)


def test_modality_and_voi_tables():
    table = (np.arange(4096) ** 2 // 4096).astype("u2")
    ds = image(RAMP, ModalityLUTSequence=[lut(0, table, 12)], VOILUTSequence=[
        lut(100, np.arange(3000, 0, -1), 12), lut(0, np.arange(4096), 12, LUTExplanation="STRAIGHT")])  # fmt: skip
    values = table[RAMP]
    np.testing.assert_array_equal(ds.hu(), values.astype(np.float32))
    want = np.arange(3000, 0, -1)[np.clip(values.astype(int) - 100, 0, 2999)] / 4095 * 255
    assert np.abs(ds.render() - want).max() <= 0.51
    assert np.abs(ds.render(lut="STRAIGHT") - values / 4095 * 255).max() <= 0.51
    np.testing.assert_array_equal(ds.render(lut=1), ds.render(lut="STRAIGHT"))
    assert np.abs(ds.render(window=(2048, 4096)) - by_formula(values, 2048, 4096)).max() <= 0.51
    with pytest.raises(ValueError, match="no VOI LUT 2; there are 2"):
        ds.render(lut=2)
    with pytest.raises(ValueError, match="no VOI LUT is called"):
        ds.render(lut="CURVED")


def test_a_colour_table_paints_the_grey_result():
    colours = np.random.default_rng(1).integers(0, 256, (256, 3)).astype("u1")
    ds = image(RAMP, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(ds.render(lut=colours), colours[ds.render()])
    with pytest.raises(ValueError, match="a colour table"):
        ds.render(lut=colours[:5])


# ---- colour ---------------------------------------------------------------------------------------------------------


def palette(first, colours, bits=16, **more):
    wide = np.asarray(colours, "<u2" if bits == 16 else "u1")
    given = {}
    for s, name in enumerate(("Red", "Green", "Blue")):
        given[f"{name}PaletteColorLookupTableDescriptor"] = [len(wide) % 65536, first, bits]
        given[f"{name}PaletteColorLookupTableData"] = np.ascontiguousarray(wide[:, s]).tobytes()
    return given | more


def test_palettes_of_8_and_16_bits_clamp_at_both_ends():
    rng = np.random.default_rng(2)
    colours = rng.integers(0, 256, (100, 3))
    for stored in (np.arange(256, dtype="u1").reshape(16, 16), np.arange(-20, 236, dtype="i2").reshape(16, 16)):
        want = colours[np.clip(stored.astype(int) - 10, 0, 99)]
        for bits, scale in ((8, 1), (16, 257)):
            ds = image(stored, "PALETTE COLOR", **palette(10, colours * scale, bits))
            np.testing.assert_array_equal(ds.render(), want)
    eight_in_sixteen = image(np.arange(256, dtype="u1").reshape(16, 16), "PALETTE COLOR", **palette(10, colours, 16))
    np.testing.assert_array_equal(
        eight_in_sixteen.render(), colours[np.clip(np.arange(256).reshape(16, 16) - 10, 0, 99)]
    )
    with pytest.raises(PixelDataError, match="RedPaletteColorLookupTableDescriptor"):
        image(np.zeros((2, 2), "u1"), "PALETTE COLOR").render()


def test_segments_are_expanded_and_hostile_ones_refused():
    assert expand_segments(np.array([0, 2, 10, 20, 1, 4, 40]), False).tolist() == [10, 20, 25, 30, 35, 40]
    # indirect: two segments from word 0 on, again; 16-bit offset is two words, the low one first
    again = expand_segments(np.array([0, 1, 7, 1, 2, 9, 2, 2, 0, 0]), False)
    assert again.tolist() == [7, 8, 9, 7, 8, 9]
    assert expand_segments(np.array([0, 1, 7, 2, 1, 0, 0, 0, 0]), True).tolist() == [7, 7]
    for bad in ([1, 4, 9], [0, 1, 5, 1, 3], [0, 1, 5, 2, 1, 99, 0], [0, 1, 5, 2, 1], [9, 9, 9], [2, 1, 0, 0]):
        with pytest.raises(PixelDataError):
            expand_segments(np.array(bad), False)
    bomb = np.array([0, 1, 5, 1, 65535, 9, 1, 65535, 3, 1, 65535, 9])
    assert len(expand_segments(bomb, False)) == 65536


def test_supplemental_palette_colours_only_what_it_maps():
    stored = np.arange(256, dtype="u2").reshape(16, 16)
    colours = np.full((56, 3), (255, 10, 20))
    ds = image(stored, PixelPresentation="COLOR", WindowCenter=100, WindowWidth=201, **palette(200, colours, 8))
    shown = ds.render()
    assert (shown[stored >= 200] == (255, 10, 20)).all()
    grey = shown[stored < 200]
    assert (grey[:, 0] == grey[:, 1]).all()
    assert np.abs(grey[:, 0] - by_formula(stored[stored < 200], 100, 201)).max() <= 0.51


def test_colour_of_any_depth_becomes_rgb_of_8_bits():
    rng = np.random.default_rng(3)
    eight = rng.integers(0, 256, (9, 7, 3)).astype("u1")
    np.testing.assert_array_equal(image(eight, "RGB").render(), eight)
    np.testing.assert_array_equal(image(eight.astype("u2") * 257, "RGB").render(), eight)
    y, cb, cr = (eight[..., s].astype(float) for s in range(3))
    want = np.stack(
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)], -1
    )
    assert np.abs(image(eight, "YBR_FULL").render() - np.clip(want, 0, 255)).max() <= 0.51


# ---- overlays, shutters, presentation states ------------------------------------------------------------------------


def overlay(mask, origin=(1, 1), group=0x6000, **more):
    bits = np.packbits(mask.astype("u1").reshape(-1), bitorder="little").tobytes()
    return {
        (group, 0x10): mask.shape[0], (group, 0x11): mask.shape[1], (group, 0x40): "G", (group, 0x50): list(origin),
        (group, 0x100): 1, (group, 0x102): 0, (group, 0x3000): bits + b"\0" * (len(bits) % 2),
    }  # fmt: skip


def with_elements(ds, elements):
    return ds.edit(elements)


def test_overlays_are_burnt_in_on_request_where_their_origin_says():
    mask = np.random.default_rng(4).integers(0, 2, (7, 9)).astype(bool)
    plain = image(RAMP, WindowCenter=2048, WindowWidth=8000)
    ds = with_elements(plain, overlay(mask, (3, 11)) | overlay(mask, (-2, 1), 0x6002))
    np.testing.assert_array_equal(ds.render(), plain.render())
    first = ds.render(overlays=[0])
    changed = np.zeros((16, 16), bool)
    changed[2:9, 10:16] = mask[:, :6]
    assert (first[changed] == 255).all()
    np.testing.assert_array_equal(first[~changed], plain.render()[~changed])
    changed[:4, :9] |= mask[3:]
    assert ((ds.render(overlays=True) == 255) == changed).all()


def test_an_overlay_in_the_pixels_unused_bits():
    mask = np.random.default_rng(5).integers(0, 2, (16, 16)).astype("u2")
    stored = RAMP.astype("u2") | mask << 14
    ds = image(stored, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=8000)
    ds = with_elements(ds, {(0x6000, 0x10): 16, (0x6000, 0x11): 16, (0x6000, 0x100): 16, (0x6000, 0x102): 14})
    assert ((ds.render(overlays=True) == 255) == (mask == 1)).all()
    np.testing.assert_array_equal(ds.hu(), RAMP)


def test_shutters_cover():
    ds = image(np.full((20, 30), 200, "u1"), WindowCenter=128, WindowWidth=256)
    assert (ds.render() == 200).all()
    cut = ds.edit(ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=5, ShutterRightVerticalEdge=25,
                  ShutterUpperHorizontalEdge=3, ShutterLowerHorizontalEdge=18)  # fmt: skip
    shown = cut.render()
    assert (shown[3:17, 5:24] == 200).all()
    assert np.count_nonzero(shown) == 14 * 19
    assert (cut.render(shutters=False) == 200).all()
    round_one = ds.edit(ShutterShape="CIRCULAR", CenterOfCircularShutter=[10, 15], RadiusOfCircularShutter=6)
    assert abs(np.count_nonzero(round_one.render()) - np.pi * 36) < 8
    square = [3, 4, 3, 20, 15, 20, 15, 4]
    poly = ds.edit(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=square, ShutterPresentationValue=0x8000)
    shown = poly.render()
    assert np.count_nonzero(shown == 200) == 12 * 16
    assert shown[0, 0] == 128
    with pytest.raises(PixelDataError, match="four edges"):
        ds.edit(ShutterShape="RECTANGULAR").render()


def presentation(**elements):
    return dicore.new("1.2.840.10008.5.1.4.1.1.11.1", elements | {"Modality": "PR"})


def test_a_presentation_state_stands_instead_of_the_images_own_steps():
    ds = image(RAMP, "MONOCHROME1", RescaleSlope=9, RescaleIntercept=9, WindowCenter=1, WindowWidth=2)
    mine = {"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": "1.2.3.4"}
    other = {"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": "1.2.3.5"}
    voi = [
        {"ReferencedImageSequence": [other], "WindowCenter": 1, "WindowWidth": 9},
        {"ReferencedImageSequence": [mine], "WindowCenter": 1000, "WindowWidth": 1500},
    ]
    state = presentation(
        RescaleSlope=2, RescaleIntercept=-100, SoftcopyVOILUTSequence=voi, PresentationLUTShape="IDENTITY"
    )
    assert np.abs(ds.render(state=state) - by_formula(RAMP * 2.0 - 100, 1000, 1500)).max() <= 0.51
    inverse = state.edit(PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(ds.render(state=inverse), 255 - ds.render(state=state))
    curve = np.arange(256) ** 2 // 255
    table = presentation(SoftcopyVOILUTSequence=voi, PresentationLUTSequence=[lut(0, curve, 8)])
    want = curve[np.rint(by_formula(RAMP, 1000, 1500)).astype(int)]
    assert np.abs(ds.render(state=table).astype(int) - want).max() <= 1
    with pytest.raises(ValueError, match="no presentation state"):
        ds.render(state=ds.edit(Modality="CT"))


def test_a_presentation_state_cuts_turns_and_flips():
    ds = image(np.arange(200, dtype="u1").reshape(10, 20), WindowCenter=128, WindowWidth=256)
    base = ds.render()
    area = {"DisplayedAreaTopLeftHandCorner": [3, 2], "DisplayedAreaBottomRightHandCorner": [12, 6]}
    state = presentation(DisplayedAreaSelectionSequence=[area], ImageRotation=90, ImageHorizontalFlip="Y",
                         SoftcopyVOILUTSequence=[{"WindowCenter": 128, "WindowWidth": 256}])  # fmt: skip
    np.testing.assert_array_equal(ds.render(state=state), np.rot90(base[1:6, 2:12], -1)[:, ::-1])
    for degrees in (180, 270):
        turned = state.edit(ImageRotation=degrees, ImageHorizontalFlip="N")
        np.testing.assert_array_equal(ds.render(state=turned), np.rot90(base[1:6, 2:12], -degrees // 90))
    with pytest.raises(PixelDataError, match="Image Rotation 45"):
        ds.render(state=state.edit(ImageRotation=45))


def test_graphics_and_text_are_drawn_where_the_turned_image_has_them():
    ds = image(np.zeros((60, 80), "u1"), WindowCenter=128, WindowWidth=256)

    def graphic(kind, data, filled="N", units="PIXEL"):
        return {"GraphicAnnotationUnits": units, "GraphicDimensions": 2, "NumberOfGraphicPoints": len(data) // 2,
                "GraphicData": [float(v) for v in data], "GraphicType": kind, "GraphicFilled": filled}  # fmt: skip

    def drawn(*graphics, **state):
        item = {"GraphicLayer": "A", "GraphicObjectSequence": list(graphics)}
        return ds.render(state=presentation(GraphicAnnotationSequence=[item], **state)) == 255

    line = drawn(graphic("POLYLINE", [10.5, 20.5, 40.5, 20.5]))
    assert line[20, 10:41].all()
    assert line.sum() == 31
    turned = drawn(graphic("POLYLINE", [10.5, 20.5, 40.5, 20.5]), ImageRotation=90)
    np.testing.assert_array_equal(turned, np.rot90(line, -1))
    box = drawn(graphic("POLYLINE", [10, 10, 30, 10, 30, 20, 10, 20, 10, 10], "Y"))
    assert box[10:20, 10:30].all()
    disc = drawn(graphic("CIRCLE", [40, 30, 50, 30], "Y"))
    assert abs(disc.sum() - np.pi * 100) < 40
    assert drawn(graphic("ELLIPSE", [20, 30, 60, 30, 40, 20, 40, 40])).any()
    assert drawn(graphic("POINT", [0.5, 0.5], units="DISPLAY"))[30, 40]
    assert not drawn(graphic("POLYLINE", [1e30, 0, 5, 5])).any()
    words = {"GraphicLayer": "A", "TextObjectSequence": [{
        "AnchorPoint": [5.0, 5.0], "AnchorPointAnnotationUnits": "PIXEL", "UnformattedTextValue": "L 12"}]}  # fmt: skip
    shown = ds.render(state=presentation(GraphicAnnotationSequence=[words]))
    assert 50 < np.count_nonzero(shown) < 600
    assert not shown[:, :5].any()


# ---- out, threads, files --------------------------------------------------------------------------------------------


def test_out_and_threads():
    frames = np.random.default_rng(6).integers(0, 4096, (6, 33, 21)).astype("u2")
    ds = image(frames, WindowCenter=2048, WindowWidth=4096)
    out = np.empty((6, 33, 21), np.uint8)
    assert ds.render(out=out) is out
    np.testing.assert_array_equal(ds.render(threads=2), out)
    assert ds.render(slice(2, 2)).shape == (0, 33, 21)
    assert ds.render(0).shape == (33, 21)
    with pytest.raises(ValueError, match="uint8"):
        ds.render(out=np.empty((6, 33, 21), np.uint16))
    with pytest.raises(PixelDataError, match="no such frame"):
        ds.render(6)
    every_other = np.empty((6, 33, 42), np.uint8)[:, :, ::2]
    ds.render(out=every_other)
    np.testing.assert_array_equal(every_other, out)


def chunks(data):
    """(type, body) of a PNG's chunks, checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


@pytest.mark.parametrize("shape", [(1, 1), (10, 12), (7, 5, 2), (9, 4, 3), (3, 3, 4)])
@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2"])
def test_png_is_read_back(shape, dtype):
    imagecodecs = peer_module("imagecodecs")
    made = np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    np.testing.assert_array_equal(imagecodecs.png_decode(pixel.png(made)).reshape(shape), made)
    assert chunks(pixel.png(made, text={"Software": "dicore"}))[1] == (b"tEXt", b"Software\0dicore")


def test_png_refuses_what_it_has_no_room_for():
    for bad in (np.zeros((2, 2), "f4"), np.zeros((2, 2), "i2"), np.zeros((0, 2), "u1"), np.zeros((2, 2, 5), "u1")):
        with pytest.raises(ValueError, match="is wanted"):
            pixel.png(bad)


def test_apng_has_every_frame():
    imagecodecs = peer_module("imagecodecs")
    frames = np.random.default_rng(8).integers(0, 256, (4, 20, 30)).astype("u1")
    data = pixel.apng(frames, seconds=0.25)
    np.testing.assert_array_equal(imagecodecs.apng_decode(data), frames)
    kinds = [kind for kind, _ in chunks(data)]
    assert kinds == [b"IHDR", b"acTL", b"fcTL", b"IDAT", *[b"fcTL", b"fdAT"] * 3, b"IEND"]
    assert struct.unpack_from(">HH", dict(chunks(data))[b"fcTL"], 20) == (250, 1000)
    assert pixel.apng(frames[:1]) == pixel.png(frames[0])
    with pytest.raises(ValueError, match="without frames"):
        pixel.apng([])
    with pytest.raises(ValueError, match="frame 1 is"):
        pixel.apng([frames[0], frames[0, :5]])


def test_to_png_writes_one_frame_or_an_animation(tmp_path):
    imagecodecs = peer_module("imagecodecs")
    frames = np.stack([RAMP, RAMP // 2])
    ds = image(frames, FrameTime=40.0)
    ds.to_png(tmp_path / "one.png", 1, window=(100, 200))
    np.testing.assert_array_equal(
        imagecodecs.png_decode((tmp_path / "one.png").read_bytes()), ds.render(1, window=(100, 200))
    )
    ds.to_png(tmp_path / "all.png", None)
    np.testing.assert_array_equal(imagecodecs.apng_decode((tmp_path / "all.png").read_bytes()), ds.render())
    assert b"\0\x28\x03\xe8" in (tmp_path / "all.png").read_bytes()  # 40 / 1000 s
    ds.to_png(tmp_path / "deep.png", 0, depth=16)
    np.testing.assert_array_equal(
        imagecodecs.png_decode((tmp_path / "deep.png").read_bytes()), RAMP.astype(int) + 32768
    )
    with pytest.raises(ValueError, match="12 bits"):
        ds.to_png(tmp_path / "x.png", depth=12)
