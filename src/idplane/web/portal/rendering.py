"""HTML of templates and values. Everything is escaped, and a value that a template names but was not given is an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from idplane.web.portal import words
from idplane.web.portal.static import Assets

__all__ = ["Renderer"]


class Renderer:
    """The templates' environment."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=PackageLoader("idplane.web.portal", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {"asset": assets.url, "icon": partial(_icon, assets), "explained": words.explained}
        self._environment.filters |= {
            "when": _when,
            "browser": words.browser,
            "short": words.short,
            "resource_name": words.resource_name,
        }

    def render(self, template: str, values: Mapping[str, object]) -> bytes:
        """A page or a part of one."""
        return self._environment.get_template(template).render(values).encode()


def _icon(assets: Assets, name: str, label: str = "") -> Markup:
    """A symbol of `icons.svg`; for those who don't see it only with a label."""
    spoken = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" {}><use href="{}#{}"/></svg>').format(spoken, assets.url("icons.svg"), name)


@pass_context
def _when(context: Context, value: object) -> Markup:
    """An instant, told by how long ago it was; in full where the pointer rests, and for programs."""
    at = words.instant(value)
    if at is None:
        return escape("" if value is None else str(value))
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds").replace("+00:00", "Z"),
        f"{exact:%Y-%m-%d %H:%M:%S} UTC",
        words.relative(exact, context["now"]),
    )
