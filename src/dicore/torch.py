"""`DicomDataset`: DICOM images for PyTorch (`pip install dicore[torch]`), which is imported for the first tensor.

from dicore.torch import DicomDataset
images = DicomDataset("archive/", where="Modality == 'CT'", targets=["SliceLocation"])
loader = torch.utils.data.DataLoader(images, batch_size=16, num_workers=4, shuffle=True)
for batch, targets in loader: ...           # float32 (16, 1, rows, columns), {"SliceLocation": float64 (16,)}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicore.content.geometry import FunctionalGroups
from dicore.content.modality import rescale_of
from dicore.dataset import Dataset, read
from dicore.scan import Source, scan
from dicore.store import Store

if TYPE_CHECKING:
    from dicore.scan import Table

__all__ = ["DicomDataset"]

_NEEDED = ("SOPInstanceUID", "NumberOfFrames", "Rows", "Columns")


class DicomDataset:
    """A map-style data set (`len`, `[n]`) over the frames of many images, for `torch.utils.data.DataLoader`.

    `source` is whatever `dicore.scan` reads (a folder, paths, a `dicore.Store`) but archives; `where` its condition on
    rows. Only heads are read here, once; images without Rows and Columns are left out (`errors` are those of the scan).
    An item is one frame: (tensor, target), or the tensor alone when there are no `targets`.

    - The tensor is float32 (samples, rows, columns) in the units of the modality (HU, ...), 1 sample for grey; with
      `modality=False`, and for colour, the numbers as stored. `transform` is called with it.
    - `targets` are columns of the scan (keywords, tags, paths); the target is a dict of the values of this row, as
      Python values, None for what is empty. `target_transform` is called with the dict. A missing value cannot be
      collated by torch's default: `where` leaves such rows out, `target_transform` replaces it.
    - `frames="first"` takes one item of each file instead of one of each frame.

    It can be pickled, so workers may be spawned or forked: of a Store its folder is kept and opened again, read-only,
    in each process. `numpy(n)` is the item without torch. Raises what `dicore.scan` raises; an item that cannot be
    decoded raises PixelDataError or CodecUnavailable, naming the file.
    """

    def __init__(
        self,
        source: Any,
        *,
        targets: Sequence[str] = (),
        where: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[dict[str, Any]], Any] | None = None,
        modality: bool = True,
        frames: str = "all",
        threads: int | None = None,
    ) -> None:
        if frames not in ("all", "first"):
            raise ValueError(f"frames is {frames!r}: 'all' or 'first'")
        if isinstance(targets, str):
            targets = [targets]
        self.targets = tuple(targets)
        self.transform, self.target_transform = transform, target_transform
        self.modality = modality
        self._store: Any = os.fspath(source.path) if isinstance(source, Store) else None
        if self._store is None and isinstance(source, Source):
            raise TypeError("of what offers records only a dicore.Store can be opened again in a worker: give paths")
        wanted = [*_NEEDED, *(t for t in self.targets if t not in _NEEDED)]
        table = scan(source, tags=wanted, where=where, threads=threads, archives=False)
        self.errors = table.errors
        self._fill(table, frames)
        self._opened: Store | None = None
        self._process = 0

    def _fill(self, table: Table, frames: str) -> None:
        columns = {name: table[name] for name in table.columns}
        usable = [n for n, rows in enumerate(columns["Rows"]) if rows and columns["Columns"][n]]
        self.names: list[str] = [columns["path"][n] for n in usable]
        self._uids = [columns["SOPInstanceUID"][n] for n in usable]
        self._values = {target: [columns[target][n] for n in usable] for target in self.targets}
        counts = np.array([(columns["NumberOfFrames"][n] or 1) if frames == "all" else 1 for n in usable], np.int64)
        self._ends = np.cumsum(np.maximum(counts, 1))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[int, int]:
        """(file, frame) of an item: numbers from 0 into `names` and of the frame. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no item {index} of {len(self)}")
        index = index % len(self)
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, index - (int(self._ends[file - 1]) if file else 0)

    def dataset(self, file: int) -> Dataset:
        """The DICOM data set of a file, by its number in `names`."""
        if self._store is None:
            return read(self.names[file])
        if self._opened is None or self._process != os.getpid():  # a worker opens its own
            self._opened, self._process = Store(self._store, read_only=True), os.getpid()
        return self._opened[self._uids[file]]

    def numpy(self, index: int) -> npt.NDArray[Any]:
        """The frame of an item as an array of its own, (samples, rows, columns)."""
        file, frame = self.place(index)
        ds = self.dataset(file)
        pixels: Any = ds.pixels(frame)
        if pixels.ndim == 3:
            return np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if not self.modality:
            return np.array(pixels[None])
        out = np.empty((1, *pixels.shape), np.float32)
        rescale_of(ds, self.names[file], frame, FunctionalGroups(ds)).into(pixels, out[0])
        return out

    def target(self, index: int) -> dict[str, Any]:
        """The target columns of an item."""
        file, _ = self.place(index)
        return {name: values[file] for name, values in self._values.items()}

    def __getitem__(self, index: int) -> Any:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                "a tensor needs torch: pip install dicore[torch] (dataset.numpy(n) is without)"
            ) from error
        array = self.numpy(index)
        if array.dtype in (np.uint16, np.uint32, np.uint64):  # torch computes with few of these
            array = array.astype({2: np.int32, 4: np.int64, 8: np.int64}[array.dtype.itemsize])
        tensor: Any = torch.from_numpy(array)
        if self.transform is not None:
            tensor = self.transform(tensor)
        if not self.targets:
            return tensor
        target: Any = self.target(index)
        return tensor, target if self.target_transform is None else self.target_transform(target)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None, "_process": 0}

    def __repr__(self) -> str:
        return f"<DicomDataset of {len(self)} frames in {len(self.names)} files>"
