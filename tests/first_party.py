"""What tests name of Azure's own applications: roles of Microsoft Graph by their values, and the resource of token exchanges."""

from __future__ import annotations

from typing import Final

from idplane.directory.audiences import GRAPH, WELL_KNOWN
from idplane.directory.first_party import GRAPH_ROLES
from idplane.model.directory import GrantedRole, ResourceApplication

__all__ = ["TOKEN_EXCHANGE", "graph_grants"]

TOKEN_EXCHANGE: Final[ResourceApplication] = next(
    one.application for one in WELL_KNOWN if "api://AzureADTokenExchange" in one.uris
)


def graph_grants(*values: str) -> tuple[GrantedRole, ...]:
    """Roles of Microsoft Graph as a principal holds them."""
    ids = {one.value: one.id for one in GRAPH_ROLES}
    return tuple(GrantedRole(resource=GRAPH.client_id, role=ids[value], value=value) for value in values)
