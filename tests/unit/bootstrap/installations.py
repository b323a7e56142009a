"""An installation with something of everything, and its secrets in the clear, to look for where they must not be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from idplane.bootstrap.admin import Installation, of_folder
from idplane.bootstrap.custody import custody_for
from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.plane import Plane
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.directory.clients import new_application, new_application_principal, new_secret
from idplane.keys.sealing import private_context
from idplane.model.profile import OPEN
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, PRINCIPALS, SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.store.opening import open_store
from idplane.web.origins import Origins

VAULT_SECRET = "a-very-secret-vault-value-81"


@dataclass
class Living:
    """A plane over a file, in process."""

    plane: Plane
    upstream: InProcessUpstream
    operator: OperatorKey
    secrets: list[bytes]

    async def token(self, resource: str) -> str:
        server = self.plane.server
        endpoint = f"/{server.installation.tenant.id}/oauth2/v2.0/token"
        form = self.operator.token_request(
            client_id=server.installation.operator.client_id,
            token_endpoint=f"https://localhost{endpoint}",
            resource=resource,
            clock=server.world.clock,
            entropy=server.world.entropy,
        )
        body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self.upstream.send("POST", endpoint, headers, body)
        assert answer.status == 200, answer.body
        token = str(msgspec.json.decode(answer.body)["access_token"])
        self.secrets.append(token.encode())
        self.secrets.append(token.rsplit(".", 1)[1].encode())
        return token

    async def arm(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, object]:
        bearer = token or await self.token("https://management.azure.com")
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        content = b"" if body is None else msgspec.json.encode(body)
        answer = await self.upstream.send(method, path, headers, content)
        return answer.status, msgspec.json.decode(answer.body) if answer.body else None

    @property
    def group(self) -> str:
        return f"/subscriptions/{self.plane.server.installation.subscription.id}/resourceGroups/shop"


@asynccontextmanager
async def living(installation: Installation, operator: OperatorKey | None = None) -> AsyncIterator[Living]:
    """Start on the installation's database, as `up` and `server` do."""
    clock, entropy = SystemClock(), SystemEntropy()
    store = await open_store(installation.address, clock=clock)
    try:
        custody = await custody_for(installation.custody, store, entropy, path=installation.path, default=installation.key_file)
        plane = await Plane.open(World(clock=clock, entropy=entropy, store=store, custody=custody, profile=OPEN))
        try:
            operator = operator or OperatorKey.create(clock, entropy)
            await trust_operator(plane.server.world, plane.server.installation.operator, operator.certificate)
            upstream = InProcessUpstream(plane.server.app(Origins.local(443)), host="localhost")
            yield Living(plane, upstream, operator, [])
        finally:
            await plane.close()
    finally:
        await store.close()


async def furnish(one: Living) -> None:
    """A group, a machine with an identity, an application with a secret, a vault with a value, tokens; what is secret is noted."""
    await one.arm("PUT", f"{one.group}?api-version=2022-09-01", {"location": "westeurope"})
    machine = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
    status, made = await one.arm(
        "PUT", f"{one.group}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01", machine
    )
    assert status in {200, 201}, made
    vault = {
        "location": "westeurope",
        "properties": {
            "tenantId": one.plane.server.installation.tenant.id,
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": True,
        },
    }
    status, made = await one.arm(
        "PUT", f"{one.group}/providers/Microsoft.KeyVault/vaults/shopvault?api-version=2023-07-01", vault
    )
    assert status in {200, 201}, made
    value = {"properties": {"value": VAULT_SECRET}}
    path = f"{one.group}/providers/Microsoft.KeyVault/vaults/shopvault/secrets/one?api-version=2023-07-01"
    status, made = await one.arm("PUT", path, value)
    assert status in {200, 201}, made
    one.secrets.append(VAULT_SECRET.encode())
    await _application(one)
    await _note_keys(one)


async def _application(one: Living) -> None:
    world, tenant = one.plane.server.world, one.plane.server.installation.tenant.id
    now = world.clock.now()
    application = new_application(tenant_id=tenant, display_name="shop", entropy=world.entropy, now=now)
    principal = new_application_principal(
        tenant_id=tenant, display_name="shop", entropy=world.entropy, now=now, client_id=application.client_id
    )
    secret = new_secret(principal, entropy=world.entropy, now=now, lifetime=timedelta(days=1))
    await world.store.commit(
        Batch.of(
            Put(collection=APPLICATIONS, value=application, expect=ABSENT),
            Put(collection=PRINCIPALS, value=principal, expect=ABSENT),
            Put(collection=CREDENTIALS, value=secret.credential, expect=ABSENT),
        )
    )
    one.secrets.append(secret.secret.encode())


async def _note_keys(one: Living) -> None:
    world = one.plane.server.world
    for row in await world.store.all(SIGNING_KEYS):
        der = world.custody.unseal(row.value.sealed, context=private_context(row.value.id))
        one.secrets += [der, der[-48:]]


def folder_of(path: Path) -> Installation:
    path.mkdir(mode=0o700, exist_ok=True)
    return of_folder(path)
