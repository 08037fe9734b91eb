"""`dicore echo --probe`: what a peer accepts, found out by asking it."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any

from dicore.cli.output import escape, show, show_json, show_table

if TYPE_CHECKING:
    from dicore.net import Address, Capture, Timeouts

_RESULTS = {
    1: "user rejection",
    2: "no reason",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}
_STALL_MS = 30.0  # an answer that takes longer than twenty times the fastest, and this, is held back by somebody


async def probe(
    target: Address,
    calling: str,
    timeouts: Timeouts,
    as_json: bool,
    tls: ssl.SSLContext | None = None,
    wire: Capture | None = None,
) -> None:
    """Propose everything in batches of 128 contexts, and time echoes in pairs."""
    from dicore import uid
    from dicore.errors import NetworkError
    from dicore.net import connect
    from dicore.net.client import default_contexts
    from dicore.net.service import is_storage

    services = [one for one, _ in default_contexts() if not is_storage(one)]
    storage = [one for one, _ in default_contexts() if is_storage(one)]
    syntaxes = [one for one in uid.TRANSFER_SYNTAXES if not one.startswith("1.2.840.10008.1.2.7.")]
    wanted = [(one, (syntax,)) for one in services for syntax in (uid.EXPLICIT_LITTLE, uid.IMPLICIT_LITTLE)]
    wanted += [(one, (syntax,)) for syntax in syntaxes for one in storage]

    found: dict[str, Any] = {"peer": str(target), "accepted": {}, "refused": {}}
    accepted: dict[str, list[str]] = found["accepted"]
    for start in range(0, len(wanted), 128):
        batch = wanted[start : start + 128]
        roles = {one: (True, True) for one, _ in batch if is_storage(one)} if start == 0 else {}
        begun = time.perf_counter()
        async with connect(
            target,
            tls=tls,
            calling=calling,
            contexts=batch,
            window=8 if start == 0 else 1,
            roles=roles,
            timeouts=timeouts,
            wire=wire,
        ) as association:
            if start == 0:
                found["associate_ms"] = round((time.perf_counter() - begun) * 1e3, 3)
                found["implementation_class_uid"], found["implementation_version"] = association.implementation
                found["max_pdu"] = association.peer_max_length
                found["window"] = association.window
                found.update(await _echoes(association))
            for one, syntax in association.contexts:
                accepted.setdefault(one, []).append(syntax)
            for (one, _), result in association.refused.items():
                found["refused"].setdefault(one, _RESULTS.get(result, f"result {result}"))
    for one in accepted:
        found["refused"].pop(one, None)

    try:  # the peer is to be SCP's user: does it grant the role that a C-GET needs?
        first = next((one for one in accepted if is_storage(one)), storage[0])
        async with connect(
            target,
            tls=tls,
            calling=calling,
            contexts=[first],
            roles={first: (True, True)},
            timeouts=timeouts,
            wire=wire,
        ) as association:
            found["grants_scp_role"] = association.roles.get(first, (True, False))[1]
    except NetworkError as error:
        found["grants_scp_role"] = False
        found["role_error"] = str(error)

    quirks = []
    if found["stall_ms"] is not None:
        quirks.append(f"answers are held back for {found['stall_ms']:.0f} ms: Nagle's algorithm is on at the peer")
    if 0 < found["max_pdu"] < 16384:
        quirks.append(f"PDUs of {found['max_pdu']} bytes only")
    found["quirks"] = quirks
    if as_json:
        show_json(found)
        return
    version = escape(found["implementation_version"])
    show(f"{target}: {version or 'no version name'} ({escape(found['implementation_class_uid'])})")
    show(f"associated in {found['associate_ms']:.1f} ms; echo {found['echo_ms']:.2f} ms; PDU limit {found['max_pdu']}")
    show(f"operations at a time: {found['window']}; role for C-GET: {'yes' if found['grants_scp_role'] else 'no'}")
    for quirk in quirks:
        show(f"quirk: {quirk}")
    everything = len(syntaxes)
    rows = []
    for one, taken in accepted.items():
        names = "all" if len(taken) == everything else ", ".join(uid.name(syntax) for syntax in taken)
        rows.append((uid.name(one), len(taken), names))
    show_table(("accepted SOP class", "syntaxes", "transfer syntaxes"), rows, right=(1,))
    refused = [(uid.name(one), why) for one, why in found["refused"].items()]
    if refused:
        show_table(("refused SOP class", "why"), refused)


async def _echoes(association: Any) -> dict[str, Any]:
    """The time of an echo, and whether a second answer waits for our ACK of the first (two are asked for at once)."""
    from dicore import uid

    if not any(one == uid.VERIFICATION for one, _ in association.contexts):
        return {"echo_ms": 0.0, "stall_ms": None}
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        await association.c_echo()
        times.append((time.perf_counter() - begun) * 1e3)
    times.sort()
    slow = times[len(times) // 2]
    stalls = slow > _STALL_MS and slow > 20 * times[0]
    return {"echo_ms": round(slow, 3), "stall_ms": round(slow, 1) if stalls or 35 < slow < 60 else None}
