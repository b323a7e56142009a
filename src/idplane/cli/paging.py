"""Lists that come in pages: Resource Manager's `nextLink` and Graph's `@odata.nextLink`."""

from __future__ import annotations

from collections.abc import Iterator

from idplane.cli.client import PlaneClient
from idplane.cli.output import CommandError
from idplane.model.values import JsonObject

__all__ = ["pages"]

_MOST_PAGES = 1000


def pages(client: PlaneClient, url: str, token: str) -> Iterator[JsonObject]:
    """The items of all pages, fetched as they are asked for; raises `CommandError`."""
    following: object = url
    for _ in range(_MOST_PAGES):
        document = client.get(str(following), token=token)
        items = document.get("value")
        yield from (item for item in (items if isinstance(items, list) else []) if isinstance(item, dict))
        following = document.get("nextLink") or document.get("@odata.nextLink")
        if not following:
            return
    raise CommandError("the list does not end")
