"""What mypy must think of the public names. Checked, not run: see test_typing.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np

import dicore
from dicore.content.contours import Roi
from dicore.content.segmentation import Segment
from dicore.content.waveform import WaveformGroup
from dicore.dataset import Dataset, Element, PersonName, Tag, Warning, register_private, select
from dicore.dataset.temporal import Moment, Range, parse
from dicore.pixel import FrameLayout
from dicore.series import Series
from dicore.transcode import transcode

ds = dicore.read("ct.dcm", strict=True)
assert_type(ds, Dataset)
assert_type(dicore.read(b""), Dataset)
assert_type(dicore.dcmread("ct.dcm"), Dataset)
assert_type(Dataset.from_bytes(b"", transfer_syntax="1.2"), Dataset)
assert_type(dicore.from_json("{}"), Dataset)
assert_type(dicore.from_xml(b""), Dataset)

assert_type(len(ds), int)
assert_type(bool(ds), bool)
assert_type("PatientName" in ds, bool)
assert_type(ds == ds, bool)
assert_type(ds.PatientName, Any)
assert_type(ds["PatientName"], Any)
assert_type(ds.get("Rows", 0), Any)
assert_type(ds.keys(), list[Tag])
assert_type(ds.values(), list[Element])
assert_type(ds.items(), list[tuple[int, Element]])
assert_type(iter(ds), Iterator[Element])
assert_type(ds.walk(), Iterator[tuple[str, Element]])
assert_type(ds.iterall(), Iterator[Element])
assert_type(ds.warnings, list[Warning])
assert_type(ds.file_meta, Dataset)
assert_type(ds.transfer_syntax, str)
assert_type(ds.part10_bytes(), memoryview)
assert_type(ds.to_json(), str)
assert_type(ds.to_json_dict(bulk_data_threshold=64, bulk_data_uri="file:x"), dict[str, Any])
assert_type(ds.to_json(bulk_data_uri=lambda path, element: f"{path}{element.length}"), str)
assert_type(ds.to_xml(), str)
assert_type(ds._repr_html_(), str)
assert_type(ds.pixel_layout(), FrameLayout)
assert_type(ds.pixels(), np.ndarray[Any, Any])
assert_type(ds.iter_frames(), Iterator[np.ndarray[Any, Any]])
assert_type(ds.hu(), np.ndarray[Any, Any])
assert_type(ds.suv(), np.ndarray[Any, Any])
assert_type(ds.sr_text(), str)
assert_type(ds.contours(), list[Roi])
assert_type(ds.segments(), list[Segment])
assert_type(ds.waveform(), list[WaveformGroup])
assert_type(dicore.read_series("folder"), Series)
assert_type(transcode("ct.dcm", "JPEGLSLossless"), Dataset)

for element in ds:
    assert_type(element, Element)
    assert_type(element.tag, Tag)
    assert_type(element.tag.group, int)
    assert_type(element.vr, str)
    assert_type(element.stored_vr, str | None)
    assert_type(element.keyword, str)
    assert_type(element.raw, memoryview)
    assert_type(element.value, Any)
    assert_type(element.VM, int)
    assert_type(element.as_date(), Any)

assert_type(PersonName("Doe^Jane").family_name, str)
assert_type(PersonName("Doe^Jane").components, tuple[str, ...])
assert_type(select(b"", (1, 2)), list[memoryview | None])
assert_type(parse("DA", "20240101"), Moment | Range[Moment] | None)
register_private("ACME", {0x00091001: ("DS", "1", "Drift"), (0x0009, 0x1002): ("US", "1", "Count")})

dicore.read(3.5)  # type: ignore[arg-type]
