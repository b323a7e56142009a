"""Which client asks for a user, when nothing can prove it: Microsoft's own programs, and the tenant's applications that say so."""

from __future__ import annotations

from dataclasses import dataclass, field

from idplane.model.directory import PrincipalType, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.public_clients import FIRST_PARTY_CLIENTS
from idplane.ports.collections import APPLICATIONS, PRINCIPALS
from idplane.ports.store import Batch, Reads, Require
from idplane.sts.requests import TokenRequest

__all__ = ["PublicClient", "public_client", "require_no_proof"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicClient:
    """A client that may sign users in without proving itself."""

    id: str
    name: str
    tenant_id: str | None = None
    """The only tenant that it is registered in; None for those that are in every tenant."""
    rests_on: Batch = field(default_factory=Batch)
    """What must still be so when a token is issued to it."""


def require_no_proof(request: TokenRequest) -> None:
    """Refuse a secret or assertion: what a public client shows proves nothing, and whoever checks it would only seem to."""
    if request.client_secret is not None or request.client_assertion is not None:
        raise Failure(FailureKind.CLIENT_IS_PUBLIC, "a public client has no credential")


async def public_client(store: Reads, client_id: str | None, tenant: Tenant | None) -> PublicClient:
    """The public client with that id, in a tenant or, if there is none yet, in any.

    Raises `Failure`: MISSING_PARAMETER, CLIENT_UNKNOWN, CLIENT_DISABLED, and CLIENT_CREDENTIAL_MISSING for an application that is not
    marked as public.
    """
    if client_id is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no client", parameter="client_id")
    key = client_id.lower()
    first_party = FIRST_PARTY_CLIENTS.get(key)
    if first_party is not None:
        return PublicClient(id=key, name=first_party)
    applications = (await store.page(APPLICATIONS, where={"client_id": key}, limit=1)).items
    if not applications or (tenant is not None and applications[0].value.tenant_id != tenant.id):
        raise _unknown(client_id, tenant)
    application = applications[0]
    where = {"tenant_id": application.value.tenant_id, "client_id": key}
    principals = (await store.page(PRINCIPALS, where=where, limit=1)).items
    if not principals or principals[0].value.type is not PrincipalType.APPLICATION:
        raise _unknown(client_id, tenant)
    principal = principals[0]
    if not application.value.public_client:
        raise Failure(FailureKind.CLIENT_CREDENTIAL_MISSING, "the application is not a public client", client_id=key)
    if not principal.value.enabled:
        raise Failure(
            FailureKind.CLIENT_DISABLED, "the application is disabled", client_id=key, name=application.value.display_name
        )
    return PublicClient(
        id=key,
        name=application.value.display_name,
        tenant_id=application.value.tenant_id,
        rests_on=Batch.of(
            Require(collection=APPLICATIONS, key=application.value.id, expect=application.version),
            Require(collection=PRINCIPALS, key=principal.value.id, expect=principal.version),
        ),
    )


def _unknown(client_id: str, tenant: Tenant | None) -> Failure:
    shown = client_id[:200]
    return Failure(
        FailureKind.CLIENT_UNKNOWN,
        f"there is no client '{shown}' in the tenant",
        client_id=shown,
        tenant=tenant.display_name if tenant else "",
    )
