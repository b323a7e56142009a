"""Predefined tags: names, and values of them, that a subscription offers before any resource uses them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PredefinedTag", "predefined_tag_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredefinedTag:
    """A tag's name as it was first written, and its predefined values. Names ignore case, values do not."""

    subscription_id: str
    name: str
    values: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What it is stored by."""
        return predefined_tag_key(self.subscription_id, self.name)


def predefined_tag_key(subscription_id: str, name: str) -> str:
    """The key of a predefined tag."""
    return f"{subscription_id}/{name.lower()}"
