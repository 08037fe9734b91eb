"""A store that is kept busy until it is killed: python busy_store.py STORE_DIR SEED [OPERATIONS]

Four threads append, large instances by a lane too; a fifth deletes, rolls, compacts, fills the index and opens the
store anew. What is said on stdout, a line each: "A uid" appended and acknowledged, "d uid" about to be deleted, "D uid"
deleted. The bytes of an instance follow from its UID, `content`.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "store"))
from instances import CT, EXPLICIT, data_set  # noqa: E402

from dicore.store import Store  # noqa: E402


def content(uid: str) -> bytes:
    number = int(uid.rsplit(".", 1)[1])
    side = (4, 16, 64, 100, 180)[number % 5]
    return data_set(uid, side=side, seed=number % 97, StudyInstanceUID=f"1.2.{number % 11}")


class Busy:
    def __init__(self, path: Path, seed: int, operations: int) -> None:
        self.path, self.seed, self.left = path, seed, operations
        self.store = Store(path, segment_size=1 << 20)
        self.mine: list[str] = []
        self.gate = threading.Condition()  # nobody appends while the store is opened anew
        self.inside, self.closed = 0, False

    def say(self, what: str, uid: str) -> None:
        os.write(1, f"{what} {uid}\n".encode())

    def append(self, thread: int) -> None:
        chance = random.Random(self.seed * 10 + thread)
        while True:
            with self.gate:
                self.gate.wait_for(lambda: not self.closed)
                if self.left <= 0:
                    return
                self.left -= 1
                self.inside += 1
            uid = f"1.2.826.{self.seed}.{chance.getrandbits(48)}"
            data = content(uid)
            if chance.random() < 0.05:
                lane = self.store.lane(CT, uid, EXPLICIT)
                lane.write([data])
                lane.commit()
            else:
                self.store.append(CT, uid, EXPLICIT, [data])
            self.say("A", uid)
            with self.gate:
                self.mine.append(uid)
                self.inside -= 1
                self.gate.notify_all()

    def look_after(self) -> None:
        chance = random.Random(self.seed)
        while self.left > 0:
            what = chance.choice(["delete", "delete", "compact", "roll", "index", "reopen"])
            if what == "delete":
                with self.gate:
                    doomed = [self.mine.pop(chance.randrange(len(self.mine))) for _ in range(min(5, len(self.mine)))]
                for uid in doomed:
                    self.say("d", uid)
                self.store.delete_instances([(CT, uid) for uid in doomed])
                for uid in doomed:
                    self.say("D", uid)
            elif what == "compact":
                self.store.compact()
            elif what == "roll":
                self.store.roll()
            elif what == "index":
                self.store.sync_index()
            else:
                with self.gate:
                    self.closed = True
                    self.gate.wait_for(lambda: self.inside == 0)
                    self.store.close()
                    self.store = Store(self.path, segment_size=1 << 20)
                    self.closed = False
                    self.gate.notify_all()

    def or_die(self, what: Callable[..., None], *arguments: int) -> None:
        try:
            what(*arguments)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def run(self) -> None:
        threads = [threading.Thread(target=self.or_die, args=(self.append, n)) for n in range(4)]
        threads.append(threading.Thread(target=self.or_die, args=(self.look_after,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.store.close()


if __name__ == "__main__":
    Busy(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 60).run()
