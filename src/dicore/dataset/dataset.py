"""`read` and `Dataset`: the half of a data set that is not hot. The hot half is `dicore._native.dataset`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from dicore._native.dataset import DatasetBase, Element, open_buffer, read_into
from dicore.dataset.charset import charset_for
from dicore.dataset.equality import same_elements
from dicore.dataset.text import dataset_lines, element_line
from dicore.errors import PixelDataError

if TYPE_CHECKING:
    import numpy as np
    import pydicom
    from typing_extensions import Buffer

    from dicore.dataset.model import BulkURI
    from dicore.pixel import FrameLayout

__all__ = ["Dataset", "dcmread", "read"]

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class Dataset(DatasetBase):
    """A data set over bytes: a DICOM file, or an item of a sequence in it.

    Nothing is decoded before it is asked for, what was decoded is kept, and the bytes below never change. A file's head
    is read at once; large values and what stands behind them are read when they are asked for, from the path, which
    must then still be the same file (inode, size, modification time), else DicomFormatError. Any number of threads may
    use one Dataset.

        ds.PatientName, ds.get("Rows", 0)                          # values
        ds["StudyDate"], ds[0x0010, 0x0020], ds[0x00100020]        # elements
        ds["ReferencedSeriesSequence[0].SeriesInstanceUID"]        # the same as '0008,1115[0].0020,000E'
        for element in ds: element.tag, element.vr, element.value, element.raw

    A missing element raises MissingElement, which is an AttributeError and a KeyError. An element that stands twice at
    one level: the last one counts, iteration gives both.
    """

    __slots__ = ()

    @classmethod
    def from_bytes(
        cls,
        buffer: Buffer,
        *,
        path: str | os.PathLike[str] | None = None,
        owner: object = None,
        transfer_syntax: str | None = None,
        strict: bool = False,
    ) -> Dataset:
        """A Dataset over a buffer that holds a complete Part 10 file, or, with `transfer_syntax`, a bare data set.

        The buffer is not copied: it must not change. `path` is what errors name; `owner` lives as long as the Dataset.
        Raises DicomFormatError as `read` does.
        """
        dataset = cls.__new__(cls)
        open_buffer(dataset, buffer, path, owner, transfer_syntax, strict)
        return dataset

    @property
    def file_meta(self) -> Dataset:
        """File Meta Information (group 0002, PS3.10 7.1) as a Dataset; an empty one when there is none."""
        meta: Dataset = self._file_meta()
        return meta

    def iterall(self) -> Iterator[Element]:
        """Every element, nested ones included, in file order."""
        for _, element in self.walk():
            yield element

    def values(self) -> list[Element]:
        """The elements of this level."""
        return list(self)

    def items(self) -> list[tuple[int, Element]]:
        """(tag, element) of this level."""
        return [(element.tag, element) for element in self]

    def part10_bytes(self) -> memoryview:
        """The file this data set came from, whole and as stored, without a copy where it is in memory already."""
        return self._file_bytes()

    def dataset_bytes(self) -> memoryview:
        """The data set without preamble and group 0002, as stored (in `transfer_syntax`); of an item its elements."""
        return self._dataset_bytes()

    def to_pydicom(self) -> pydicom.FileDataset:
        """This data set as pydicom reads it from the same bytes, file meta included. At the top level only.

        Later changes to the one are not seen by the other.
        """
        import pydicom

        return pydicom.dcmread(io.BytesIO(self.part10_bytes()), force=True)

    def pixel_layout(self) -> FrameLayout:
        """How the frames lie in Pixel Data (PS3.3 C.7.6.3). Raises PixelDataError when there are none."""
        from dicore import pixel

        keyword = self._pixel_keyword()
        return pixel.layout_from(self.get, self.transfer_syntax, pixel_keyword=keyword, pixel_vr=self[keyword].vr)

    def pixels(
        self, frames: int | Sequence[int] | slice | None = None, raw: bool = False, out: Any = None, threads: int = 1
    ) -> np.ndarray[Any, Any]:
        """The frames as an array (frames?, rows, columns[, samples]), as `dicore.pixel.decode` says; PixelDataError."""
        from dicore import pixel

        layout = self.pixel_layout()
        if isinstance(frames, int) and out is None:
            window = self._window(layout.pixel_keyword)
            if window is not None:  # one frame of many: only its bytes are read
                return next(pixel.iter_frames(layout, window, frames=frames, raw=raw, window=window))
        data = self[layout.pixel_keyword].raw
        return pixel.decode(layout, data, frames=frames, raw=raw, out=out, threads=threads)

    @property
    def pixel_array(self) -> np.ndarray[Any, Any]:
        """`pixels()`."""
        return self.pixels()

    def iter_frames(self, raw: bool = False) -> Iterator[np.ndarray[Any, Any]]:
        """The frames one after another; see `dicore.pixel.iter_frames`. Raises PixelDataError.

        In constant memory: from a path each frame is read when it is its turn, be the file as large as it may.
        """
        from dicore import pixel

        layout = self.pixel_layout()
        window = self._window(layout.pixel_keyword)
        if window is not None:
            return pixel.iter_frames(layout, window, raw=raw, window=window)
        return pixel.iter_frames(layout, self[layout.pixel_keyword].raw, raw=raw)

    def _pixel_keyword(self) -> str:
        for keyword in _PIXEL_KEYWORDS:
            if keyword in self:
                return keyword
        names = ", ".join(_PIXEL_KEYWORDS)
        raise PixelDataError("no pixel data in this data set", path=self.path, expected=f"one of {names}")

    def _decode_text(self, raw: bytes, person: bool, single: bool) -> tuple[str, str | None]:
        """Text that is not plain ASCII, by the character sets in effect here, and what was wrong with it."""
        charset = charset_for(self._character_sets())
        text, problem = charset.decode(raw, b"\\^=" if person else b"" if single else b"\\")
        if charset.problems:
            problem = "; ".join(charset.problems) + (f"; {problem}" if problem else "")
        return text, problem

    def _element_text(self, element: Element) -> str:
        return element_line(element)

    def _temporal(self, element: Element, kind: str) -> Any:
        from dicore.dataset import temporal

        return temporal.element_value(self, element, kind)

    def to_json_dict(
        self, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None
    ) -> dict[str, Any]:
        """This data set in the DICOM JSON Model (PS3.18 F) as builtins; see `dicore.dataset.json_model.to_dict`."""
        from dicore.dataset import json_model

        return json_model.to_dict(self, bulk_data_threshold=bulk_data_threshold, bulk_data_uri=bulk_data_uri)

    def to_json(self, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None) -> str:
        """This data set as DICOM JSON text (PS3.18 F); see `dicore.dataset.json_model.to_dict`."""
        from dicore.dataset import json_model

        return json_model.to_json(self, bulk_data_threshold=bulk_data_threshold, bulk_data_uri=bulk_data_uri)

    def to_xml(self, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None) -> str:
        """This data set in the Native DICOM Model (PS3.19 A.1) as XML; see `dicore.dataset.xml_model.to_xml`."""
        from dicore.dataset import xml_model

        return xml_model.to_xml(self, bulk_data_threshold=bulk_data_threshold, bulk_data_uri=bulk_data_uri)

    def __copy__(self) -> Dataset:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Dataset:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as the bytes of its file; an item takes the whole data set that it is in along."""
        place = self._place()
        if place is not None:
            return _item, place
        state = self._state()
        assert state is not None
        return _remade, state

    def __eq__(self, other: object) -> bool:
        """The same elements: tags in the same order, VRs and values, nested ones too, whatever the encoding they are stored
        in. File meta and where the bytes came from do not count."""
        if not isinstance(other, DatasetBase):
            return NotImplemented
        return self is other or same_elements(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and edits change it

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Dataset is read-only ({name}): to_pydicom() gives one that can be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Dataset is read-only ({name}): to_pydicom() gives one that can be changed")

    def _repr_html_(self) -> str:
        from dicore.dataset.html import dataset_html

        return dataset_html(self)

    def __str__(self) -> str:
        return "\n".join(dataset_lines(self))

    def __repr__(self) -> str:
        where = f" of {os.fspath(self.path)!r}" if self.path is not None else ""
        uid = self.get("SOPInstanceUID", "")
        return f"<Dataset{where}, {len(self)} elements{f', {uid}' if uid else ''}>"


def _item(around: Dataset, tag: int, number: int) -> Dataset:
    found: Dataset = around[tag].value[number]
    return found


def _remade(data: bytes, path: Any, transfer_syntax: str | None, strict: bool) -> Dataset:
    return Dataset.from_bytes(data, path=path, transfer_syntax=transfer_syntax, strict=strict)


def read(source: str | os.PathLike[str] | Buffer | BinaryIO, *, strict: bool = False, mmap: bool = False) -> Dataset:
    """Read a DICOM file (PS3.10): a path, bytes or another buffer, or a binary file object.

    Of a path the first 8 KiB are read now and the rest when it is asked for. `mmap=True` maps it instead; then a file
    that is truncated meanwhile ends the process with SIGBUS. With `strict=True` the whole structure is read now and the
    first deviation from the standard raises; otherwise deviations are in `Dataset.warnings`.

    Raises DicomFormatError (with path, byte offset and tag path) when this is not DICOM, OSError when the path cannot
    be read, and under `strict` CharacterSetError when text is decoded that its character set cannot hold.
    """
    dataset = Dataset.__new__(Dataset)
    read_into(dataset, source, strict, mmap)
    return dataset


dcmread = read
