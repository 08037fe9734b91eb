"""What an archive answers beside C-STORE and C-ECHO, put together from the handlers of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dicore.net import Address, Status
from dicore.server.query import EXTENDED, Finder, refuse
from dicore.server.retrieve import Retriever

if TYPE_CHECKING:
    from dicore.net.service import FindRequest, Handler, NormalizedRequest
    from dicore.server.commitment import Committer
    from dicore.server.mpps import Steps
    from dicore.server.worklist import Worklist
    from dicore.store import Store

__all__ = ["Services"]

COMMITMENT = "1.2.840.10008.1.20.1"
MPPS = "1.2.840.10008.3.1.2.3.3"
MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"
THREADS = 4


class Services:
    """The handlers for `dicore.listen`. `close` ends their threads."""

    def __init__(
        self,
        store: Store,
        *,
        ae_title: str,
        destinations: Mapping[str, str | Address] | None = None,
        worklist: Worklist | None = None,
        steps: Steps | None = None,
        committer: Committer | None = None,
    ) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dicore-query")
        self._find = Finder(store, ae_title, self._pool)
        self._retrieve = Retriever(store, self._pool)
        self.destinations = dict(destinations or {})
        self._worklist, self._steps, self._committer = worklist, steps, committer

    def options(self) -> dict[str, Any]:
        """What `listen` is given."""
        steps, committer = self._steps, self._committer
        return {
            "on_c_find": self._on_find,
            "on_c_get": self._retrieve,
            "on_c_move": self._retrieve,
            "on_n_create": self._of({} if steps is None else {MPPS: steps.create}),
            "on_n_set": self._of({} if steps is None else {MPPS: steps.change}),
            "on_n_get": self._of({} if steps is None else {MPPS: steps.get, MPPS_RETRIEVE: steps.get}),
            "on_n_action": self._of({} if committer is None else {COMMITMENT: committer.action}),
            "destinations": self.destinations,
            "extended": EXTENDED,
        }

    def close(self) -> None:
        self._retrieve.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _on_find(self, request: FindRequest) -> Any:
        if request.model == "worklist":
            if self._worklist is None:
                raise refuse(Status.SOP_CLASS_NOT_SUPPORTED, "no worklist is served here")
            return self._worklist(request, self._pool)
        return self._find(request)

    def _of(self, handlers: dict[str, Handler]) -> Handler | None:
        """One handler for the SOP classes that there is one for; None: there is none."""
        if not handlers:
            return None

        def handler(request: NormalizedRequest) -> Any:
            chosen = handlers.get(request.sop_class_uid)
            if chosen is None:
                return int(Status.NO_SUCH_SOP_CLASS)
            return chosen(request)

        return handler
