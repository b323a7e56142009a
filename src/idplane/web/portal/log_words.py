"""What the pages of both logs say alike."""

from __future__ import annotations

import re
from typing import Final

from idplane.ports.collections import REFUSALS
from idplane.web.portal.view import Visit

__all__ = ["explained_refusal", "guid"]

_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def guid(text: str) -> bool:
    """Whether a text is one."""
    return _GUID.fullmatch(text) is not None


async def explained_refusal(visit: Visit, refusal_id: str) -> str:
    """The id, if the refusal is on record and so can be explained; else nothing."""
    page = await visit.desk.store.page(REFUSALS, where={"refusal_id": refusal_id}, limit=1)
    return refusal_id if page.items else ""
