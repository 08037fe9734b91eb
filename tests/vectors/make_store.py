"""Makes tests/vectors/store-1.tar.xz: a small store of format version 1 as the released dicore writes it. Run it once
for a new version of the format, under a new name; what it made stays."""

import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "store"))
from instances import CT, EXPLICIT, data_set  # noqa: E402

from dicore.store import Store  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with Store(path, segment_size=1 << 20, duplicates="replace") as store:
            for n in range(8):
                name = f"1.2.826.{n}"
                store.append(CT, name, EXPLICIT, [data_set(name, seed=n, StudyInstanceUID=f"1.2.{n % 2}")])
                if n == 5:
                    store.roll()
            store.append(CT, "1.2.826.1", EXPLICIT, [data_set("1.2.826.1", seed=99, StudyInstanceUID="1.2.1")])
            store.delete_instances([(CT, "1.2.826.2"), (CT, "1.2.826.7")])
            name = "1.2.826.8"
            lane = store.lane(CT, name, EXPLICIT)
            lane.write([data_set(name, seed=8, StudyInstanceUID="1.2.0")])
            lane.commit()
            store.sync_index()
        (path / "reserve").unlink(missing_ok=True)
        with tarfile.open(HERE / "store-1.tar.xz", "w:xz") as archive:
            archive.add(path, "store")


if __name__ == "__main__":
    main()
