"""`dicore make`: pictures, PDFs and arrays to DICOM instances, the acquisition step."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dicore.cli.output import escape, say, show, show_json

if TYPE_CHECKING:
    import numpy as np

    from dicore.dataset import Dataset

_SC = "1.2.840.10008.5.1.4.1.1.7"
_VL_PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.4"
_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_MOST_PDF = 0xFFFFFFFE
_PATIENT_AND_STUDY = (  # what a new series of a known study takes over: PS3.3 C.7.1.1, C.7.2.1, C.7.2.2
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "PatientComments",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ReferencedStudySequence",
)


def make(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="PNG, JPEG, TIFF, PDF or .npy files."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A file for one instance, else a folder (made).")
    ],
    like: Annotated[
        Path | None,
        typer.Option("--like", exists=True, dir_okay=False, help="A DICOM file of the patient and study to belong to."),
    ] = None,
    kind: Annotated[
        Literal["auto", "sc", "photo"],
        typer.Option("--class", help="auto and sc: Secondary Capture; photo: VL Photographic Image. A PDF is a PDF."),
    ] = "auto",
    frames: Annotated[
        bool, typer.Option("--frames", help="All files are the frames of one multi-frame instance.")
    ] = False,
    patient_id: Annotated[str, typer.Option("--patient-id", help="Patient ID.")] = "",
    patient_name: Annotated[str, typer.Option("--patient-name", help="Patient's name: DOE^JANE.")] = "",
    title: Annotated[str, typer.Option("--title", help="Series description, or a document's title.")] = "",
    burned_in: Annotated[
        bool, typer.Option("--burned-in/--no-burned-in", help="Whether the pixels name the patient.")
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEYWORD=VALUE", help="Any other element; values by a backslash."),
    ] = None,
    transfer_syntax: Annotated[
        str | None, typer.Option("--transfer-syntax", "-t", metavar="SYNTAX", help="Compress to this one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON per instance.")] = False,
) -> None:
    """Make DICOM instances of pictures, PDFs and arrays.

    One instance per file, all of one new series, in a new study or in the one of --like. A baseline JPEG is taken as it
    is, without another loss; everything else is stored uncompressed, or as --transfer-syntax says. Grey of 8 and 16
    bits, 1 bit, RGB; RGBA loses its alpha; several pages, or an array with a frame axis, are frames. Arrays are (rows,
    columns), (frames, rows, columns) or either with a last axis of 3; of bool, uint8, uint16 or int16.

    \b
    Examples:
      dicore make wound.jpg --class photo --like ct.dcm -o wound.dcm
      dicore make report.pdf --title 'Discharge letter' --patient-id 4711 --patient-name DOE^JANE -o report.dcm
      dicore make mask.npy -o mask.dcm -s SeriesDescription=Mask -s Modality=OT
      dicore make page*.png --frames -o pages.dcm
    """
    import dicore

    several = len(sources) > 1 and not frames
    if several:
        output.mkdir(parents=True, exist_ok=True)
    common = _common(like, patient_id, patient_name, title, kind, sets or [])
    failed = 0
    for number, group in enumerate([sources] if frames else [[s] for s in sources], 1):
        try:
            made = _instance(group, kind, {**common, "InstanceNumber": number}, burned_in, title)
            if transfer_syntax:
                made = dicore.transcode(made, transfer_syntax)
            to = output / f"{group[0].name}.dcm" if several or output.is_dir() else output
            made.write(to)
        except (dicore.DicoreError, OSError, ValueError, RuntimeError) as error:
            failed += 1
            say(f"dicore: {escape(f'{group[0]}: {error}')}")
            continue
        if as_json:
            show_json(
                {"file": str(group[0]), "output": str(to), "sop_class": str(made.SOPClassUID), "frames": _count(made)}
            )
        else:
            show(f"{escape(str(to))}: {dicore.uid.name(str(made.SOPClassUID))}, {_count(made)} frames")
    if failed:
        raise typer.Exit(1)


def _count(made: Dataset) -> int:
    return int(made.get("NumberOfFrames") or 1) if "Rows" in made else 0


def _common(
    like: Path | None, patient_id: str, patient_name: str, title: str, kind: str, sets: list[str]
) -> dict[str, Any]:
    """Patient, study, series and equipment: the same for all instances of one call."""
    import dicore
    from dicore import uid

    now = datetime.datetime.now()
    common: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": patient_name,
        "PatientID": patient_id,
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": uid.generate(),
        "StudyDate": now.strftime("%Y%m%d"),
        "StudyTime": now.strftime("%H%M%S"),
        "StudyID": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
    }
    if like is not None:
        ds = dicore.read(like)
        for keyword in _PATIENT_AND_STUDY:
            if keyword in ds:
                value = ds.get(keyword)
                common[keyword] = value if value is not None else ""
        if "SpecificCharacterSet" not in ds:
            del common["SpecificCharacterSet"]
        common |= {k: v for k, v in (("PatientID", patient_id), ("PatientName", patient_name)) if v}
    common |= {
        "SeriesInstanceUID": uid.generate(),
        "SeriesNumber": 1,
        "Manufacturer": "dicore",
        "ContentDate": now.strftime("%Y%m%d"),
        "ContentTime": now.strftime("%H%M%S"),
    }
    if title:
        common["SeriesDescription"] = title[:64]
    for text in sets:
        keyword, equals, value = text.partition("=")
        if not equals or not keyword:
            raise typer.BadParameter(f"{text!r}: KEYWORD=VALUE is needed", param_hint="--set")
        common[keyword] = value.split("\\") if "\\" in value else value
    return common


def _instance(group: list[Path], kind: str, common: dict[str, Any], burned_in: bool, title: str) -> Dataset:
    import numpy as np

    data = [path.read_bytes() for path in group]
    if data[0][:5] == b"%PDF-":
        if len(group) > 1 or kind != "auto":
            raise ValueError("a PDF is an instance of its own, Encapsulated PDF")
        return _pdf(data[0], common, burned_in, title)
    if len(data) == 1 and (header := _baseline(data[0])) is not None:
        return _taken(data[0], header, kind, common, burned_in)
    pages = [page for path, bytes_of in zip(group, data, strict=True) for page in _pages(path, bytes_of)]
    shapes = {(page.shape, page.dtype.str) for page in pages}
    if len(shapes) != 1:
        raise ValueError("the frames differ in size or depth")
    return _image(np.stack(pages), kind, common, burned_in)


# ---- what a file holds -----------------------------------------------------------------------------------------------


def _pages(path: Path, data: bytes) -> list[np.ndarray[Any, Any]]:
    """The pictures in a file, each (rows, columns) or (rows, columns, 3)."""
    import imagecodecs
    import numpy as np

    if data[:6] == b"\x93NUMPY":
        array = np.load(path, allow_pickle=False)
        if array.dtype.kind not in "bui" or array.dtype.itemsize > 2 or array.dtype == np.int8:
            raise ValueError(f"an array of {array.dtype}; bool, uint8, uint16 or int16 can be stored")
        if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3):
            return [array]
        if array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3):
            return list(array)
        raise ValueError(f"an array of {array.shape}; (frames?, rows, columns[, 3]) can be stored")
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        pages = [imagecodecs.png_decode(data)]
    elif data[:3] == b"\xff\xd8\xff":
        pages = [imagecodecs.jpeg8_decode(data)]
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        pages = []
        while True:
            try:
                pages.append(imagecodecs.tiff_decode(data, index=len(pages)))
            except (IndexError, RuntimeError):
                if not pages:
                    raise
                break
    else:
        raise ValueError("this is no PNG, JPEG, TIFF, PDF or .npy file")
    made = []
    for page in pages:
        if page.ndim == 3 and page.shape[-1] in (2, 4):
            page = page[..., :-1]  # alpha
        if page.ndim == 3 and page.shape[-1] == 1:
            page = page[..., 0]
        if page.ndim not in (2, 3) or (page.ndim == 3 and page.shape[-1] != 3):
            raise ValueError(f"a picture of {page.shape}")
        if page.ndim == 3 and page.dtype == np.uint16:
            page = (page >> 8).astype(np.uint8)  # true colour has 8 bits (PS3.3 A.8.4)
        made.append(np.ascontiguousarray(page))
    return made


def _baseline(data: bytes) -> tuple[int, int, int, bool] | None:
    """(rows, columns, samples, subsampled) of a baseline JPEG in YCbCr or grey, which can be taken as it is."""
    from dicore.errors import PixelDataError
    from dicore.pixel.streams import sniff

    if data[:3] != b"\xff\xd8\xff":
        return None
    try:
        stream = sniff(data)
    except PixelDataError:
        return None
    rgb = bytes(stream.component_ids) in (b"RGB", b"rgb") or stream.adobe == 0
    if stream.process != 0 or stream.precision != 8 or stream.samples not in (1, 3) or rgb:
        return None
    at = data.find(b"\xff\xc0")
    first = data[at + 11] if at >= 0 else 0x11
    return stream.rows, stream.columns, stream.samples, first != 0x11


# ---- instances -------------------------------------------------------------------------------------------------------


def _photo_or_capture(kind: str, grey: bool) -> dict[str, Any]:
    """What the two kinds of series and image say besides the pixels."""
    if kind == "photo":
        if grey:
            raise ValueError("a VL photographic image is in colour here; make it RGB, or a Secondary Capture")
        return {
            "Modality": "XC",
            "ImageType": ["ORIGINAL", "PRIMARY"],
            "AcquisitionContextSequence": [],
            "PatientOrientation": "",
            "Laterality": "",
            "ManufacturerModelName": "dicore",
            "DeviceSerialNumber": "0",
            "SoftwareVersions": "dicore",
        }
    return {
        "Modality": "OT",
        "ConversionType": "WSD",
        "ImageType": ["DERIVED", "SECONDARY"],
        "PatientOrientation": "",
        "Laterality": "",
    }


def _described(
    rows: int, columns: int, samples: int, allocated: int, stored: int, signed: bool, photometric: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(signed),
    }
    if samples == 3:
        found["PlanarConfiguration"] = 0
    return found


def _taken(
    data: bytes, header: tuple[int, int, int, bool], kind: str, common: dict[str, Any], burned_in: bool
) -> Dataset:
    """A baseline JPEG as the one frame."""
    import dicore
    from dicore.dataset.encode import encapsulated

    rows, columns, samples, subsampled = header
    photometric = "MONOCHROME2" if samples == 1 else "YBR_FULL_422" if subsampled else "YBR_FULL"
    elements: dict[str, Any] = _photo_or_capture(kind, samples == 1)
    elements |= _described(rows, columns, samples, 8, 8, False, photometric)
    elements |= {
        "BurnedInAnnotation": "YES" if burned_in else "NO",
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": f"{rows * columns * samples / len(data):.2f}",
        "LossyImageCompressionMethod": "ISO_10918_1",
        "PixelData": encapsulated([data]),
    }
    sop_class = _VL_PHOTO if kind == "photo" else _SC
    return dicore.new(sop_class, {**elements, **common}, transfer_syntax=_JPEG_BASELINE)


def _image(frames: np.ndarray[Any, Any], kind: str, common: dict[str, Any], burned_in: bool) -> Dataset:
    """Frames (n, rows, columns[, 3]) uncompressed, in the class that their number and depth ask for."""
    import numpy as np

    import dicore

    count, rows, columns = frames.shape[:3]
    samples = 3 if frames.ndim == 4 else 1
    if max(rows, columns) > 0xFFFF:
        raise ValueError(f"{rows} x {columns} pixels; DICOM has room for 65,535 each way")
    if samples == 3 and frames.dtype != np.uint8:
        raise ValueError(f"colour of {frames.dtype}; uint8 can be stored")
    multi = count > 1 or frames.dtype == bool
    if multi and kind == "photo":
        raise ValueError("a photograph has one frame")
    elements: dict[str, Any] = _photo_or_capture(kind, samples == 1)
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    if frames.dtype == bool:
        elements |= _described(rows, columns, 1, 1, 1, False, photometric)
        stored = np.packbits(frames.reshape(-1), bitorder="little").tobytes()
        sop_class = _SC + ".1"
    else:
        if multi and frames.dtype == np.int16:  # multi-frame grey knows no sign (PS3.3 A.8.3.4)
            frames = (frames.astype(np.int32) + 32768).astype(np.uint16)
            elements["RescaleIntercept"] = "-32768"
        bits = frames.dtype.itemsize * 8
        elements |= _described(rows, columns, samples, bits, bits, frames.dtype.kind == "i", photometric)
        stored = frames.astype(frames.dtype.newbyteorder("<"), copy=False).tobytes()
        sop_class = _SC + (".4" if samples == 3 else ".2" if bits == 8 else ".3") if multi else _SC
    if kind == "photo":
        sop_class = _VL_PHOTO
        elements["LossyImageCompression"] = "00"
    if multi:
        elements |= {"NumberOfFrames": count}
        if count > 1:
            elements |= {"FrameIncrementPointer": 0x00182001, "PageNumberVector": list(range(1, count + 1))}
        if samples == 1 and frames.dtype != bool:
            elements |= {"RescaleSlope": "1", "RescaleType": "US", "PresentationLUTShape": "IDENTITY"}
            elements.setdefault("RescaleIntercept", "0")
    elements["BurnedInAnnotation"] = "YES" if burned_in else "NO"
    elements["PixelData"] = stored + bytes(len(stored) % 2)
    return dicore.new(sop_class, {**elements, **common})


def _pdf(data: bytes, common: dict[str, Any], burned_in: bool, title: str) -> Dataset:
    """PS3.3 A.45.1."""
    import dicore

    if len(data) > _MOST_PDF:
        raise ValueError(f"a PDF of {len(data)} bytes; an element has room for {_MOST_PDF}")
    elements: dict[str, Any] = {
        "Modality": "DOC",
        "ConversionType": "WSD",
        "AcquisitionDateTime": "",
        "BurnedInAnnotation": "YES" if burned_in else "NO",
        "DocumentTitle": title,
        "ConceptNameCodeSequence": [],
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocument": data + bytes(len(data) % 2),
        "EncapsulatedDocumentLength": len(data),
    }
    return dicore.new(_PDF, {**elements, **common})
