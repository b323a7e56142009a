"""An application whose assertions count once, and what it sends to one of several servers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

from tests.attacks.joining import Answer, JoinWorld
from tests.unit.sts.sts_world import key_pair

from idplane.directory.clients import certificate_credential, new_application_principal
from idplane.jose import Algorithm, Signer, b64url, new_ec_key
from idplane.model.directory import AssertionUse, Principal
from idplane.ports.collections import CREDENTIALS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Put


@dataclass(frozen=True)
class Client:
    world: JoinWorld
    principal: Principal
    signer: Signer

    def assertion(self) -> str:
        now = int(self.world.clock.now().timestamp())
        tenant, client_id = self.principal.tenant_id, self.principal.client_id
        claims = {"aud": f"https://localhost/{tenant}/oauth2/v2.0/token", "iss": client_id, "sub": client_id}
        return self.signer.sign({**claims, "iat": now, "exp": now + 600, "jti": self.world.entropy.guid()})

    async def token(self, assertion: str, *, replica: int = 0) -> Answer:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.principal.client_id,
            "scope": "https://management.azure.com/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        path = f"/{self.principal.tenant_id}/oauth2/v2.0/token"
        return await self.world.send("POST", path, urlencode(form).encode(), headers, replica=replica)


async def client_of(world: JoinWorld, use: AssertionUse = AssertionUse.ONCE) -> Client:
    now, tenant = world.clock.now(), world.servers[0].installation.tenant.id
    pair = key_pair(new_ec_key(), starts=now - timedelta(days=1), ends=now + timedelta(days=9))
    plain = new_application_principal(tenant_id=tenant, display_name="batch", entropy=world.entropy, now=now)
    made = replace(plain, assertion_use=use)
    credential = certificate_credential(made, certificate=pair.certificate, entropy=world.entropy)
    await world.store.commit(
        Batch.of(
            Put(collection=PRINCIPALS, value=made, expect=ABSENT), Put(collection=CREDENTIALS, value=credential, expect=ABSENT)
        )
    )
    return Client(world, made, Signer(pair.key, Algorithm.ES256, {"x5t#S256": b64url(pair.sha256)}))


__all__ = ["Client", "client_of"]
