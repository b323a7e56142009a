"""People for the token service's tests: a user, programs that ask for them, and an operator's decision without the operator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.unit.sts.sts_world import AUTHORITY, TENANT_ID, StsWorld

from idplane.directory.people import new_user
from idplane.model.directory import Principal, UserDetails
from idplane.model.public_clients import AZURE_CLI
from idplane.model.user_sessions import DeviceCode, DeviceCodeState, user_code_key
from idplane.ports.collections import DEVICE_CODES, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Put, Versioned
from idplane.sts import IssuedToken, TokenRequest
from idplane.sts.device_codes import DeviceRequest, StartedDeviceCode
from idplane.sts.requests import DEVICE_CODE_GRANT, REFRESH_GRANT, Endpoint

ARM_SCOPE = "https://management.azure.com//.default offline_access openid profile"


@dataclass(frozen=True, kw_only=True)
class People:
    """A token service with one user."""

    world: StsWorld
    ada: Principal

    @classmethod
    async def open(cls) -> People:
        world = await StsWorld.open()
        details = UserDetails(user_principal_name="Ada@Contoso.onmicrosoft.com", given_name="Ada", surname="Lovelace")
        ada = new_user(
            tenant_id=TENANT_ID, display_name="Ada Lovelace", details=details, entropy=world.entropy, now=world.clock.now()
        )
        await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=ada, expect=ABSENT)))
        return cls(world=world, ada=ada)

    async def start(
        self, *, tenant: str = "organizations", client_id: str = AZURE_CLI, scope: str = ARM_SCOPE
    ) -> StartedDeviceCode:
        request = DeviceRequest(tenant=tenant, client_id=client_id, scope=scope)
        return await self.world.devices.start(request, self.world.call())

    async def waiting(self, started: StartedDeviceCode) -> Versioned[DeviceCode]:
        where = {"user_code": user_code_key(started.user_code)}
        return (await self.world.store.page(DEVICE_CODES, where=where)).items[0]

    async def decide(self, started: StartedDeviceCode, user: Principal | None) -> None:
        """Approve for a user, or deny."""
        code = await self.waiting(started)
        decided = replace(
            code.value,
            state=DeviceCodeState.APPROVED if user else DeviceCodeState.DENIED,
            tenant_id=code.value.tenant_id or TENANT_ID,
            principal_id=user.id if user else None,
            decided_by="the-operator",
        )
        await self.world.store.commit(Batch.of(Put(collection=DEVICE_CODES, value=decided, expect=code.version)))

    def poll(self, started: StartedDeviceCode, **changes: str | None) -> TokenRequest:
        """A poll of the Azure CLI, with some of its fields changed."""
        return self._request({"grant_type": DEVICE_CODE_GRANT, "device_code": started.device_code, **changes})

    def refresh(self, token: str | None, **changes: str | None) -> TokenRequest:
        return self._request({"grant_type": REFRESH_GRANT, "refresh_token": token, "tenant": TENANT_ID, **changes})

    def _request(self, fields: dict[str, str | None]) -> TokenRequest:
        made = TokenRequest(
            tenant="organizations", authority=AUTHORITY, endpoint=Endpoint.V2, client_id=AZURE_CLI, client_info=True
        )
        return replace(made, **fields)  # type: ignore[arg-type]  # each field has the type that its name says

    async def issue(self, request: TokenRequest) -> IssuedToken:
        return await self.world.service.issue(request, self.world.call())

    async def signed_in(self, scope: str = ARM_SCOPE, user: Principal | None = None) -> IssuedToken:
        started = await self.start(scope=scope)
        await self.decide(started, user or self.ada)
        return await self.issue(self.poll(started))

    async def change(self, principal: Principal) -> None:
        found = await self.world.store.get(PRINCIPALS, principal.id)
        assert found is not None
        await self.world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=principal, expect=found.version)))
