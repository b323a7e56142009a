"""Every entity set that is served. Another one is one more line here."""

from __future__ import annotations

from typing import Final

from idplane.graph.applications import APPLICATION_SET
from idplane.graph.declare import EntitySet
from idplane.graph.directory_audits import DIRECTORY_AUDIT_SET
from idplane.graph.directory_objects import DIRECTORY_OBJECTS
from idplane.graph.groups import GROUPS
from idplane.graph.service_principals import SERVICE_PRINCIPAL_SET
from idplane.graph.sign_ins import SIGN_IN_SET
from idplane.graph.users import ME, USERS

__all__ = ["ENTITY_SETS"]

ENTITY_SETS: Final[tuple[EntitySet, ...]] = (
    APPLICATION_SET,
    SERVICE_PRINCIPAL_SET,
    SIGN_IN_SET,
    DIRECTORY_AUDIT_SET,
    USERS,
    ME,
    GROUPS,
    DIRECTORY_OBJECTS,
)
