"""TLS: both sides of it, certificates that are wrong, replaced, and who they let in; the record of an association."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from netcommon import Memory, ct, descriptors, part10, until, write_files

import dicore
import wire
from dicore.errors import AssociationRejected, ConnectionFailed
from dicore.net import AssociationRecord, Timeouts, connect, listen
from dicore.net.record import JsonLines
from dicore.net.tls import PROFILES, Certificate, client_context, server_context
from dicore.server import Access, serve


class Files:
    """A certificate authority, and PEM files of what it issues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)

    def issue(self, *names: str, common: str = "node", file: str = "node.pem", **options: Any) -> Path:
        path = self.folder / file
        self.authority.issue_cert(*names, common_name=common, **options).private_key_and_cert_chain_pem.write_to_path(
            path
        )
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_everything_goes_over_tls(run: Callable[..., Any], files: Files, tmp_path: Path) -> None:
    """Echo, store, a data set beyond all buffers, and the native sender; nothing is left open."""
    cert = files.issue("127.0.0.1", "localhost")
    folder = tmp_path / "in"
    folder.mkdir()
    made = write_files(folder, 20, 300_000)
    instance, data = ct(100, 12 << 20)
    sink = Memory()

    async def main() -> None:
        before = descriptors()
        ours = client_context(files.ca)
        async with listen(port=0, tls=server_context(cert), on_c_store=sink) as scp:
            async with connect(f"dicoms://DICORE@127.0.0.1:{scp.port}", tls=ours) as assoc:
                assert assoc.tls is not None
                assert assoc.tls[0] == "TLSv1.3"
                assert await assoc.c_echo() == 0
                assert await assoc.c_store(part10(instance, data)) == 0
            report = await dicore.send(folder, to=f"dicoms://DICORE@127.0.0.1:{scp.port}", associations=3, tls=ours)
            assert (report.sent, report.failed) == (20, 0), report.failures
            await until(lambda: scp.associations == 0)
        await until(lambda: descriptors() <= before)

    run(main())
    assert sink.stored == made | {instance: data}


def test_an_abort_arrives_through_tls(run: Callable[..., Any], files: Files) -> None:
    async def main() -> None:
        tls = server_context(files.issue("127.0.0.1"))
        async with listen(port=0, tls=tls) as scp:
            assoc = await connect(f"dicoms://DICORE@127.0.0.1:{scp.port}", tls=client_context(files.ca))
            assoc.abort()
            await until(lambda: scp.counters["aborted_by_peer"] == 1)

    run(main())


@pytest.mark.parametrize("profile", list(PROFILES))
def test_profiles(run: Callable[..., Any], files: Files, profile: str) -> None:
    async def main() -> None:
        tls = server_context(files.issue("127.0.0.1"), profile=profile)
        async with listen(port=0, tls=tls) as scp:
            where = f"dicoms://DICORE@127.0.0.1:{scp.port}"
            async with connect(where, tls=client_context(files.ca, profile=profile)) as assoc:
                assert await assoc.c_echo() == 0
            old = client_context(files.ca)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            if profile == "tls13":
                with pytest.raises(ConnectionFailed, match="no TLS connection"):
                    await connect(where, tls=old)
            else:
                old.set_ciphers("ECDHE+AESGCM")
                async with connect(where, tls=old) as assoc:
                    assert assoc.tls is not None
                    assert assoc.tls[0] == "TLSv1.2"
                    assert "GCM" in assoc.tls[1]
                weak = client_context(files.ca)
                weak.maximum_version = ssl.TLSVersion.TLSv1_2
                weak.set_ciphers("AES128-SHA256")  # no forward secrecy
                with pytest.raises(ConnectionFailed, match="no TLS connection"):
                    await connect(where, tls=weak)

    run(main())


