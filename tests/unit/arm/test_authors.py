"""Who `systemData` says has made or changed something."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from idplane.arm.drafts import author_of
from idplane.model.calls import Caller
from idplane.model.values import JsonObject

_AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("claims", "host", "author"),
    [
        ({"idtyp": "user", "upn": "ann@contoso.com"}, None, ("ann@contoso.com", "User")),
        ({"preferred_username": "ann@contoso.com"}, None, ("ann@contoso.com", "User")),
        ({"idtyp": "app"}, None, ("client", "Application")),
        ({"idtyp": "app", "upn": "not@a.person"}, None, ("client", "Application")),
        ({"idtyp": "app"}, "/subscriptions/s", ("client", "ManagedIdentity")),
        ({"idtyp": "user", "upn": ""}, None, ("client", "Application")),
    ],
)
def test_people_are_named_and_programs_by_their_application(
    claims: JsonObject, host: str | None, author: tuple[str, str]
) -> None:
    caller = Caller(
        tenant_id="tenant", principal_id="oid", client_id="client", display_name="Ann", token_id="t", host=host, claims=claims
    )
    made = author_of(caller, _AT)
    assert (made.name, made.type, made.at) == (*author, _AT)
