"""A tenant with an Owner, a Contributor and a Reader of all of it, and people who may sign in or not."""

from __future__ import annotations

from tests.unit.providers.management_world import CONTRIBUTOR, OTHER_TENANT, OWNER, READER, TENANT, World, guid, open_world

from idplane.model.directory import HOME_USER, Principal, PrincipalType, Setting, UserDetails
from idplane.ports.collections import PRINCIPALS, SETTINGS
from idplane.providers.directory import DIRECTORY

ADA, EVE, OFF = guid(0x11), guid(0x12), guid(0x13)
"""The tenant's first user, one of another tenant, and one who is disabled."""


async def open_directory() -> World:
    """Close its store in the end."""
    opened = await open_world(DIRECTORY)
    for number, role, principal in ((0x21, "Owner", OWNER), (0x22, "Contributor", CONTRIBUTOR), (0x23, "Reader", READER)):
        await opened.grant(number, role, "/", principal)
    people = ((ADA, "ada", TENANT, True), (EVE, "eve", OTHER_TENANT, True), (OFF, "off", TENANT, False))
    for identifier, name, tenant, enabled in people:
        made = Principal(
            id=identifier,
            tenant_id=tenant,
            client_id=identifier,
            display_name=name,
            type=PrincipalType.USER,
            created_at=opened.clock.now(),
            enabled=enabled,
            user=UserDetails(user_principal_name=f"{name}@home.example"),
        )
        await opened.add(PRINCIPALS, made)
    await opened.add(SETTINGS, Setting(name=HOME_USER, value=ADA))
    return opened
