"""Writes and reads records with the modules of whichever idplane is on the path.

Arguments: `write|read|rewrite DATABASE`, `shapes`, `compose`, `echo DOCUMENTS`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from idplane.bootstrap.world import SystemClock
from idplane.ports.collections import ACTIVITY, COLLECTIONS, LOGS, SIGN_INS
from idplane.ports.store import Append, Batch, Collection, Log, Order, Put
from idplane.store.codec import decoder, encode
from idplane.store.sqlite import SqliteStore
from idplane.testing import store_samples as sample

_KEPT: tuple[Collection[Any] | Log[Any], ...] = (*COLLECTIONS, *LOGS)


async def _read(store: SqliteStore) -> dict[str, Any]:
    """Every record of every collection that this program knows, as it is written down."""
    found: dict[str, Any] = {}
    for one in COLLECTIONS:
        found[one.name] = {one.key(it.value): msgspec.to_builtins(it.value) for it in await store.all(one)}
    for log in LOGS:
        found[log.name] = [msgspec.to_builtins(it.event) for it in await store.read_log(log, order=Order.OLDEST_FIRST)]
    return found


async def _rewrite(store: SqliteStore) -> None:
    """Replace each record by what this program has read of it."""
    for one in COLLECTIONS:
        for it in await store.all(one):
            await store.commit(Batch.of(Put(collection=one, value=it.value, expect=it.version)))


async def _work(word: str, file: str) -> object:
    store = await SqliteStore.open(file, clock=SystemClock())
    try:
        if word == "write":
            logs = Batch.of(Append(log=ACTIVITY, event=sample.activity("a")), Append(log=SIGN_INS, event=sample.sign_in("s")))
            await store.commit(sample.everything() + logs)
        elif word == "rewrite":
            await _rewrite(store)
        return await _read(store)
    finally:
        await store.close()


def _shapes() -> dict[str, Any]:
    """How each record type is written down, by the name of its collection or log, and what those are made of."""
    schemas, parts = msgspec.json.schema_components([one.type for one in _KEPT], schema_hook=lambda _: {"title": "anything"})
    return {"kept": {one.name: schema for one, schema in zip(_KEPT, schemas, strict=True)}, "parts": parts}


class _Composer:
    """Makes up a document of a shape, in which every member has a value."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts

    def of(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self.of(self._parts[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return self.of(schema["anyOf"][0])
        if "enum" in schema:
            return schema["enum"][-1]
        kind = schema.get("type")
        if kind == "object":
            return {name: self.of(one) for name, one in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.of(one) for one in schema.get("prefixItems", [])] or [self.of(schema["items"])]
        return {"integer": 7, "number": 1.5, "boolean": True, "string": _text(schema)}.get(str(kind), "whatever")


def _text(schema: dict[str, Any]) -> str:
    # Text as good as any, and a time where one is meant.
    return "AAECAw==" if "contentEncoding" in schema else "2026-01-01T12:00:00.123456Z"


def _echo(documents: dict[str, Any]) -> object:
    """Each document as this program writes it after reading it."""
    known = {one.name: decoder(one.type) for one in _KEPT}
    return {name: json.loads(encode(known[name](json.dumps(one)))) for name, one in documents.items() if name in known}


def _compose() -> object:
    shapes = _shapes()
    composer = _Composer(shapes["parts"])
    return _echo({name: composer.of(schema) for name, schema in shapes["kept"].items()})


def main() -> None:
    """One task, and its outcome as JSON."""
    word, *file = sys.argv[1:]
    if word == "shapes":
        done: object = _shapes()
    elif word == "compose":
        done = _compose()
    elif word == "echo":
        done = _echo(json.loads(Path(*file).read_text(encoding="utf-8")))
    else:
        done = asyncio.run(_work(word, *file))
    print(json.dumps(done))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
