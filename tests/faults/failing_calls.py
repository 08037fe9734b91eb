"""A store beside a model, while system calls fail: python failing_calls.py STORE_DIR SEED OPERATIONS [CONTROL]

Every operation ends well or with an error of our tree. An operation that failed leaves either what was or what it
wanted; one that succeeded leaves what it said. At the end, when nothing fails any more, the store is opened, whole, and
holds for each instance one of the values that the model allows. Prints a line of JSON; status 0 when all held.
"""

from __future__ import annotations

import json
import logging
import random
import struct
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "store"))
from instances import CT, EXPLICIT, body, data_set  # noqa: E402

from dicore.errors import DicoreError  # noqa: E402
from dicore.store import Store  # noqa: E402

KINDS = 12
OURS = (DicoreError, OSError)


class Faults:
    def __init__(self, control: str | None) -> None:
        self._file = open(control, "r+b", buffering=0) if control else None  # noqa: SIM115 as long as the process

    def arm(self, one_in: int) -> None:
        if self._file:
            self._file.seek(0)
            self._file.write(struct.pack("<12i", *[one_in] * KINDS))


class Beside:
    def __init__(self, path: Path, seed: int, faults: Faults) -> None:
        self.chance, self.faults, self.path = random.Random(seed), faults, path
        self.policy = self.chance.choice(["keep-first", "replace"])
        self.durability = self.chance.choice(["durable", "durable", "relaxed"])
        self.allowed: dict[str, set[bytes | None]] = {f"1.2.826.{n}": {None} for n in range(1, 13)}
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.store = self.open()

    def open(self) -> Store:
        how = {"segment_size": 1 << 20, "duplicates": self.policy, "durability": self.durability}
        for _ in range(3):
            try:
                return Store(self.path, **how)
            except OURS as error:
                self.failed[f"open {type(error).__name__}"] += 1
        self.faults.arm(0)
        store = Store(self.path, **how)
        self.faults.arm(100)
        return store

    def step(self) -> None:
        name = self.chance.choice(list(self.allowed))
        what = self.chance.choices(
            ["append", "lane", "delete", "read", "find", "roll", "compact", "verify", "reopen"],
            [40, 5, 12, 20, 5, 3, 2, 2, 2],
        )[0]
        self.done[what] += 1
        try:
            getattr(self, what)(name)
        except OURS as error:
            self.failed[f"{what} {type(error).__name__}"] += 1
            if self.durability == "relaxed" and "reopen" in str(error):
                self.reopen(name)

    def _stored(self, name: str, data: bytes, sure: bool) -> None:
        was = self.allowed[name]
        if self.policy == "replace":
            self.allowed[name] = {data} if sure else was | {data}
        elif None in was:
            self.allowed[name] = (was - {None} if sure else was) | {data}

    def append(self, name: str, lane: bool = False) -> None:
        data = data_set(name, side=self.chance.choice([4, 64, 150]), seed=self.chance.randrange(4))
        try:
            if lane:
                flow = self.store.lane(CT, name, EXPLICIT)
                flow.write([data])
                flow.commit()
            else:
                self.store.append(CT, name, EXPLICIT, [data])
        except OURS:
            self._stored(name, data, sure=False)
            raise
        self._stored(name, data, sure=True)

    def lane(self, name: str) -> None:
        self.append(name, lane=True)

    def delete(self, name: str) -> None:
        try:
            self.store.delete_instances([(CT, name)])
        except OURS:
            self.allowed[name] = self.allowed[name] | {None}
            raise
        self.allowed[name] = {None}

    def read(self, name: str) -> None:
        try:
            found: bytes | None = body(self.store.record(name))
        except KeyError:
            found = None
        assert found in self.allowed[name], f"{name}: not what was stored"

    def find(self, name: str) -> None:
        self.store.find("IMAGE", SOPInstanceUID=name)

    def roll(self, name: str) -> None:
        self.store.roll()

    def compact(self, name: str) -> None:
        self.store.compact()

    def verify(self, name: str) -> None:
        self.store.verify()

    def reopen(self, name: str) -> None:
        try:
            self.store.close()
        finally:
            self.store = self.open()

    def end(self) -> None:
        self.faults.arm(0)
        self.store.close()
        with Store(self.path) as store:
            names = set(store)
            for name, values in self.allowed.items():
                found = body(store.record(name)) if name in names else None
                assert found in values, f"{name}: {'lost' if found is None else 'not what was stored'}"
            report = store.verify()
            assert report.ok, report.problems
            assert {row["SOPInstanceUID"] for row in store.find("IMAGE")} == names, "the index differs"


def main() -> None:
    path, seed, operations = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    faults = Faults(sys.argv[4] if len(sys.argv) > 4 else None)
    beside = Beside(path, seed, faults)
    faults.arm(100)
    for _ in range(operations):
        beside.step()
    beside.end()
    print(json.dumps({"done": beside.done, "failed": beside.failed, "policy": beside.policy, "how": beside.durability}))


if __name__ == "__main__":
    main()
