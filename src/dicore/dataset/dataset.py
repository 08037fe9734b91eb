"""`read` and `Dataset`: the half of a data set that is not hot. The hot half is `dicore._native.dataset`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from dicore import uid
from dicore._native.dataset import DatasetBase, Element, deflated, open_buffer, read_into
from dicore.dataset import editing
from dicore.dataset.charset import charset_for
from dicore.dataset.editing import CHARSET, DELETE
from dicore.dataset.encode import Fragments, Typed, encode_element
from dicore.dataset.equality import same_elements
from dicore.dataset.text import dataset_lines, element_line
from dicore.errors import MissingElement, PixelDataError

if TYPE_CHECKING:
    import numpy as np
    import pydicom
    from typing_extensions import Buffer

    from dicore.content.contours import Roi
    from dicore.content.dose import Dose
    from dicore.content.real_world import RealWorldMap
    from dicore.content.segmentation import Segment
    from dicore.content.structured_report import Measurement, SrNode
    from dicore.content.waveform import WaveformGroup
    from dicore.dataset.model import BulkURI
    from dicore.pixel import FrameLayout

__all__ = ["Dataset", "dcmread", "from_pydicom", "new", "read"]

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BEFORE_PIXELS = (  # type 1 where there are many frames
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


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

    Assigning and deleting record an edit on this object; the bytes below stay as they are. Later reads of this object
    see it, and `write`, `part10_bytes`, `to_pydicom` have it. `edit` leaves this object alone and gives a new one.

        ds.PatientID = "X1"; ds["0008,1115[0].0020,000E"] = uid; ds[0x0009, 0x1001] = Typed("LO", "text")
        del ds.PatientBirthDate; ds.ReferencedSeriesSequence[0].SeriesInstanceUID = uid
        ds.ReferencedSeriesSequence.append({"SeriesInstanceUID": uid})
        new = ds.edit(PatientID="X1", PatientBirthDate=DELETE)

    A value is encoded by its VR: the one the element has, else that of the dictionaries, or one said by `Typed`. Text
    takes the character set in effect; a character that it lacks is a CharacterSetError, never a silent change of the
    set. A new SpecificCharacterSet rewrites the text that depends on it. None is an empty value; bytes are taken as
    stored (in the byte order of this data set), whatever they say. Any number of threads may read a Dataset while
    none edits it.
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
        return self._parts()[1]

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
        self,
        frames: int | Sequence[int] | slice | None = None,
        raw: bool = False,
        out: Any = None,
        threads: int = 1,
        codec: str | None = None,
    ) -> np.ndarray[Any, Any]:
        """The frames as an array (frames?, rows, columns[, samples]), as `dicore.pixel.decode` says; PixelDataError.

        A frame of many is found in O(1): by the offset table, or after one pass over the items' headers. From a path
        only its bytes are read. `codec` forces a library by the name that `dicore.pixel.codecs()` shows.
        """
        from dicore import pixel

        layout, data = self._frame_source()
        if isinstance(frames, int) and out is None and not layout.encapsulated:
            window = self._window(layout.pixel_keyword)
            if window is not None:  # one frame of many: only its bytes are read
                return next(pixel.iter_frames(layout, window, frames=frames, raw=raw, window=window))
        if data is None:
            data = self[layout.pixel_keyword].raw
        return pixel.decode(layout, data, frames=frames, raw=raw, out=out, threads=threads, codec=codec)

    def _frame_source(self) -> tuple[FrameLayout, Any]:
        """The layout, and the frames of an encapsulated value (None for a native one). Kept until something is
        edited."""
        from dicore import pixel

        if self._frames is not None and not self.is_edited:
            kept: tuple[FrameLayout, Any] = self._frames
            return kept
        window = None if self.is_edited else self._pixel_window()
        layout = None if window is None else self._early_layout()
        if layout is None:
            layout = self.pixel_layout()
            if layout.encapsulated:
                window = self._window(layout.pixel_keyword)
        found = None
        if layout.encapsulated:
            found = pixel.items_of(layout, self[layout.pixel_keyword].raw if window is None else window)
        if not self.is_edited:
            self._frames = (layout, found)
        return layout, found

    def _early_layout(self) -> FrameLayout | None:
        """The layout by what stands before Pixel Data, if everything that must be there is; else None."""
        from dicore import pixel

        if any(self._early(keyword) is None for keyword in _BEFORE_PIXELS):
            return None
        if self.SamplesPerPixel != 1 and self._early("PlanarConfiguration") is None:
            return None
        return pixel.layout_from(self._early, self.transfer_syntax, pixel_vr="OB")

    @property
    def pixel_array(self) -> np.ndarray[Any, Any]:
        """`pixels()`."""
        return self.pixels()

    def iter_frames(self, raw: bool = False, codec: str | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """The frames one after another; see `dicore.pixel.iter_frames`. Raises PixelDataError.

        In constant memory: from a path each frame is read when it is its turn, be the file as large as it may.
        """
        from dicore import pixel

        layout, data = self._frame_source()
        if data is not None:
            return pixel.iter_frames(layout, data, raw=raw, codec=codec)
        window = self._window(layout.pixel_keyword)
        if window is not None:
            return pixel.iter_frames(layout, window, raw=raw, window=window)
        return pixel.iter_frames(layout, self[layout.pixel_keyword].raw, raw=raw)

    def hu(
        self, frames: int | Sequence[int] | slice | None = None, out: Any = None, threads: int = 1
    ) -> np.ndarray[Any, Any]:
        """Modality values as float32, (frames?, rows, columns): Hounsfield units for CT, what the file says for others.

        Modality LUT Sequence, or Rescale Slope and Intercept, per frame where the Pixel Value Transformation functional
        group says so (PS3.3 C.11.1, C.7.6.16.2.9); without any the stored values. The exact product, rounded once.
        `frames`, `out` (float32) and `threads` as in `pixels`. PixelDataError for colour images.
        """
        from dicore.pixel import display

        return display.hu(self, frames, out=out, threads=threads)

    def render(
        self,
        frames: int | Sequence[int] | slice | None = None,
        *,
        window: tuple[float, float] | str | int | None = None,
        lut: Any = None,
        overlays: bool | Sequence[int] = False,
        shutters: bool = True,
        state: Dataset | None = None,
        out: Any = None,
        threads: int = 1,
    ) -> np.ndarray[Any, Any]:
        """The frames as they are to be seen: uint8 (frames?, rows, columns[, 3]).

        Grey goes through modality, VOI and presentation steps (PS3.3 C.11); every Photometric Interpretation but HSV
        comes out as grey or RGB. `window` is (centre, width) in modality values, the explanation or the number of one
        of the file's windows, or "auto" (least to greatest value, padding apart). None takes the first VOI LUT, else
        the first window (Frame VOI LUT functional group included), else "auto". `lut` picks a VOI LUT by number or
        explanation, or is a colour table, uint8 (256, 3), for the grey result. `overlays` burns in all overlay planes,
        or those numbered (0: group 6000), in white. `shutters` covers what the Display Shutter says.

        `state`, a presentation state (PR), takes the place of the file's own steps (PS3.4 N.2): modality, softcopy VOI
        and presentation LUT, shutters, overlays, displayed area, rotation, flip, graphics and text in capitals.
        Not applied: presentation size (the result has the area's own pixels), colour of graphic layers, ICC profiles.

        `frames`, `out` (uint8) and `threads` as in `pixels`. ValueError for a choice the file does not offer.
        """
        from dicore.pixel import display

        return display.render(
            self,
            frames,
            window=window,
            lut=lut,
            overlays=overlays,
            shutters=shutters,
            state=state,
            out=out,
            threads=threads,
        )

    def to_png(self, path: str | os.PathLike[str], frames: int | Sequence[int] | slice | None = 0, **how: Any) -> None:
        """Write a PNG of frame `frames` (several, or None for all: an animated one) as `render(**how)` shows it.

        `seconds` (a frame's time; else Frame Time, Recommended Display Frame Rate or Cine Rate, else 0.1) and `depth`
        (8; 16 writes stored values of grey images as they are, signed ones raised to begin at 0) are taken too.
        """
        from dicore.pixel import display

        display.write_png(self, path, frames, **how)

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

    def to_json_dict(self, *, bulk_data_threshold: int = 1024, bulk_data_uri: BulkURI | None = None) -> dict[str, Any]:
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

    # -- what it means: `dicore.content` -------------------------------------------------------------------------------

    def waveform(self) -> list[WaveformGroup]:
        """The multiplex groups of a waveform (PS3.3 C.10.9), `.samples` float64 (samples, channels) in the channels'
        units. Raises MissingElement, DicomFormatError; see `dicore.content.waveform`."""
        from dicore.content import waveform

        return waveform.waveform(self)

    def dose(self, threads: int = 1) -> Dose:
        """A dose grid (PS3.3 C.8.8.3): `.values` float64 (frames, rows, columns) in `.units`, GY or RELATIVE, and where
        the frames lie. Raises MissingElement, DicomFormatError, PixelDataError; see `dicore.content.dose`."""
        from dicore.content import dose

        return dose.dose(self, threads)

    def suv(self, kind: str = "bw", *, threads: int = 1) -> np.ndarray[Any, Any]:
        """Standardised uptake values of a PET image (PS3.3 C.8.9), by QIBA's calculation: float32 (frames?, rows,
        columns) in g/ml. `kind`: 'bw', 'lbm', 'lbmjames128', 'lbmjanma', 'bsa' (cm2/ml). Raises MissingElement naming
        what the calculation lacks, DicomFormatError; see `dicore.content.suv`."""
        from dicore.content import suv

        return suv.suv(self, kind, threads=threads)

    def real_world_values(self) -> list[RealWorldMap]:
        """The real-world value maps (PS3.3 C.7.6.16.2.11), each with units; `.values()` are the frames in them, float64
        (frames, rows, columns). Raises MissingElement, DicomFormatError; see `dicore.content.real_world`."""
        from dicore.content import real_world

        return real_world.real_world_values(self)

    def contours(self) -> list[Roi]:
        """The regions of an RT Structure Set (PS3.3 C.8.8.5), each with contours whose `.points` are float64 (N, 3) in
        LPS millimetres. Raises MissingElement, DicomFormatError; see `dicore.content.contours`."""
        from dicore.content import contours

        return contours.contours(self)

    def segments(self) -> list[Segment]:
        """The segments of a segmentation (PS3.3 C.8.20), each with codes and `.array` (frames, rows, columns): bool, or
        float32 when fractional. Raises MissingElement, DicomFormatError; see `dicore.content.segmentation`."""
        from dicore.content import segmentation

        return segmentation.segments(self)

    def sr_tree(self) -> SrNode:
        """The content tree of a structured report (PS3.3 C.17.3). Raises MissingElement when this is none; see
        `dicore.content.structured_report`."""
        from dicore.content import structured_report

        return structured_report.sr_tree(self)

    def sr_text(self) -> str:
        """A structured report as an indented outline, a line a content item. Raises MissingElement."""
        from dicore.content import structured_report

        return structured_report.sr_text(self)

    def measurements(self) -> list[Measurement]:
        """The numbers of a structured report with their units, names and what they are part of. MissingElement."""
        from dicore.content import structured_report

        return structured_report.measurements(self)

    # -- edits ---------------------------------------------------------------------------------------------------------

    def _assign(self, tag: int, value: Any, vr: str | None = None) -> None:
        """Record a new value of an element of this data set."""
        if value is DELETE:
            if self._has(tag):
                self._record(tag, None)
            return
        moved: list[tuple[Dataset, int, bytes]] = []
        names = self._character_sets()
        if tag == CHARSET and not isinstance(value, bytes):
            names = editing.names_of(value)
            moved = editing.transcoded(self, names, (CHARSET,))
        self._record(tag, editing.element_of(self, tag, value, names, vr))
        for place, other, element in moved:
            place._record(other, element)

    def _remove(self, tag: int) -> None:
        if not self._has(tag):
            path = f"{tag >> 16:04X},{tag & 0xFFFF:04X}"
            raise MissingElement(f"no element ({path}) in this data set", tag_path=path)
        moved: list[tuple[Dataset, int, bytes]] = []
        if tag == CHARSET:
            around: Dataset | None = self._around()
            moved = editing.transcoded(self, around._character_sets() if around is not None else (), (CHARSET,))
        self._record(tag, None)
        for place, other, element in moved:
            place._record(other, element)

    def add_new(self, tag: int | str | tuple[int, int], VR: str, value: Any) -> None:
        """Record an element with its VR, as pydicom's add_new; the same as `ds[tag] = Typed(VR, value)`."""
        self[tag] = Typed(VR, value)

    def update(self, elements: Mapping[Any, Any]) -> None:
        """Record a value for each keyword, tag or path."""
        for key, value in elements.items():
            self[key] = value

    def edit(self, changes: Mapping[Any, Any] | None = None, /, **elements: Any) -> Dataset:
        """A new Dataset with changes made, by a native splice: what is not changed is copied, never decoded. This one
        stays.

        `elements` are keywords with values; `changes` maps keywords, tags, or paths to values, where a path may name
        every item: {"ReferencedSeriesSequence[*].SeriesInstanceUID": uid, (0x0010, 0x0020): "X1", "0008,1115[0]":
        {...}}. Values as for assignment; DELETE removes an element or item, whether there is one or not. All paths
        are those of this data set as it is before. Of an item the result is a data set of its own.

        Raises ValueError (a value that does not fit its VR, no such keyword), CharacterSetError, and MissingElement
        when a path leads to no item.
        """
        if changes is None:
            plain: Dataset | None = self._edit_plain(elements)
            if plain is not None:
                return plain
        if self._around() is not None:
            return self._alone().edit(changes, **elements)
        base: Dataset = self._committed()
        given: list[tuple[Dataset, int, int | None, Any]] = []
        for key, value in {**(changes or {}), **elements}.items():
            given += [(where, tag, number, value) for where, tag, number in base._targets(key)]
        sets = {
            where._index(): () if value is DELETE else editing.names_of(value)
            for where, tag, _, value in given
            if tag == CHARSET and not isinstance(value, bytes)
        }
        made: list[editing.Change] = []
        if sets:
            for where, tag, _, _ in given:
                if tag == CHARSET and where._index() in sets:
                    others = {other for place, other, _, _ in given if place._index() == where._index()}
                    for place, other, element in editing.transcoded(where, sets[where._index()], others):
                        made.append((place._index(), other, element))
        lists: dict[tuple[int, int], tuple[Dataset, list[Any]]] = {}
        for where, tag, number, value in given:
            if number is not None:
                if (where._index(), tag) not in lists:
                    lists[where._index(), tag] = (where, list(where.get(tag, ())))
                items = lists[where._index(), tag][1]
                if number < len(items):
                    items[number] = value
                elif value is not DELETE:
                    where[f"{tag >> 16:04X},{tag & 0xFFFF:04X}[{number}]"]  # MissingElement that says what there is
            elif value is DELETE:
                made.append((where._index(), tag, None))
            else:
                made.append((where._index(), tag, editing.element_of(where, tag, value, _names_in(where, sets))))
        for (index, tag), (where, items) in lists.items():
            left = [item for item in items if item is not DELETE]
            made.append((index, tag, editing.element_of(where, tag, left, _names_in(where, sets), "SQ")))
        edited: Dataset = base._edited(made)
        return edited

    def _alone(self) -> Dataset:
        """An item as a data set of its own, with its character set."""
        syntax = uid.EXPLICIT_BIG if self._is_big() else uid.EXPLICIT_LITTLE
        return Dataset.from_bytes(editing.item_bytes(self, self, (), self._is_big()), transfer_syntax=syntax)

    # -- files ---------------------------------------------------------------------------------------------------------

    def write(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        transfer_syntax: str | None = None,
        *,
        fsync: bool = False,
        canonical: bool = False,
        blank_preamble: bool = False,
    ) -> None:
        """Write a DICOM file (PS3.10 7.1) with the recorded edits, to a path or a binary file object; alias `save_as`.

        A path is written atomically: a temporary file beside it, synced when `fsync`, then renamed. Whatever fails
        leaves the old file. `transfer_syntax` (UID, keyword or name) is one of the uncompressed ones or the deflated
        one, else the one it has, or the one assigned to file_meta.TransferSyntaxUID. What is neither edited nor
        re-encoded is written as it is stored; a large value (16 MiB) that was not read yet is copied from file to file.
        `canonical` sorts elements, gives every sequence a defined length and
        pads odd values.

        File meta information is computed anew: SOP Class and Instance UID as in the data set, the length, and dicore as
        the implementation that wrote the file; the rest of it and the preamble stay, but for `blank_preamble` (a
        preamble may hold a TIFF header or a program). Without SOP UIDs anywhere these two are left out.

        Raises TransferSyntaxError when compressed frames would have to be decoded or encoded (that is
        `dicore.transcode`), OSError.
        """
        editing.write_pieces(target, self._pieces(transfer_syntax, canonical, blank_preamble, True), fsync)

    save_as = write

    def to_bytes(self, transfer_syntax: str | None = None, *, canonical: bool = False) -> bytes:
        """What `write` writes."""
        return b"".join(self._pieces(transfer_syntax, canonical, False))

    def _pieces(
        self, transfer_syntax: str | None, canonical: bool, blank_preamble: bool, apart: bool = False
    ) -> list[Any]:
        """The file to write, as buffers; large values that are in a file only as FileSpans of it when `apart`."""
        if self._around() is not None:
            raise ValueError(
                "an item of a sequence is no file: dicore.new makes one, item.edit() a data set of its own"
            )
        syntax = editing.target_syntax(self, transfer_syntax)
        here = (0 if self.is_implicit_vr else 1) | (0 if self.is_little_endian else 2)
        encoding = editing.ENCODINGS.get(syntax, here)
        again = canonical or encoding != here
        if apart and syntax != uid.DEFLATED and self.transfer_syntax != uid.DEFLATED:
            head = self._head(self._meta_changes(syntax), True)
            head = bytes(128) + head[128:] if blank_preamble else head
            pieces = self._pieces_apart(head, encoding if again else -1, 1 if canonical else 0, canonical)
            if pieces is not None:
                return pieces
        if again:
            body: Any = self._spliced(b"", [], encoding, 1 if canonical else 0, canonical)
        else:
            body = self._parts()[1]
        if syntax == uid.DEFLATED:
            stored = None if self.is_edited or canonical or self.transfer_syntax != syntax else self._stored_dataset()
            body = stored if stored is not None else deflated(body)
        head = self._head(self._meta_changes(syntax), True)
        return [bytes(128) + head[128:] if blank_preamble else head, body]

    def _meta_changes(self, syntax: str) -> list[editing.Change]:
        """What file meta is to say of this data set and of who wrote it."""
        said: list[tuple[int, str, Any]] = [(0x00020001, "OB", b"\0\1")]
        for tag, keyword in ((0x00020002, "SOPClassUID"), (0x00020003, "SOPInstanceUID")):
            if keyword in self and not self[keyword].is_empty:
                said.append((tag, "UI", bytes(self[keyword].raw).rstrip(b" \0")))
        said.append((0x00020010, "UI", syntax))
        said.append((0x00020012, "UI", uid.IMPLEMENTATION_CLASS))
        said.append((0x00020013, "SH", uid.IMPLEMENTATION_VERSION))
        return [(0, tag, encode_element(tag, vr, value)) for tag, vr, value in said]

    def __copy__(self) -> Dataset:
        """A Dataset of its own over the same bytes; of an item a data set of its own."""
        if self._around() is not None:
            return self._alone()
        base: Dataset = self._committed()
        copied: Dataset = base._twin()
        return copied

    def __deepcopy__(self, memo: dict[int, object]) -> Dataset:
        return self.__copy__()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as the bytes of its file; an item takes the whole data set that it is in along."""
        place = self._place()
        if place is not None:
            return _item, place
        state = self._state()
        assert state is not None
        return _remade, state

    def __eq__(self, other: object) -> bool:
        """The same elements: tags in the same order, VRs and values, nested ones too, whatever the encoding they are
        stored in. File meta and where the bytes came from do not count."""
        if not isinstance(other, DatasetBase):
            return NotImplemented
        return self is other or same_elements(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and edits change it

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


def _names_in(where: Dataset, sets: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """The character sets of `where` when those of some data sets, by tape index, are changed."""
    if sets:
        place: Dataset | None = where
        while place is not None:
            if place._index() in sets and (sets[place._index()] or place._index() == 0):
                return sets[place._index()]
            if CHARSET in place and place._index() not in sets:
                break
            place = place._around()
    return where._character_sets()


def new(
    sop_class: str,
    elements: Mapping[Any, Any] | None = None,
    /,
    *,
    transfer_syntax: str = uid.EXPLICIT_LITTLE,
    **keywords: Any,
) -> Dataset:
    """A data set from nothing, as a complete file in memory with file meta information.

    `sop_class` is a UID, or the name of a storage class ('CT Image Storage', 'CTImageStorage'). `elements` maps
    keywords or tags to values, `keywords` are keywords; VRs are those of the dictionaries, or given by `Typed`. A
    SOPInstanceUID is made when there is none. Sequences are lists of mappings or Datasets. Compressed Pixel Data
    comes as `encode.Fragments`, or as bytes that begin with an item, and with its `transfer_syntax`.

        dicore.new("CT Image Storage", PatientName="DOE^JANE", Rows=512, ReferencedStudySequence=[{"StudyID": "1"}])

    Raises ValueError and CharacterSetError as `Dataset.edit`.
    """
    syntax = uid.transfer_syntax(transfer_syntax).uid
    given: dict[int, Any] = {
        0x00080016: editing.sop_class_uid(sop_class),
        0x00080018: uid.generate(),
    }
    for key, value in {**(elements or {}), **keywords}.items():
        given[editing.parse_key(key)] = value
    fresh = Dataset.from_bytes(b"", transfer_syntax=uid.EXPLICIT_LITTLE)
    names = editing.names_of(given[CHARSET]) if CHARSET in given else ()
    pixels = given.get(editing.PIXEL_DATA)
    if uid.TRANSFER_SYNTAXES[syntax].encapsulated and isinstance(pixels, bytes) and pixels[:4] == b"\xfe\xff\x00\xe0":
        given[editing.PIXEL_DATA] = Fragments(pixels)
    for tag in sorted(given):
        if given[tag] is not DELETE:
            fresh._record(tag, editing.element_of(fresh, tag, given[tag], names))
    head = fresh._head(fresh._meta_changes(syntax), True)
    encoding = editing.ENCODINGS.get(syntax, 1)
    if syntax == uid.DEFLATED:
        return Dataset.from_bytes(head + deflated(fresh._spliced(b"", [], -1, 0, False)))
    return Dataset.from_bytes(fresh._spliced(head, [], encoding if encoding != 1 else -1, 0, False))


def from_pydicom(dataset: pydicom.Dataset) -> Dataset:
    """A Dataset of what pydicom writes for `dataset`: exact, since it is pydicom's own writer, whose errors come
    through.

    With file meta information it is a whole file, else a bare data set in the encoding it was read in (explicit VR
    little endian when it was made in memory)."""
    import pydicom

    meta = getattr(dataset, "file_meta", None)
    out = io.BytesIO()
    if meta and "TransferSyntaxUID" in meta:
        pydicom.dcmwrite(out, dataset, enforce_file_format=False)
        return Dataset.from_bytes(out.getvalue())
    implicit, little = getattr(dataset, "original_encoding", (None, None))
    implicit, little = (False, True) if implicit is None or little is None else (implicit, little)
    bare = pydicom.Dataset(dataset)
    bare.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
    pydicom.dcmwrite(out, bare, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    syntax = uid.IMPLICIT_LITTLE if implicit else uid.EXPLICIT_LITTLE if little else uid.EXPLICIT_BIG
    return Dataset.from_bytes(out.getvalue(), transfer_syntax=syntax)


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
