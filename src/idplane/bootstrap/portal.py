"""The portal, composed from the use cases of a server. Its pages are imported at the first request: see `web.portal.late`."""

from __future__ import annotations

from dataclasses import dataclass

from idplane.arm.kernel import ResourceManager
from idplane.bootstrap.issuer_documents import HttpIssuerDocuments
from idplane.bootstrap.world import World
from idplane.directory.portal_sessions import PortalSessions
from idplane.graph.service import DirectoryService
from idplane.rbac import AccessControl
from idplane.sts.sign_in_provider import ProviderSettings, SignInProvider
from idplane.web.http import Surface

__all__ = ["PortalParts", "provider_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalParts:
    """What the portal is made of."""

    world: World
    manager: ResourceManager
    directory: DirectoryService
    access: AccessControl
    sessions: PortalSessions
    home_tenant: str
    provider: SignInProvider | None = None
    """The issuer that people sign in at, beside links."""

    async def purge(self) -> None:
        """A duty: forget sign-ins that are over."""
        await self.sessions.purge()

    def surface(self) -> Surface:
        """The surface. Makes its templates' environment, which takes some ten milliseconds."""
        from idplane.explain.explainer import Explainer  # noqa: PLC0415 - takes long to import
        from idplane.web.portal.catalogue import NAVIGATION, ROUTES  # noqa: PLC0415 - as above
        from idplane.web.portal.sign_in import SignIn  # noqa: PLC0415 - as above
        from idplane.web.portal.surface import PortalSurface  # noqa: PLC0415 - as above
        from idplane.web.portal.view import Rooms  # noqa: PLC0415 - as above

        world = self.world
        rooms = Rooms(
            manager=self.manager,
            directory=self.directory,
            store=world.store,
            access=self.access,
            explainer=Explainer(store=world.store, access=self.access, clock=world.clock, profile=world.profile),
            profile=world.profile,
        )
        return PortalSurface(
            rooms=rooms,
            sessions=self.sessions,
            sign_in=SignIn(
                sessions=self.sessions,
                store=world.store,
                custody=world.custody,
                clock=world.clock,
                home_tenant=self.home_tenant,
                provider=self.provider,
            ),
            clock=world.clock,
            routes=ROUTES,
            navigation=NAVIGATION,
        )


def provider_of(settings: ProviderSettings | None, world: World) -> SignInProvider | None:
    """The issuer that settings name, asked over the network."""
    if settings is None:
        return None
    door = HttpIssuerDocuments()
    return SignInProvider(settings=settings, documents=door, endpoints=door, clock=world.clock, entropy=world.entropy)
