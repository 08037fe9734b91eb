"""The instance store: a folder of append-only segments, an index beside it. `Store` is all there is to know."""

from dicore.store.store import AddReport, Lane, Problem, Store, VerifyReport

__all__ = ["AddReport", "Lane", "Problem", "Store", "VerifyReport"]
