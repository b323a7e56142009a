"""Lists that come in pages: Resource Manager's `nextLink` and Graph's `@odata.nextLink`; and the one of a list that a person means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from idplane.cli.client import PlaneClient
from idplane.cli.output import CommandError
from idplane.model.values import JsonObject

__all__ = ["id_of", "pages"]

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


def id_of(name: str, items: Iterable[JsonObject], what: str) -> str:
    """The id of the only item with a name, whatever its case; raises `CommandError`. `what` they are, for people: "resource"."""
    found = [str(one.get("id")) for one in items if str(one.get("name")).lower() == name.lower()]
    if not found:
        raise CommandError(f"there is no {what} named '{name}'")
    if len(found) > 1:
        raise CommandError(f"'{name}' may mean any of these; use a full id: {', '.join(found)}")
    return found[0]
