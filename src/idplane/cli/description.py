"""What a running plane says about itself: `{data}/plane.json`, written when it is ready and removed when it stops."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from idplane.cli.output import CommandError
from idplane.model.values import JsonObject

__all__ = ["PlaneDescription", "not_running", "read_document", "read_plane"]

_FILE = "plane.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneDescription:
    """Where a plane is and what its installation is called; base URLs without a final slash."""

    arm: str
    authority: str
    graph: str
    ca_file: str
    tenant_id: str
    subscription_id: str
    operator_client_id: str
    vault_suffix: str
    """What follows a vault's name and a dot, with the port if there is one."""
    port: int


def not_running(folder: Path) -> CommandError:
    """The sentence for a plane that is not there."""
    return CommandError(f"no plane is running on {folder}: start one with 'idplane up', or name its folder with --data")


def read_document(folder: Path) -> JsonObject:
    """The file as it is; raises `CommandError` when there is none to read."""
    try:
        document = json.loads((folder / _FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_running(folder) from error
    except PermissionError as error:
        raise CommandError(f"{folder} belongs to another user") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"{folder / _FILE} can't be read; is this an idplane data folder?") from error
    if not isinstance(document, dict):
        raise CommandError(f"{folder / _FILE} is not what a plane writes")
    if isinstance(authority := document.get("ca_file"), str):
        document["ca_file"] = str(folder / authority)  # an operator's folder can be carried elsewhere
    return document


def read_plane(folder: Path) -> PlaneDescription:
    """The plane on `folder`; raises `CommandError` when none is running there."""
    document = read_document(folder)
    try:
        return PlaneDescription(**{field.name: document[field.name] for field in fields(PlaneDescription)})  # type: ignore[arg-type]  # checked below
    except KeyError as error:
        raise CommandError(f"{folder / _FILE} is of another version of idplane") from error
