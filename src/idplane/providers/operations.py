"""The operations list of a namespace, from its declared types: what can be granted is what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from idplane.arm.declare import OperationInfo, ResourceType

__all__ = ["operations_of"]


def operations_of(provider: str, types: Iterable[ResourceType]) -> tuple[OperationInfo, ...]:
    """Reading, writing and deleting of each type as far as it is served, and its actions and views; `provider` is a display name."""
    return tuple(
        OperationInfo(
            name=one.permission(word),
            provider=provider,
            resource=one.path,
            operation=f"{word} of {one.path}",
            description=f"Allows {word} of {one.path}.",
        )
        for one in types
        for word in _words(one)
    )


def _words(one: ResourceType) -> Iterator[str]:
    own = one.own
    yield "read"
    if one.put is not None if own is None else own.put is not None:
        yield "write"
    if one.deletable if own is None else own.delete is not None:
        yield "delete"
    yield from (f"{word}/action" for word in one.actions)
    yield from (f"{word}/read" for word in one.views)
