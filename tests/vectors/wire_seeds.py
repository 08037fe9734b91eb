"""Where the fuzzers of the wire begin: pynetdicom's vectors and conversations of our own, in the form that each target
reads.

`python tests/vectors/wire_seeds.py` writes them as `seed_*` into csrc/tests/fuzz/finds/<target>/.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FINDS = TESTS.parent / "csrc" / "tests" / "fuzz" / "finds"
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

import wire  # noqa: E402


def vectors(name: str) -> dict[str, bytes]:
    """The messages that pynetdicom carries in its tests."""
    module = importlib.import_module(f"pynetdicom.tests.{name}")
    return {key: value for key, value in vars(module).items() if isinstance(value, bytes)}


def cuts(*sizes: int) -> bytes:
    return bytes([len(sizes), *sizes])


def conversation() -> dict[str, bytes]:
    """What a requestor may say on an association with the contexts 1, 3 and 5."""
    instance = wire.instance_uid(1)
    store, data = wire.store_rq(instance), wire.ct_data_set(instance, side=4)
    echo = wire.data_pdu(1, wire.echo_rq(), command=True)
    whole = wire.data_pdu(3, store, command=True) + wire.data_pdu(3, data, command=False)
    halves = wire.pdu(
        wire.DATA,
        wire.pdv(3, store, command=True, last=True) + wire.pdv(3, data[:100], command=False, last=False),
    ) + wire.pdu(
        wire.DATA,
        wire.pdv(3, data[100:102], command=False, last=False) + wire.pdv(3, data[102:], command=False, last=True),
    )
    split = b"".join(
        wire.data_pdu(5, store[at : at + 20], command=True, last=at + 20 >= len(store))
        for at in range(0, len(store), 20)
    )
    release, abort = wire.pdu(wire.RELEASE_RQ, bytes(4)), wire.pdu(wire.ABORT, b"\0\0\2\1")
    empty_last = wire.data_pdu(3, store, command=True) + wire.data_pdu(3, data, command=False, last=False)
    empty_last += wire.data_pdu(3, b"", command=False)
    return {
        "echo": echo,
        "echo_release": echo + release,
        "store": whole,
        "store_shared": halves,
        "store_split_command": split + wire.data_pdu(5, data, command=False),
        "store_empty_last": empty_last,
        "store_twice_release": whole + echo + whole + release,
        "abort_amid": whole[: len(whole) // 2] + abort,
        "abort": echo + abort,
        "interleaved": wire.data_pdu(3, store, command=True) + echo,
        "wrong_context": wire.data_pdu(9, wire.echo_rq(), command=True),
        "data_first": wire.data_pdu(1, data, command=False),
        "data_after_release": release + echo,
        "length_ffffffff": b"\4\0\xff\xff\xff\xff",
        "unknown_pdu": b"\x09\0\0\0\0\4abcd",
        "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }


def stream() -> dict[str, bytes]:
    found = {}
    shapes = {
        "whole": b"\0" + cuts(),
        "bytes": b"\1" + cuts(1),
        "cut": b"\0" + cuts(6, 0, 255, 7, 3),
        "tiny": b"\6" + cuts(33),
    }
    for name, said in conversation().items():
        for shape, head in shapes.items():
            found[f"{name}_{shape}"] = head + said
    for name, pdu in vectors("encoded_pdu_items").items():
        found[name] = b"\0" + cuts(9) + pdu
    for name, message in (vectors("encoded_dimse_msg") | vectors("encoded_dimse_n_msg")).items():
        if message[0] & 1:
            found[f"{name}"] = (
                b"\0" + cuts(200, 5) + wire.pdu(wire.DATA, (len(message) + 1).to_bytes(4, "big") + b"\1" + message)
            )
    return found


def negotiation() -> dict[str, bytes]:
    found = {}
    policies = {"all": b"\0\0\0\x0f\1\1\3\xff", "some": b"\xaa\2\1\x05\3\0\1\x10"}
    for name, pdu in vectors("encoded_pdu_items").items():
        if pdu[0] in (1, 2, 3) and name.startswith("a_associate"):
            kind = {1: b"\0", 2: b"\1", 3: b"\2"}[pdu[0]]
            for policy, eight in policies.items():
                found[f"{name}_{policy}"] = kind + eight + pdu[6:]
    items = b"".join(
        [
            wire.item(0x53, b"\0\5\0\3"),
            wire.item(0x54, b"\0\x19" + wire.CT_IMAGE.encode() + b"\1\1"),
            wire.item(0x55, b"VERSION"),
            wire.item(0x56, b"\0\x19" + wire.CT_IMAGE.encode() + b"\1\0\1"),
            wire.item(0x57, b"\0\x19" + wire.CT_IMAGE.encode() + b"\0\x111.2.840.10008.4.2\0\0"),
            wire.item(0x58, b"\5\1\0\5token\0\0"),
            wire.item(0x77, b"unknown"),
        ]
    )
    many = [wire.context(number, wire.CT_IMAGE, [wire.EXPLICIT, wire.IMPLICIT]) for number in range(1, 256, 2)]
    for policy, eight in policies.items():
        found[f"every_item_{policy}"] = b"\0" + eight + wire.associate_rq(wire.store_contexts(), user_items=items)[6:]
        found[f"128_contexts_{policy}"] = b"\0" + eight + wire.associate_rq(many)[6:]
    return found


def command() -> dict[str, bytes]:
    found = {}
    said: list[tuple[str, bytes]] = list((vectors("encoded_dimse_msg") | vectors("encoded_dimse_n_msg")).items())
    data = {name: value[1:] for name, value in said if not value[0] & 1}
    for name, value in said:
        if value[0] & 1:
            behind = data.get(name.replace("_cmd", "_ds"), wire.ct_data_set("1.2", side=2))
            for number, head in enumerate((b"\0\0" + cuts(), b"\1\x10" + cuts(8, 33, 0), b"\0\1" + cuts(1))):
                found[f"{name}_{number}"] = head + (len(value) - 1).to_bytes(2, "big") + value[1:] + behind
    return found


def engine() -> dict[str, bytes]:
    found = {}
    for name, said in conversation().items():
        for number, head in enumerate((b"\1" + cuts(), b"\1" + cuts(1, 0, 3), b"\3" + cuts(), b"\5" + cuts(0))):
            found[f"{name}_{number}"] = head + said
    rq = wire.associate_rq(wire.store_contexts())
    found["associate_release"] = b"\0" + cuts(0, 2) + rq + wire.pdu(wire.RELEASE_RQ, bytes(4))
    find = wire.context(1, "1.2.840.10008.5.1.4.1.2.2.1", [wire.IMPLICIT])
    found["foreign"] = b"\0" + cuts(1) + wire.associate_rq([find]) + wire.data_pdu(1, wire.echo_rq(), command=True)
    long = wire.data_pdu(3, wire.store_rq("1.2.3"), command=True)
    long += b"".join(wire.data_pdu(3, bytes(1000), command=False, last=at == 6) for at in range(7))
    found["streamed"] = b"\1" + cuts(63) + long + wire.data_pdu(1, wire.echo_rq(), command=True)
    found["too_long"] = b"\1" + cuts() + long.replace(b"\0\2", b"\0\0") + long * 2
    return found


def seeds() -> dict[str, dict[str, bytes]]:
    """Target -> name -> input."""
    made = {"stream": stream(), "negotiation": negotiation(), "command": command(), "engine": engine()}
    return {target: {f"seed_{name}": value for name, value in inputs.items()} for target, inputs in made.items()}


if __name__ == "__main__":
    for target, inputs in seeds().items():
        folder = FINDS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed_*"):
            old.unlink()
        for name, value in inputs.items():
            (folder / name).write_bytes(value)
        print(f"{len(inputs)} seeds in {folder}")
