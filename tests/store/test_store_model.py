"""The store beside a dict: whatever is done to both, they hold the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from instances import CT, EXPLICIT, body, data_set

from dicore.store import Store

UIDS = [f"1.2.826.{n}" for n in range(1, 9)]


class StoreBesideDict(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(["keep-first", "replace"]), durability=st.sampled_from(["durable", "relaxed"]))
    def begin(self, policy, durability):
        self.folder = Path(tempfile.mkdtemp(prefix="dicore-model-"))
        self.how = {"duplicates": policy, "durability": durability, "segment_size": 1 << 20}
        self.store = Store(self.folder / "s", **self.how)
        self.model: dict[str, bytes] = {}

    @rule(uid=st.sampled_from(UIDS), seed=st.integers(0, 3), side=st.sampled_from([4, 64]))
    def append(self, uid, seed, side):
        data = data_set(uid, side=side, seed=seed, StudyInstanceUID=f"1.2.{int(uid[-1]) % 3}")
        self.store.append(CT, uid, EXPLICIT, [data])
        if self.how["duplicates"] == "replace" or uid not in self.model:
            self.model[uid] = data

    @rule(uid=st.sampled_from(UIDS), seed=st.integers(0, 3))
    def lane(self, uid, seed):
        data = data_set(uid, side=16, seed=seed, StudyInstanceUID=f"1.2.{int(uid[-1]) % 3}")
        lane = self.store.lane(CT, uid, EXPLICIT)
        lane.write([data])
        lane.commit()
        if self.how["duplicates"] == "replace" or uid not in self.model:
            self.model[uid] = data

    @rule(uid=st.sampled_from(UIDS))
    def delete(self, uid):
        assert self.store.delete_instances([(CT, uid)]) == (uid in self.model)
        self.model.pop(uid, None)

    @rule(study=st.integers(0, 2))
    def delete_study(self, study):
        gone = [uid for uid in self.model if int(uid[-1]) % 3 == study]
        assert self.store.delete(StudyInstanceUID=f"1.2.{study}") == len(gone)
        for uid in gone:
            del self.model[uid]

    @rule()
    def compact(self):
        assert self.store.compact().kept == []

    @rule()
    def roll(self):
        self.store.roll()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store(self.folder / "s", **self.how)

    @precondition(lambda self: self.how["durability"] == "durable")
    @rule()
    def die(self):
        """What a SIGKILL leaves: the files as they are now, under locks that nobody holds any more."""
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "s", copy)
        self.store.close()
        shutil.rmtree(self.folder / "s")
        copy.rename(self.folder / "s")
        self.store = Store(self.folder / "s", **self.how)

    @rule()
    def find(self):
        assert {row["SOPInstanceUID"] for row in self.store.find("IMAGE")} == self.model.keys()

    @invariant()
    def both_hold_the_same(self):
        if hasattr(self, "store"):
            assert len(self.store) == len(self.model)
            assert {uid: body(file) for uid, file in self.store.scan_source()} == self.model

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


TestStoreBesideDict = StoreBesideDict.TestCase
TestStoreBesideDict.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
