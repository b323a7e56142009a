"""Idplane.Directory/portalLinks: links that sign a person in to the portal, once.

    POST /providers/Idplane.Directory/portalLinks/{user}/create     user: its name or object id, or `first` for the tenant's first user

Whoever has the link is that user for as long as a session lasts. So it takes what approving a program's sign-in takes, and each try is in
the activity log, under the user's name. The code is in the answer and nowhere else.
"""

from __future__ import annotations

from typing import Final

from idplane.arm.declare import Action, Invocation, OperationInfo, Outcome, Own, Placement, ResourceType
from idplane.arm.envelope import timestamp
from idplane.model.ids import ROOT
from idplane.model.portal import CODE_BYTES, new_link
from idplane.ports.collections import PORTAL_LINKS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.providers.device_codes import GIVE_ACCESS, VERSIONS, user_to_sign_in

__all__ = ["PORTAL_LINKS_OPERATIONS", "PORTAL_LINKS_RESOURCE"]

_TYPE: Final = "Idplane.Directory/portalLinks"
_FIRST: Final = "first"


async def _create(invocation: Invocation) -> Outcome:
    context, named = invocation.context, invocation.id.name
    await context.require(GIVE_ACCESS, ROOT)
    user = await user_to_sign_in(context, None if named.lower() == _FIRST else named)
    secret = context.entropy.bytes(CODE_BYTES)
    link, code = new_link(user.value, secret, made_by=context.caller.principal_id, now=context.now)
    body = {
        "id": f"/providers/{_TYPE}/{named}",
        "name": named,
        "type": _TYPE,
        "properties": {
            "user": user.value.caller_name,
            "userId": user.value.id,
            "code": code,
            "link": f"{context.addresses.portal}/sign-in#{code}",
            "expiresAt": timestamp(link.expires_at),
        },
    }
    return Outcome(body=body, batch=Batch.of(Put(collection=PORTAL_LINKS, value=link, expect=ABSENT)))


PORTAL_LINKS_RESOURCE: Final = ResourceType(
    name=_TYPE,
    api_versions=VERSIONS,
    placements=frozenset({Placement.TENANT}),
    own=Own(),
    actions={"create": Action(run=_create)},
    located=False,
    taggable=False,
    system_data=False,
)
"""The type."""
PORTAL_LINKS_OPERATIONS: Final = (
    OperationInfo(
        name=f"{_TYPE}/create/action",
        provider="idplane Directory",
        resource="Portal links",
        operation="Create portal link",
        description="Makes a link that signs a user in to the portal, once",
    ),
)
"""What may be done with one."""
