"""A Segmentation of 12,000 frames, made by highdicom: `python make_seg.py FILE [SEGMENTS [SLICES]]`.

40 segments over 300 axial CT slices of 64 x 64, BINARY, no frame left out: 12,000 items in the Per-Frame Functional
Groups Sequence, each with its own nested sequences, and 6 MB of pixel data at one bit. Wants highdicom, which takes
about a minute; the file is the same to the byte but for the UIDs of highdicom.
"""

from __future__ import annotations

import sys
from pathlib import Path


def images(slices: int, size: int = 64):
    """An axial CT series for the segments to lie on."""
    import numpy as np
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    root = "1.2.826.0.1.3680043.10.1338.4"
    for n in range(slices):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{root}.3.{n + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{root}.1", f"{root}.2", f"{root}.4"
        ds.PatientID, ds.PatientName, ds.PatientSex, ds.PatientBirthDate = "4711", "DOE^JANE", "F", "19700101"
        ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "A1", ""
        ds.StudyDate, ds.StudyTime, ds.Modality = "20260101", "120000", "CT"
        ds.SeriesNumber, ds.InstanceNumber, ds.PositionReferenceIndicator = 1, n + 1, ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, n], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
        ds.Rows = ds.Columns = size
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.ImageType = 1, -1024, ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PixelData = np.zeros((size, size), "<u2").tobytes()
        yield ds


def make_seg(path: str | Path, segments: int = 40, slices: int = 300) -> None:
    """Write a Segmentation of `segments` x `slices` frames to `path`."""
    import highdicom as hd
    import numpy as np
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    source = list(images(slices))
    described = [
        hd.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=f"segment {n + 1}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(segments)
    ]
    masks = np.zeros((slices, 64, 64, segments), np.uint8)
    for n in range(segments):
        masks[:, n : n + 16, n : n + 16, n] = 1
    seg = hd.seg.Segmentation(
        source_images=source,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="dicore",
        manufacturer_model_name="make_seg",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        dimension_organization_type=None,
    )
    if int(seg.NumberOfFrames) != segments * slices:
        raise AssertionError(f"{seg.NumberOfFrames} frames instead of {segments * slices}")
    seg.save_as(path)


if __name__ == "__main__":
    make_seg(sys.argv[1], *map(int, sys.argv[2:]))
