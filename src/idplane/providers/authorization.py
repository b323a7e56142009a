"""The Microsoft.Authorization provider: role definitions, role and deny assignments, locks, and questions about who may do what."""

from __future__ import annotations

from idplane.arm.declare import OperationInfo, Provider
from idplane.providers.access_checks import CHECK_ACCESS, PERMISSIONS_TYPE
from idplane.providers.deny_assignments import DENY_ASSIGNMENTS_TYPE
from idplane.providers.locks import LOCKS_TYPE
from idplane.providers.role_assignments import ROLE_ASSIGNMENTS_TYPE
from idplane.providers.role_definitions import ROLE_DEFINITIONS_TYPE

__all__ = ["AUTHORIZATION"]


def _operations() -> tuple[OperationInfo, ...]:
    verbs = {
        "roleAssignments": ("Role assignment", ("read", "write", "delete")),
        "roleDefinitions": ("Role definition", ("read", "write", "delete")),
        "denyAssignments": ("Deny assignment", ("read", "write", "delete")),
        "permissions": ("Permission", ("read",)),
        "locks": ("Management lock", ("read", "write", "delete")),
    }
    return tuple(
        OperationInfo(
            name=f"Microsoft.Authorization/{kind}/{verb}",
            operation=f"{verb.capitalize()} {words.lower()}",
            resource=words,
            provider="Microsoft Authorization",
        )
        for kind, (words, allowed) in verbs.items()
        for verb in allowed
    )


AUTHORIZATION = Provider(
    namespace="Microsoft.Authorization",
    types=(ROLE_ASSIGNMENTS_TYPE, ROLE_DEFINITIONS_TYPE, DENY_ASSIGNMENTS_TYPE, PERMISSIONS_TYPE, LOCKS_TYPE),
    operations=_operations(),
    operations_versions=("2022-04-01", "2018-07-01", "2015-07-01"),
    actions={"checkAccess": CHECK_ACCESS},
    actions_versions=("2018-09-01-preview",),
)