def test_what_is_wrong_is_named(run: Callable[..., Any], files: Files, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other")
    expired = files.issue("127.0.0.1", file="old.pem", not_after=datetime.datetime(2020, 1, 1))
    good = files.issue("127.0.0.1", file="good.pem")
    elsewhere = files.issue("pacs.example", file="elsewhere.pem")

    async def refusal(cert: Path, ours: ssl.SSLContext) -> str:
        async with listen(port=0, tls=server_context(cert)) as scp:
            with pytest.raises(ConnectionFailed) as caught:
                await connect(f"dicoms://DICORE@127.0.0.1:{scp.port}", tls=ours)
            assert scp.counters["connections"] == 0
            return str(caught.value)

    async def main() -> None:
        before = descriptors()
        assert "unable to get local issuer certificate" in await refusal(good, client_context(other.ca))
        assert "expired" in await refusal(expired, client_context(files.ca))
        assert "IP address mismatch" in await refusal(elsewhere, client_context(files.ca))
        async with listen(port=0) as plain:  # which aborts what is no A-ASSOCIATE-RQ
            with pytest.raises(ConnectionFailed, match="no TLS connection"):
                await connect(f"dicoms://DICORE@127.0.0.1:{plain.port}", tls=client_context(files.ca))
        async with listen(port=0, tls=server_context(good)) as scp:
            with pytest.raises(ConnectionFailed):
                await connect(f"DICORE@127.0.0.1:{scp.port}")
            await until(lambda: scp.counters["tls_failures"] == 1)
        await until(lambda: descriptors() <= before)

    run(main())


def test_files_that_are_not_fit(files: Files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        server_context(tmp_path / "none.pem")
    with pytest.raises(ValueError, match=r"ca\.pem: no key"):
        server_context(files.ca)
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.pem: no certificates"):
        client_context(empty)
    with pytest.raises(ValueError, match="one of bcp195"):
        client_context(profile="ssl3")


def test_peers_without_a_certificate_are_refused(run: Callable[..., Any], files: Files) -> None:
    tls = server_context(files.issue("127.0.0.1"), ca=files.ca)
    ours = files.issue("modality.example", common="CT1", file="ct1.pem")
    records: list[AssociationRecord] = []

    async def main() -> None:
        async with listen(port=0, tls=tls, on_audit=records.append) as scp:
            where = f"dicoms://DICORE@127.0.0.1:{scp.port}"
            with pytest.raises(ConnectionFailed, match=r"certificate|broke"):
                await connect(where, tls=client_context(files.ca))
            async with connect(where, tls=client_context(files.ca, ours)) as assoc:
                assert await assoc.c_echo() == 0
            await until(lambda: len(records) == 1)

    run(main())
    assert (records[0].certificate, records[0].tls, records[0].echoes) == ("CT1", "TLSv1.3", 1)


def test_who_may_come_by_certificate(run: Callable[..., Any], files: Files, tmp_path: Path) -> None:
    tls = server_context(files.issue("127.0.0.1"), ca=files.ca)
    ct1 = files.issue("ct1.example", common="CT1", file="ct1.pem")
    mr1 = files.issue("mr1.example", common="MR1", file="mr1.pem")

    async def main() -> None:
        for rule in ("CN=CT1", "DNS:ct1.example"):
            access = Access.of(certificates=[rule])
            with dicore.Store(tmp_path / "store", durability="relaxed") as store:
                async with serve(store, port=0, tls=tls, access=access) as server:
                    assert server.driver == "asyncio"
                    where = f"dicoms://CT1@127.0.0.1:{server.port}"
                    async with connect(where, calling="WHOEVER", tls=client_context(files.ca, ct1)) as assoc:
                        assert await assoc.c_echo() == 0
                    with pytest.raises(AssociationRejected):
                        await connect(where, calling="CT1", tls=client_context(files.ca, mr1))  # a title is a label

    run(main())
    with pytest.raises(ValueError, match="write CN=name"):
        Access.of(certificates=["CT1"])


def test_rules_name_a_certificate() -> None:
    shown = Certificate("CT1", frozenset({"CN=CT1", "DNS:ct1", "sha256:00ff"}), "")
    assert shown.matches("CN=CT1")
    assert shown.matches("sha256:00:FF")
    assert not shown.matches("CN=CT")
    assert not shown.matches("sha256:00fe")


def test_certificates_are_replaced_under_open_associations(
    run: Callable[..., Any], files: Files, tmp_path: Path
) -> None:
    """New ones from the next association on, for the trusted authorities too; unfit files change nothing."""
    cert = files.issue("127.0.0.1", file="server.pem")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(files.ca.read_bytes())
    ours = files.issue("a.example", file="a.pem")
    (tmp_path / "next").mkdir()
    after = Files(tmp_path / "next")

    async def main() -> None:
        async with listen(port=0, tls=server_context(cert, ca=trusted)) as scp:
            where = f"dicoms://DICORE@127.0.0.1:{scp.port}"
            async with connect(where, tls=client_context(files.ca, ours)) as old:
                whole = cert.read_bytes()
                cert.write_bytes(b"half of it")
                with pytest.raises(ValueError, match=r"server\.pem"):
                    scp.reload_tls()
                async with connect(where, tls=client_context(files.ca, ours)) as still:
                    assert await still.c_echo() == 0
                cert.write_bytes(after.issue("127.0.0.1").read_bytes())
                trusted.write_bytes(after.ca.read_bytes())
                scp.reload_tls()
                assert await old.c_echo() == 0
                with pytest.raises(ConnectionFailed, match="not valid"):
                    await connect(where, tls=client_context(files.ca, ours))
                with pytest.raises(ConnectionFailed):  # their certificate is of the authority that is gone
                    await connect(where, tls=client_context(after.ca, ours))
                async with connect(where, tls=client_context(after.ca, after.issue("b.example", file="b.pem"))) as new:
                    assert await new.c_echo() == 0
                assert await old.c_echo() == 0
                assert whole != cert.read_bytes()
        async with listen(port=0) as plain:
            with pytest.raises(ValueError, match="nothing to reload"):
                plain.reload_tls()

    run(main())


def test_a_handshake_that_stands_still_is_ended(run: Callable[..., Any], files: Files) -> None:
    async def main() -> None:
        tls = server_context(files.issue("127.0.0.1"))
        async with listen(port=0, tls=tls, timeouts=Timeouts(artim=0.2)) as scp:
            reader, writer = await asyncio.open_connection("127.0.0.1", scp.port)
            writer.write(b"\x16\x03\x01")
            assert await reader.read() == b""
            writer.close()
            async with connect(f"dicoms://X@127.0.0.1:{scp.port}", tls=client_context(files.ca)) as assoc:
                assert await assoc.c_echo() == 0

    run(main())


def test_a_client_does_not_wait_for_ever_for_a_handshake(run: Callable[..., Any], files: Files) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with pytest.raises(ConnectionFailed, match="no TLS connection"):
                await connect(
                    f"dicoms://X@127.0.0.1:{port}", tls=client_context(files.ca), timeouts=Timeouts(connect=0.2)
                )

    run(main())


def test_the_record_of_an_association(run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """One line, one record, the same as JSON; an audit that fails costs nothing."""
    caplog.set_level(logging.INFO, "dicore.net")
    records: list[AssociationRecord] = []

    def audit(record: AssociationRecord) -> None:
        records.append(record)
        raise RuntimeError("full")

    async def main() -> None:
        async with listen(port=0, on_c_store=Memory(), on_audit=audit) as scp:
            async with connect(f"DICORE@127.0.0.1:{scp.port}", calling="ME") as assoc:
                await assoc.c_echo()
                await assoc.c_store(part10(*ct(1)))
            await until(lambda: len(records) == 1)
            with wire.connect(scp.port) as evil:
                evil.sendall(wire.associate_rq(calling=b"EVIL\r\n\x1b[31m"))
                await asyncio.to_thread(wire.receive_pdu, evil)
            await until(lambda: len(records) == 2)

    run(main())
    first, second = records
    assert (first.calling_ae, first.called_ae, first.stores, first.echoes, first.ended) == (
        "ME", "DICORE", 1, 1, "released",
    )  # fmt: skip
    assert first.contexts
    assert "\x1b" not in second.calling_ae
    about = [one for one in caplog.records if hasattr(one, "association")]
    line = json.loads(JsonLines().format(about[0]))
    assert line["association"]["calling_ae"] == "ME"
    assert line["association"]["stored_bytes"] == first.stored_bytes
    assert "\n" not in JsonLines().format(about[1])


@pytest.mark.parametrize("how", ["closed", "reset", "plain", "slow"])
def test_every_handshake_that_fails_is_counted(run: Callable[..., Any], files: Files, how: str) -> None:
    async def main() -> None:
        tls = server_context(files.issue("127.0.0.1"))
        async with listen(port=0, tls=tls, timeouts=Timeouts(artim=0.2)) as scp:
            with wire.connect(scp.port) as evil:
                evil.sendall(wire.associate_rq() if how == "plain" else b"\x16\x03\x01")
                if how == "reset":
                    evil.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if how in ("plain", "slow"):
                    await until(lambda: scp.counters["tls_failures"] == 1)
            await until(lambda: scp.counters["tls_failures"] == 1)
            assert scp.counters["connections"] == 0
            async with connect(f"dicoms://X@127.0.0.1:{scp.port}", tls=client_context(files.ca)) as assoc:
                assert await assoc.c_echo() == 0
            assert scp.counters["tls_failures"] == 1

    run(main())


def test_a_window_and_streams_over_tls(run: Callable[..., Any], files: Files, tmp_path: Path) -> None:
    """Eight messages at a time, two of them long enough to be streamed: in order, whole."""
    instances = dict(ct(number, 12 << 20 if number in (3, 9) else 50_000) for number in range(12))

    async def main() -> None:
        sink = Memory()
        tls = server_context(files.issue("127.0.0.1"))
        async with (
            listen(port=0, tls=tls, on_c_store=sink, window=8) as scp,
            connect(f"dicoms://X@127.0.0.1:{scp.port}", tls=client_context(files.ca), window=8) as assoc,
        ):
            assert assoc.window == 8
            stores = [assoc.c_store(part10(name, data)) for name, data in instances.items()]
            assert await asyncio.gather(*stores, assoc.c_echo()) == [0] * 13
            assert scp.counters["streamed"] == 2
        assert sink.stored == instances
        folder = tmp_path / "files"
        folder.mkdir()
        for number, (name, data) in enumerate(instances.items()):
            (folder / f"{number}.dcm").write_bytes(part10(name, data))
        sink.stored.clear()
        async with listen(port=0, tls=tls, on_c_store=sink, window=4) as scp:
            report = await dicore.send(
                [folder], to=f"dicoms://X@127.0.0.1:{scp.port}", tls=client_context(files.ca), window=4, associations=2
            )
            assert (report.sent, report.failures) == (12, [])
        assert sink.stored == instances

    run(main())
