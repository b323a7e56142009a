"""Browsers of Contoso's people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page
from tests.portal.browsing import Browsing
from tests.portal.contoso import Contoso

__all__ = ["ContosoPortal"]


@dataclass
class ContosoPortal(Browsing):
    """The portal of the believable installation."""

    world: Contoso = field(kw_only=True)

    @property
    def address(self) -> str:
        return self.world.plane.url

    def link(self, user: str | None = None) -> str:
        return self.world.link(user or "first")

    def signed_in_without_scripts(self, user: str | None = None, **how: Any) -> Page:
        """By pasting the code."""
        page = self.page(scripts=False, **how)
        page.goto(self.url("/portal/sign-in"))
        page.get_by_label("Link or code").fill(self.link(user))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return page
