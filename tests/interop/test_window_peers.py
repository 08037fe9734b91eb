"""The asynchronous operations window (PS3.7 D.3.3.3) with pynetdicom, in both roles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import dicore
from conftest import run_on
from dicore.net import FindRequest

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def test_pynetdicom_grants_one_query_at_a_time_and_we_keep_to_it() -> None:
    pynetdicom = pytest.importorskip("pynetdicom")
    from pydicom import Dataset as Theirs

    offered: list[tuple[int, int]] = []

    def window(event: Any) -> tuple[int, int]:
        offered.append((event.nr_invoked, event.nr_performed))
        return 3, 1

    def find(event: Any) -> Iterator[Any]:
        for number in range(4):
            answer = Theirs()
            answer.PatientID = f"{event.identifier.PatientName}-{number}"
            yield 0xFF00, answer

    ae = pynetdicom.AE("PYNET")
    ae.add_supported_context(FIND)
    handlers = [(pynetdicom.evt.EVT_C_FIND, find), (pynetdicom.evt.EVT_ASYNC_OPS, window)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    async def main() -> None:
        port = server.socket.getsockname()[1]
        async with dicore.connect(f"PYNET@127.0.0.1:{port}", contexts=[FIND], window=5) as assoc:
            assert assoc.window == 1  # whatever its handler says, it grants one; we keep to that

            async def ask(name: str) -> list[str]:
                return [ds.PatientID async for ds in assoc.c_find(level="STUDY", PatientName=name)]

            found = await asyncio.gather(*(ask(name) for name in "ABCDE"))
        assert found == [[f"{name}-{number}" for number in range(4)] for name in "ABCDE"]
        assert offered == [(5, 5)]

    try:
        run_on("asyncio", main())
    finally:
        server.shutdown()


def test_pynetdicom_asks_three_things_at_a_time() -> None:
    pynetdicom = pytest.importorskip("pynetdicom")
    from io import BytesIO

    from pydicom import Dataset as Theirs
    from pynetdicom.dimse_primitives import C_FIND
    from pynetdicom.dsutils import encode
    from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

    gate = asyncio.Event()
    under_way = 0

    async def find(request: FindRequest) -> AsyncIterator[dict[str, Any]]:
        nonlocal under_way
        under_way += 1
        if under_way == 3:
            gate.set()
        await gate.wait()  # all three are here at once
        yield {"PatientID": str(request.identifier["PatientName"].value)}

    def ask(port: int) -> dict[int, list[int]]:
        item = AsynchronousOperationsWindowNegotiation()
        item.maximum_number_operations_invoked, item.maximum_number_operations_performed = 3, 1
        ae = pynetdicom.AE("PYNET")
        ae.add_requested_context(FIND)
        assoc = ae.associate("127.0.0.1", port, ext_neg=[item])
        assert assoc.is_established
        assert assoc.acceptor.asynchronous_operations == (3, 1)
        context = assoc.accepted_contexts[0]
        syntax = context.transfer_syntax[0]
        assoc._reactor_checkpoint.clear()  # as its own send_ methods do
        for number in (7, 8, 9):
            keys = Theirs()
            keys.QueryRetrieveLevel, keys.PatientName = "STUDY", f"N{number}"
            request = C_FIND()
            request.MessageID, request.AffectedSOPClassUID, request.Priority = number, FIND, 2
            request.Identifier = BytesIO(encode(keys, syntax.is_implicit_VR, syntax.is_little_endian))
            assoc.dimse.send_msg(request, context.context_id)
        answers: dict[int, list[int]] = {7: [], 8: [], 9: []}
        while not all(answers[number][-1:] == [0] for number in answers):
            _, answer = assoc.dimse.get_msg(block=True)
            answers[answer.MessageIDBeingRespondedTo].append(answer.Status)
        assoc._reactor_checkpoint.set()
        assoc.release()
        return answers

    async def main() -> None:
        async with dicore.listen(port=0, on_c_find=find, window=4) as scp:
            answers = await asyncio.get_running_loop().run_in_executor(None, ask, scp.port)
        assert answers == {7: [0xFF00, 0], 8: [0xFF00, 0], 9: [0xFF00, 0]}

    run_on("asyncio", main())
