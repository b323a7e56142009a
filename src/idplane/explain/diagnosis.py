"""Refusals and their explanations behind the one door that Resource Manager's requests have to them (`arm.context.Diagnostics`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from idplane.directory.refusals import RefusalKeeper
from idplane.model.attributes import Attributes
from idplane.model.calls import Caller
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.refusals import Refusal
from idplane.model.values import JsonObject
from idplane.ports.collections import SIGN_INS
from idplane.ports.store import Reads
from idplane.ports.world import Clock
from idplane.rbac import AccessControl

if TYPE_CHECKING:
    from idplane.explain.explainer import Explainer

__all__ = ["Diagnosis"]


class Diagnosis:
    """What was kept, and what is to be said of it. What works it out is imported when somebody asks first: no start waits for it."""

    def __init__(
        self,
        *,
        refusals: RefusalKeeper,
        store: Reads,
        access: AccessControl,
        clock: Clock,
        profile: Profile,
        home_tenant: str,
    ) -> None:
        self._refusals = refusals
        self._store = store
        self._access = access
        self._clock = clock
        self._profile = profile
        self.home_tenant = home_tenant

    async def find(self, refusal_id: str, /) -> Refusal | None:
        """The refusal whose caller was shown this id, as far as this process and the database know.

        Where the request itself proved no process, it is the one that the shown token was issued for.
        """
        found = await self._refusals.find(refusal_id)
        if found is None or found.workload is not None or not (found.proved and found.token_id):
            return found
        issued = await self._store.read_log(SIGN_INS, where={"token_id": found.token_id}, limit=1)
        return replace(found, workload=issued[0].event.workload) if issued else found

    async def settled(self) -> None:
        """Wait until what any server has just refused is in the database."""
        await self._refusals.settled()

    async def flush(self) -> None:
        """Wait until what this one has refused is in the database."""
        await self._refusals.flush()

    async def explain(self, refusal: Refusal, viewer: Caller, /) -> JsonObject:
        """The explanation, reduced to what the viewer may know."""
        from idplane.explain.documents import explanation_document  # noqa: PLC0415 - see the class

        return explanation_document(await self._explainer().explain(refusal, viewer))

    async def ask(
        self, viewer: Caller, *, principal_id: str, action: str, scope: ResourceId, data: bool, attributes: Attributes
    ) -> JsonObject:
        """Whether a principal could do something, reduced likewise."""
        from idplane.explain.documents import explanation_document  # noqa: PLC0415 - see the class
        from idplane.explain.model import Question  # noqa: PLC0415 - see the class

        question = Question(principal_id=principal_id, action=action, scope=scope, data=data, attributes=attributes)
        return explanation_document(await self._explainer().ask(question, viewer))

    def _explainer(self) -> Explainer:
        from idplane.explain.explainer import Explainer  # noqa: PLC0415 - see the class

        return Explainer(store=self._store, access=self._access, clock=self._clock, profile=self._profile)
