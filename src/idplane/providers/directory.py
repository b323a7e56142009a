"""Idplane.Directory: how people are let in. A namespace of our own."""

from __future__ import annotations

from typing import Final

from idplane.arm.declare import Provider
from idplane.providers.device_codes import DEVICE_CODES_OPERATIONS, DEVICE_CODES_RESOURCE, VERSIONS
from idplane.providers.portal_links import PORTAL_LINKS_OPERATIONS, PORTAL_LINKS_RESOURCE

__all__ = ["DIRECTORY"]

DIRECTORY: Final = Provider(
    namespace="Idplane.Directory",
    types=(DEVICE_CODES_RESOURCE, PORTAL_LINKS_RESOURCE),
    operations=(*DEVICE_CODES_OPERATIONS, *PORTAL_LINKS_OPERATIONS),
    operations_versions=VERSIONS,
)
"""The namespace."""
