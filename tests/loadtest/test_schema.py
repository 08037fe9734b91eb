"""The published schema is what a run writes: nothing is missing in either."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import dicore
from conftest import ROOT
from dicore import loadtest
from dicore.loadtest.result import LedgerResult, Trial
from dicore.loadtest.verdict import Check

SCHEMA = json.loads((ROOT / "docs/reference/loadtest-result.schema.json").read_text())
KINDS = {
    "string": str, "number": (int, float), "integer": int, "boolean": bool, "object": dict, "array": list,
    "null": type(None),
}  # fmt: skip


def mistakes(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """What of JSON Schema the file uses: $ref, anyOf, const, enum, type, properties, required, items."""
    if "$ref" in schema:
        return mistakes(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], path)
    if "anyOf" in schema:
        tries = [mistakes(value, one, path) for one in schema["anyOf"]]
        return [] if [] in tries else min(tries, key=len)
    if "const" in schema:
        return [] if value == schema["const"] else [f"{path}: {value!r}"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{path}: {value!r}"]
    kind = schema["type"]
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind in ("number", "integer")):
        return [f"{path}: {value!r} is no {kind}"]
    found = []
    if kind == "array":
        for number, one in enumerate(value):
            found += mistakes(one, schema.get("items", {"type": "object"}), f"{path}[{number}]")
    if kind == "object":
        found += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, one in value.items():
            if name in schema.get("properties", {}):
                found += mistakes(one, schema["properties"][name], f"{path}.{name}")
            elif schema.get("additionalProperties", True) is False:
                found.append(f"{path}.{name} is unknown")
            elif isinstance(schema.get("additionalProperties"), dict):
                found += mistakes(one, schema["additionalProperties"], f"{path}.{name}")
    return found


def test_a_result_follows_its_schema_and_a_damaged_one_does_not() -> None:
    text = 'duration = "1s"\nledger = "off"\n[[stream]]\nname = "s"\noperation = "store"\narrivals = {rate = 30}\n'
    text += "material = {size = 32, slices = 2}\n"
    answers = iter(range(1 << 30))

    async def main() -> loadtest.Result:
        async with dicore.listen(port=0, on_c_store=lambda request, ds: 0xA700 if next(answers) % 5 == 0 else 0) as scp:
            return await loadtest.run(loadtest.parse(text), f"SCP@127.0.0.1:{scp.port}")

    result = asyncio.run(main())
    assert result.streams[0].failures
    result.trials.append(Trial("double", 10.0, None, 1.0, None, 3.0, 0.0))
    result.checks.append(Check("a", "b", "c", None))
    result.ledger = LedgerResult(1, 1, ["1.2"])
    data = json.loads(json.dumps(result.to_json()))
    assert mistakes(data, SCHEMA) == []
    del data["streams"][0]["heat"]
    data["verdict"], data["more"] = "FINE", 1
    assert len(mistakes(data, SCHEMA)) == 3
