"""Stores, which a native loop sends: what arrives is what was meant, however associations live and die."""

import asyncio

import pytest

import dicore
from dicore import loadtest
from dicore.loadtest.material import Source
from dicore.loadtest.scenario import Material
from dicore.net.tls import server_context

PLAN = """
duration = "{duration}"
ledger = "off"
grace = "{grace}"
[[stream]]
name = "s"
operation = "store"
timeout = "5s"
material = {{size = 32, slices = 4, series = 2}}
{load}
"""


class Keeping:
    """Keeps what comes, as a data set, with the association that it came by."""

    def __init__(self, status=lambda number: 0):
        self.status = status
        self.held = []
        self.bytes = 0

    def store(self, request, data):
        self.bytes += len(data)
        self.held.append(dicore.Dataset.from_bytes(bytes(data), transfer_syntax=request.transfer_syntax))
        assert self.held[-1].SOPInstanceUID == request.sop_instance_uid
        return self.status(len(self.held))


def measured(load, scp=None, duration="20s", grace="10s", **listening):
    scp = scp or Keeping()
    listening["grace"] = listening.pop("scp_grace", 10.0)

    async def main():
        async with dicore.listen(port=0, on_c_store=scp.store, **listening) as server:
            text = PLAN.format(load=load, duration=duration, grace=grace)
            result = await loadtest.run(loadtest.parse(text), f"SCP@127.0.0.1:{server.port}")
            return result, server.counters["associations"]

    result, associations = asyncio.run(main())
    return result.streams[0], scp.held, associations


@pytest.mark.parametrize(
    ("load", "associations"),
    [
        ("users = 1\ncount = 24", 1),
        ("users = 1\ncount = 24\nassociation = 'study'", 3),
        ("users = 1\ncount = 24\nassociation = 'series'", 6),
        ("users = 1\ncount = 24\nassociation = 'image'", 24),
        ("users = 1\ncount = 24\nwindow = 4", 1),
        ("associations = 1\narrivals = {rate = 200}\ncount = 24\nassociation = 'series'", 6),
    ],
)
def test_what_arrives_is_study_after_study_over_the_associations_asked_for(load, associations):
    duration = "1s" if "arrivals" in load else "20s"
    scp = Keeping()
    stream, held, made = measured(load, scp, duration=duration, window=4)
    assert (stream.operations, stream.errors) == (24, 0), stream.failures
    assert made == associations
    assert len({ds.SOPInstanceUID for ds in held}) == 24
    for number, study in enumerate(held[at : at + 8] for at in range(0, 24, 8)):
        assert len({ds.StudyInstanceUID for ds in study}) == 1
        assert len({ds.PatientID for ds in study}) == 1
        assert study[0].PatientID.endswith(f"-1000000{number}")
        assert [ds.SeriesNumber for ds in study] == [1] * 4 + [2] * 4
    assert stream.size == scp.bytes
    assert len(stream.phases["transfer"]) == len(stream.phases["answer"]) == 24
    assert len(stream.phases["connect"]) == len(stream.phases["negotiate"]) == associations


def test_stores_over_tls_have_its_handshake_apart(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    ca, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
    load = f"users = 2\ncount = 16\ntls = {{ca = '{ca}'}}"
    stream, held, _ = measured(load, tls=server_context(str(cert)))
    assert (stream.operations, stream.errors, len(held)) == (16, 0, 16)
    assert len(stream.phases["TLS"]) == 2
    untrusting = measured("users = 1\ncount = 2\ntls = true", tls=server_context(str(cert)))[0]
    assert untrusting.errors == 2
    assert "certificate" in untrusting.failures[0].samples[0]


def test_refused_stores_are_no_lost_associations():
    stream, held, made = measured("users = 1\ncount = 20", Keeping(lambda number: 0xA700 if number % 4 == 0 else 0))
    assert (stream.operations, stream.errors, len(held), made) == (20, 5, 20, 1)
    assert [(f.kind, f.detail, f.count) for f in stream.failures] == [("DIMSE status", "A700 out of resources", 5)]


def test_an_association_that_is_lost_is_one_error_and_made_again():
    async def serve(reader, writer):
        """A peer that hangs up amid the first message."""
        writer.write(await answer(reader))
        await writer.drain()
        await reader.readexactly(400)
        writer.transport.abort()

    async def answer(reader):
        head = await reader.readexactly(6)
        request = await reader.readexactly(int.from_bytes(head[2:6], "big"))
        items = request[68:]
        context = b"\x21\x00\x00\x1b\x01\x00\x00\x00\x40\x00\x00\x13" + b"1.2.840.10008.1.2.1"
        user = b"\x50\x00\x00\x08\x51\x00\x00\x04\x00\x00\x40\x00"
        name = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"
        assert items
        body = request[:68] + name + context + user
        return b"\x02\x00" + len(body).to_bytes(4, "big") + body

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        text = PLAN.format(load="users = 1\ncount = 3", duration="20s", grace="5s")
        async with server:
            return (await loadtest.run(loadtest.parse(text), f"SCP@127.0.0.1:{port}")).streams[0]

    stream = asyncio.run(main())
    assert (stream.operations, stream.errors, stream.started) == (3, 3, 3)
    assert {f.kind for f in stream.failures} == {"connection"}
    assert len(stream.phases["connect"]) == 3


def test_what_has_no_answer_at_the_end_is_a_time_out_and_what_never_began_is_counted():
    async def slow(request, data):
        await asyncio.sleep(30)
        return 0

    scp = Keeping()
    scp.store = slow
    load = "associations = 2\narrivals = {model = 'constant', rate = 20}\ncount = 10"
    stream, *_ = measured(load, scp, duration="1s", grace="300ms", scp_grace=0.1)
    assert (stream.intended, stream.operations, stream.errors) == (10, 10, 10)
    assert {f.detail: f.count for f in stream.failures} == {
        "no answer when the run ended": 2,
        "never began: no association came free": 8,
    }
    assert stream.response.largest < 3_000_000


def test_a_target_that_takes_no_such_class_is_an_error_of_each_operation():
    stream, held, _ = measured("users = 1\ncount = 3", sop_classes=["1.2.840.10008.1.1"])
    assert (stream.operations, stream.errors, held) == (3, 3, [])


def test_users_think_between_their_stores():
    stream, *_ = measured("users = 2\nthink = '200ms'", duration="1s")
    assert 6 <= stream.operations <= 12  # 10, on a box with time


def test_a_window_is_for_stores():
    with pytest.raises(loadtest.ScenarioError, match="window is for stores"):
        loadtest.parse(PLAN.format(load="users = 1\nwindow = 2", duration="1s", grace="1s").replace("store", "echo"))


def test_a_folder_of_files_is_a_pattern_with_new_identifiers(tmp_path):
    dicore.synth.write(tmp_path, 3, 1, modality="CT", slices=2, size=16)
    (tmp_path / "readme.txt").write_text("no DICOM")
    source = Source(Material(template=str(tmp_path)), "12345678-1234-5678-1234-567812345678", "1.1", 1)
    sent = [dicore.read(one.data(number)) for one, number in source.studies(2)]
    originals = [dicore.read(one.data) for one in dicore.synth.studies(3, 1, "CT", slices=2, size=16)]
    assert len(sent) == len({ds.SOPInstanceUID for ds in sent}) == 4
    assert {ds.InstitutionName for ds in sent} == {"TEST"}
    for ds, original in zip(sent, originals * 2, strict=True):
        assert ds["PixelData"].raw == original["PixelData"].raw
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            assert str(ds.get(keyword)) != str(original.get(keyword))
