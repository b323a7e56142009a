"""The question that decisions answer, as an explanation asks it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from idplane.model.attributes import NO_ATTRIBUTES, Attributes, AttributeValue
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["Inquiry", "attributes_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Whether a principal may do something somewhere."""

    principal_id: str
    name: str
    """What the viewer calls it."""
    principal_type: str
    """As role assignments name it."""
    action: str
    scope: ResourceId
    data: bool = False
    attributes: Attributes = NO_ATTRIBUTES
    stated: bool = False
    """Whether the attributes are what the viewer stated, and nothing that was found in what exists."""
    at: datetime | None = None
    """When it was asked, for conditions; None for now."""

    @property
    def kind(self) -> str:
        """What sort of action it is, for sentences."""
        return "data action" if self.data else "action"


def attributes_of(document: JsonObject) -> Attributes:
    """Attributes out of a refusal's record (`model.refusals.attributes_document`); instants stay the texts that comparisons read."""
    return Attributes(resource=_side(document.get("resource")), request=_side(document.get("request")))


def _side(value: object) -> Mapping[str, tuple[AttributeValue, ...]]:
    named = value if isinstance(value, dict) else {}
    return {name: tuple(one for one in many if isinstance(one, str | int)) for name, many in named.items()}
