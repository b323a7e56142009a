"""Every entity set that is served. Another one is one more line here."""

from __future__ import annotations

from typing import Final

from idplane.graph.declare import EntitySet
from idplane.graph.sign_ins import SIGN_IN_SET

__all__ = ["ENTITY_SETS"]

ENTITY_SETS: Final[tuple[EntitySet, ...]] = (SIGN_IN_SET,)
