"""SIGHUP to a real `dicore serve --config`: what follows at once, and what lives on; TLS to destinations; the unit."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import dicore
from conftest import ROOT, Served, Serving, absent
from dicore import synth
from dicore.errors import AssociationRejected, ConnectionFailed, DimseError
from dicore.net.tls import client_context, server_context

Run = Callable[..., Any]


class Authority:
    def __init__(self, folder: Path, name: str) -> None:
        self.ca = folder / f"{name}-ca.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, path: Path, common: str = "node") -> Path:
        self._ca.issue_cert("127.0.0.1", common_name=common).private_key_and_cert_chain_pem.write_to_path(path)
        return path


async def said(server: Served, text: str) -> None:
    """Wait until the server has said it on stderr."""
    while text not in server.log.read_text():  # noqa: ASYNC110 a file sets no event
        await asyncio.sleep(0.01)


async def hang_up(server: Served) -> None:
    before = server.log.read_text().count("is read again")
    server.process.send_signal(signal.SIGHUP)
    while server.log.read_text().count("is read again") == before:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_callers_and_destinations_follow_and_open_associations_live(
    run: Run, serve: Serving, driver: str, tmp_path: Path
) -> None:
    config = tmp_path / "server.toml"

    def write(callers: str, more: str = "") -> None:
        config.write_text(f'[server]\nstore = "{tmp_path / "store"}"\nallow_ae = [{callers}]\n{more}')

    write('"CT1"')
    server = serve(None, "--config", str(config))
    instance = next(iter(synth.studies(1, 1, slices=1, size=32)))

    async def main() -> None:
        with dicore.Store(tmp_path / "there", durability="relaxed") as there:
            async with (
                dicore.serve(there, port=0, ae_title="THERE") as target,
                dicore.connect(server.address, calling="CT1") as open_before,
            ):
                assert await open_before.c_store(instance.data) == 0
                with pytest.raises(AssociationRejected):
                    await dicore.connect(server.address, calling="CT2")
                write('"CT2"', f'[destinations]\nTHERE = "127.0.0.1:{target.port}"\n')
                await hang_up(server)
                with pytest.raises(AssociationRejected):
                    await dicore.connect(server.address, calling="CT1")
                with pytest.raises(AssociationRejected):  # one that the engine serves itself
                    await dicore.connect(server.address, calling="CT1", contexts=["1.2.840.10008.1.1"])
                assert await open_before.c_echo() == 0
                async with dicore.connect(server.address, calling="CT2") as assoc:
                    keys = {"StudyInstanceUID": (await anext(aiter(assoc.c_find(level="STUDY")))).StudyInstanceUID}
                    last = [one async for one in assoc.c_move(destination="THERE", **keys)][-1]
                    assert (last.status, last.completed) == (0, 1)
                config.write_text("[server]\nport = 'x'")
                server.process.send_signal(signal.SIGHUP)
                await said(server, "is not taken")
                async with dicore.connect(server.address, calling="CT2") as assoc:
                    assert await assoc.c_echo() == 0
                assert await open_before.c_echo() == 0

    run(main())
    assert server.stop() == 0


def test_certificates_follow_and_open_associations_live(run: Run, tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    mine, config = tmp_path / "node.pem", tmp_path / "server.toml"
    first.issue(mine)
    config.write_text(
        f'[server]\nstore = "{tmp_path / "store"}"\ntls_cert = "{mine}"\ntls_ca = "{first.ca}"\n'
        'allow_cert = ["CN=ct1"]\n'
    )
    ours, other = first.issue(tmp_path / "ct1.pem", "ct1"), first.issue(tmp_path / "ct2.pem", "ct2")
    serving = Serving(tmp_path)

    async def main(server: Served) -> None:
        where = f"dicoms://X@127.0.0.1:{server.port}"
        old, new = (client_context(one.ca, ours) for one in (first, second))
        async with dicore.connect(where, tls=old) as open_before:
            with pytest.raises(AssociationRejected):
                await dicore.connect(where, tls=client_context(first.ca, other))
            second.issue(mine)
            await hang_up(server)
            async with dicore.connect(where, tls=new) as assoc:
                assert await assoc.c_echo() == 0
            with pytest.raises(ConnectionFailed, match="not valid"):
                await dicore.connect(where, tls=old)
            assert await open_before.c_echo() == 0
            mine.write_text("nothing")
            server.process.send_signal(signal.SIGHUP)
            await said(server, "the certificates stay as they were")
            async with dicore.connect(where, tls=new) as assoc:
                assert await assoc.c_echo() == 0

    server = serving(None, "--config", str(config))
    try:
        run(main(server))
        assert server.stop() == 0
    finally:
        server.kill()
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.mark.parametrize("by", ["line", "file"])
def test_c_move_to_a_destination_that_wants_a_certificate(
    run: Run, serve: Serving, driver: str, tmp_path: Path, by: str
) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    theirs, ours = authority.issue(tmp_path / "there.pem"), authority.issue(tmp_path / "here.pem")
    foreign = stranger.issue(tmp_path / "stranger.pem")
    instances = list(synth.studies(1, 1, slices=3, size=32))

    async def moved(there: dicore.Store, port: int, cert: Path) -> Any:
        where = f"dicoms://127.0.0.1:{port}"
        if by == "line":
            tls = ["--destination-tls-ca", str(authority.ca), "--destination-tls-cert", str(cert)]
            server = await asyncio.to_thread(serve, None, "--destination", f"THERE={where}", *tls)
        else:
            config = tmp_path / "server.toml"
            config.write_text(
                f'[server]\nstore = "{tmp_path / "store"}"\n[destinations]\nTHERE = "{where}"\n'
                f'[destination_tls]\nca = "{authority.ca}"\ncert = "{cert}"\n'
            )
            server = await asyncio.to_thread(serve, None, "--config", str(config))
        async with dicore.connect(server.address) as assoc:
            for one in instances:
                assert await assoc.c_store(one.data) == 0
            study = (await anext(aiter(assoc.c_find(level="STUDY")))).StudyInstanceUID
            last = [one async for one in assoc.c_move(destination="THERE", StudyInstanceUID=study)][-1]
        assert await asyncio.to_thread(server.stop) == 0
        return last

    async def main() -> None:
        with dicore.Store(tmp_path / "there", durability="relaxed") as there:
            secure = server_context(theirs, ca=authority.ca)
            async with dicore.serve(there, port=0, ae_title="THERE", tls=secure) as target:
                last = await moved(there, target.port, ours)
                assert (last.status, last.completed) == (0, 3)
                assert set(there) == {one.sop_instance_uid for one in instances}
                with pytest.raises(DimseError) as caught:
                    await moved(there, target.port, foreign)
                assert caught.value.status == 0xA702

    run(main())


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        absent("systemd-analyze is not installed")
    unit = tmp_path / "dicore.service"
    text = (ROOT / "contrib" / "dicore.service").read_text()
    lines = [
        f"ExecStart={shutil.which('true')}" if line.startswith("ExecStart=") else line for line in text.splitlines()
    ]
    unit.write_text("\n".join(lines))  # the program itself need not be installed
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert "dicore.service" not in done.stderr, done.stderr
