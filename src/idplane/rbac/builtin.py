"""The built-in roles: Azure's own definitions, shipped as data beside this module and read at first use."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources

import msgspec

from idplane.model.roles import Permission, RoleDefinition

__all__ = ["BUILT_IN_ROLES"]


class _Block(msgspec.Struct, frozen=True, rename="camel"):
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()


class _Properties(msgspec.Struct, frozen=True, rename="camel"):
    role_name: str
    description: str
    assignable_scopes: tuple[str, ...]
    permissions: tuple[_Block, ...]


class _Entry(msgspec.Struct, frozen=True):
    name: str
    properties: _Properties


@functools.cache
def _table() -> Mapping[str, RoleDefinition]:
    text = resources.files("idplane.rbac").joinpath("builtin-roles.json").read_bytes()
    entries = msgspec.json.decode(text, type=list[_Entry])
    return {entry.name.lower(): _definition(entry) for entry in entries}


def _definition(entry: _Entry) -> RoleDefinition:
    properties = entry.properties
    return RoleDefinition(
        id=entry.name.lower(),
        tenant_id=None,
        name=properties.role_name,
        description=properties.description,
        built_in=True,
        permissions=tuple(
            Permission(
                actions=block.actions,
                not_actions=block.not_actions,
                data_actions=block.data_actions,
                not_data_actions=block.not_data_actions,
            )
            for block in properties.permissions
        ),
        assignable_scopes=properties.assignable_scopes,
    )


class _BuiltInRoles(Mapping[str, RoleDefinition]):
    """A view of the table that reads the file when something is first asked of it, so that importing stays cheap."""

    __slots__ = ()

    def __getitem__(self, role_id: str) -> RoleDefinition:
        return _table()[role_id]

    def __iter__(self) -> Iterator[str]:
        return iter(_table())

    def __len__(self) -> int:
        return len(_table())

    def __repr__(self) -> str:
        return "BUILT_IN_ROLES"


BUILT_IN_ROLES: Mapping[str, RoleDefinition] = _BuiltInRoles()
"""Role definitions by their GUID in lower case, the same in every tenant."""
