"""`dicore.torch.DicomDataset`: the map-style protocol, and with torch, where it is installed, through a DataLoader."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore.torch import DicomDataset


@pytest.fixture
def folder(corpus: Path) -> Path:
    return corpus / "dev/pydicom/src/pydicom/data/test_files"


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, dicore.torch; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_items_are_frames_with_targets_and_it_can_be_pickled(folder: Path) -> None:
    paths = [folder / "CT_small.dcm", folder / "rtdose.dcm", folder / "rtplan.dcm"]
    images = DicomDataset(paths, targets=["Modality", "SliceLocation"])
    assert len(images) == 1 + 15
    assert images.place(3) == (1, 2)
    assert images.target(0)["Modality"] == "CT"
    again = pickle.loads(pickle.dumps(images))
    ct = dicore.read(paths[0])
    expected = ct.pixels() * np.float32(ct.RescaleSlope) + np.float32(ct.RescaleIntercept)
    assert np.array_equal(again.numpy(0), expected[None])
    assert np.array_equal(again.numpy(-1)[0], dicore.read(paths[1]).pixels(14).astype(np.float32))
    with pytest.raises(IndexError):
        images.numpy(16)
    assert len(DicomDataset(paths, frames="first")) == 2


def test_records_of_a_store_are_opened_again_after_pickling(folder: Path, tmp_path: Path) -> None:
    with dicore.Store(tmp_path / "store", segment_size=1 << 20) as store:
        store.add([folder / "CT_small.dcm", folder / "MR_small.dcm"])
        store.sync_index()
        images = DicomDataset(store, where="Modality == 'MR'")
    again = pickle.loads(pickle.dumps(images))
    assert again.numpy(0).shape == (1, 64, 64)
    assert again._opened is not None
    again._opened.close()


def test_tensors_through_a_loader_with_workers(folder: Path) -> None:
    torch = peer_module("torch")
    images = DicomDataset([folder / "CT_small.dcm"] * 4, targets=["Modality"], transform=lambda t: t + 1)
    tensor, target = images[0]
    assert tensor.dtype == torch.float32
    assert tensor.shape == (1, 128, 128)
    assert target == {"Modality": "CT"}
    batches = list(torch.utils.data.DataLoader(images, batch_size=2, num_workers=2))
    assert [tuple(batch.shape) for batch, _ in batches] == [(2, 1, 128, 128)] * 2
    assert torch.equal(batches[1][0][1], tensor)
