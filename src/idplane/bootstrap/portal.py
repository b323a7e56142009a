"""The portal, composed from the use cases of a server. Its pages are imported at the first request: see `web.portal.late`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from idplane.arm.kernel import ResourceManager
from idplane.bootstrap.world import World
from idplane.graph.service import DirectoryService
from idplane.rbac import AccessControl
from idplane.web.http import Surface

if TYPE_CHECKING:
    from idplane.directory.portal_sessions import PortalSessions
    from idplane.sts.sign_in_provider import ProviderSettings, SignInProvider

__all__ = ["PortalParts", "provider_of"]


_PURGED_EVERY: Final = timedelta(minutes=10)


@dataclass(kw_only=True)
class PortalParts:
    """What the portal is made of."""

    world: World
    manager: ResourceManager
    directory: DirectoryService
    access: AccessControl
    home_tenant: str
    provider: SignInProvider | None = None
    """The issuer that people sign in at, beside links."""

    purge_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.purge_at = self.world.clock.now() + _PURGED_EVERY

    @cached_property
    def sessions(self) -> PortalSessions:
        """Who is signed in."""
        from idplane.directory.portal_sessions import PortalSessions  # noqa: PLC0415 - a plane's start does without

        world = self.world
        return PortalSessions(store=world.store, access=self.access, clock=world.clock, entropy=world.entropy)

    async def purge(self) -> datetime:
        """A duty: now and then, forget sign-ins that are over."""
        now = self.world.clock.now()
        if now >= self.purge_at:
            await self.sessions.purge()
            self.purge_at = now + _PURGED_EVERY
        return self.purge_at

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
    from idplane.bootstrap.issuer_documents import HttpIssuerDocuments  # noqa: PLC0415 - as above
    from idplane.sts.sign_in_provider import SignInProvider  # noqa: PLC0415 - as above

    door = HttpIssuerDocuments()
    return SignInProvider(settings=settings, documents=door, endpoints=door, clock=world.clock, entropy=world.entropy)
