"""Storage commitment (PS3.4 annex J): waiting for the report, on the same association or a new one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from dicore.errors import NetworkTimeout
from dicore.net.status import Status

if TYPE_CHECKING:
    from dicore.dataset import Dataset
    from dicore.net.service import NormalizedRequest

__all__ = ["CommitmentResult", "Commitments"]


class CommitmentResult(NamedTuple):
    """What the peer has committed to: `committed` are (SOP class, SOP instance), `failed` has a reason each (PS3.3
    C.14, Failure Reason)."""

    transaction: str
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]


class Commitments:
    """Takes storage commitment reports: a listener's `on_n_event_report=`. `request_commitment` waits on it.

    A report on a transaction that nobody waits for is answered with 0112 (no such object), and an event that is none
    of the two with 0113."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[CommitmentResult]] = {}
        self._forward: dict[str, Commitments] = {}

    def expect(self, transaction: str) -> None:
        """A report on this transaction will come."""
        self._waiting[transaction] = asyncio.get_running_loop().create_future()

    def forward(self, transaction: str, to: Commitments) -> None:
        """Hand its report on to another one."""
        self._forward[transaction] = to

    def forget(self, transaction: str) -> None:
        """Nobody waits for it any more."""
        future = self._waiting.pop(transaction, None)
        if future is not None and not future.done():
            future.cancel()
        self._forward.pop(transaction, None)

    async def result(
        self,
        transaction: str,
        timeout: float | None,  # noqa: ASYNC109 (raises ours)
        *,
        peer: str = "",
    ) -> CommitmentResult:
        """Wait for the report of an expected transaction. Raises NetworkTimeout."""
        try:
            async with asyncio.timeout(timeout):
                return await self._waiting[transaction]
        except TimeoutError:
            raise NetworkTimeout(f"no storage commitment report within {timeout:g} s", peer=peer) from None

    def __call__(self, request: NormalizedRequest) -> int:
        """The handler: the status to answer."""
        dataset = request.dataset
        if request.event_type not in (1, 2):
            return Status.NO_SUCH_EVENT_TYPE
        if dataset is None:
            return Status.MISSING_ATTRIBUTE
        transaction = str(dataset.get("TransactionUID") or "")
        if transaction in self._forward:
            return self._forward[transaction](request)
        future = self._waiting.get(transaction)
        if future is None or future.done():
            return Status.NO_SUCH_SOP_INSTANCE
        future.set_result(
            CommitmentResult(
                transaction,
                tuple((a, b) for a, b, _ in _references(dataset, "ReferencedSOPSequence")),
                tuple(_references(dataset, "FailedSOPSequence")),
            )
        )
        return Status.SUCCESS


def _references(dataset: Dataset, sequence: str) -> list[tuple[str, str, int]]:
    found = []
    for item in dataset.get(sequence) or ():
        found.append(
            (
                str(item.get("ReferencedSOPClassUID") or ""),
                str(item.get("ReferencedSOPInstanceUID") or ""),
                int(item.get("FailureReason") or 0),
            )
        )
    return found
