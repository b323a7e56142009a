"""`idplane admin check`: whether what a database holds agrees with itself, read at one moment while servers go on.

The columns beside a record's document repeat members of it, for queries and constraints: what somebody changed behind the API shows as a column that says
something else than the document, a reference to nothing, or a seal that does not open. A finding names the record, never what it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from idplane.bootstrap.rewrap import PLACES, Place
from idplane.keys.sealing import check_intact
from idplane.model.directory import Credential, CredentialKind, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import SigningKey
from idplane.model.resources import IdentityAssignment
from idplane.model.roles import RoleAssignment
from idplane.model.scale_sets import identity_host_key
from idplane.ports.collections import COLLECTIONS, LOGS
from idplane.ports.world import KeyCustody
from idplane.rbac import BUILT_IN_ROLES
from idplane.store.codec import decoder
from idplane.store.schema import migrations
from idplane.store.snapshot import Row, Snapshot, TableShape
from idplane.store.tables import CollectionTable, Dialect

__all__ = ["CHECKS", "NEWEST", "Finding", "Outcome", "check_installation"]

CHECKS: Final[Mapping[str, str]] = {
    "records": "every record can be read, and its columns say what it says",
    "references": "whatever a record refers to is there",
    "owners": "no identity, credential or role outlives what it belongs to",
    "seals": "what is sealed opens with the key custody, and belongs where it is",
    "logs": "every event can be read, its columns say what it says, and positions rise",
    "tree": "events are those that the log's tree was signed over",
}
NEWEST: Final = 100_000
"""About how many of the logs' newest records are held against the tree; `idplane log verify` looks at all."""
_MOST: Final = 1000
"""Findings of one check that are kept."""
_REFERENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "management_groups": {"parent_key": "management_groups", "tenant_id": "tenants"},
    "subscriptions": {"tenant_id": "tenants", "management_group_key": "management_groups"},
    "subscription_aliases": {"subscription_id": "subscriptions"},
    "resources": {"parent_key": "resources", "subscription_id": "subscriptions"},
    "principals": {"tenant_id": "tenants"},
    "applications": {"tenant_id": "tenants"},
    "identity_assignments": {"host_key": "resources", "principal_id": "principals", "identity_key": "resources"},
    "bindings": {"host_key": "resources"},
    "credentials": {"principal_id": "principals", "application_id": "applications", "agent_id": "agents"},
    "federated_credentials": {"principal_id": "principals", "application_id": "applications"},
    "app_role_assignments": {"principal_id": "principals", "resource_id": "principals"},
    "role_assignments": {
        "principal_id": "principals",
        "anchor_key": "resources",
        "management_group_key": "management_groups",
    },
    "deny_assignments": {"anchor_key": "resources", "management_group_key": "management_groups"},
    "locks": {"anchor_key": "resources"},
    "secrets": {"vault_key": "resources"},
    "memberships": {"group_id": "principals", "member_id": "principals"},
    "device_codes": {"principal_id": "principals"},
    "sessions": {"principal_id": "principals"},
    "refresh_tokens": {"session_id": "sessions", "principal_id": "principals"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not agree."""

    check: str
    table: str
    key: str
    what: str


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was examined, and what was found."""

    examined: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    """What there is besides, and was not looked at."""
    found: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def tell(self, check: str, table: str, key: object, what: str) -> None:
        """Note a finding."""
        self.found[check] += 1
        if self.found[check] <= _MOST:
            self.findings.append(Finding(check=check, table=table, key=str(key), what=what))


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What later checks need of all records: keys, and what refers to them."""

    keys: dict[str, set[str]] = field(default_factory=dict)
    references: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    """Table, key, column, the table that it refers to, and the key there."""
    assigned: set[tuple[str, str]] = field(default_factory=set)
    """Hosts and the principals assigned to them."""
    credentials: list[Credential] = field(default_factory=list)
    identities: list[Principal] = field(default_factory=list)
    role_assignments: list[RoleAssignment] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)


def _numbers(versions: Iterable[int]) -> str:
    return ", ".join(f"{one:04}" for one in sorted(versions))


async def check_installation(snapshot: Snapshot, custody: KeyCustody) -> Outcome:
    """Look at everything. Raises `Failure(UNAVAILABLE)` when the database cannot be read or its schema is not this program's."""
    wanted = tuple(one.version for one in migrations(snapshot.database))
    if snapshot.versions != wanted:
        raise Failure(
            FailureKind.UNAVAILABLE,
            f"the database's schema is not this program's (different: {_numbers(set(snapshot.versions) ^ set(wanted))}): "
            "use the program that its servers run",
        )
    outcome, seen = Outcome(), _Seen()
    shapes = {shape.name: shape for shape in snapshot.tables}
    for collection in COLLECTIONS:
        if collection.name not in shapes:
            continue  # who does what just now, which no backup holds either
        await _records(
            snapshot,
            shapes[collection.name],
            CollectionTable(collection, Dialect.SQLITE),
            outcome,
            seen,
            custody,
            collection.key,
        )
    _references(outcome, seen)
    _owners(outcome, seen)
    for log in LOGS:
        await _log(snapshot, shapes[log.name], decoder(log.type), dict(log.columns), outcome)
    return outcome


async def _records(  # noqa: PLR0913, PLR0917 - one table, spelled out
    snapshot: Snapshot,
    shape: TableShape,
    table: CollectionTable[Any],
    outcome: Outcome,
    seen: _Seen,
    custody: KeyCustody,
    key_of: Callable[[Any], str],
) -> None:
    keys = seen.keys.setdefault(shape.name, set())
    async for row in snapshot.rows(shape):
        columns = dict(zip(shape.columns, row, strict=True))
        key = columns["key"]
        keys.add(key)
        outcome.examined["records"] += 1
        for column, target in _REFERENCES.get(shape.name, {}).items():
            if columns.get(column) is not None:
                seen.references.append((shape.name, key, column, target, str(columns[column])))
        try:
            value = table.decode(columns["doc"])
            said = {name: get(value) for name, get in table.columns} | {"key": key_of(value)}
        except (Failure, ValueError, AttributeError, KeyError, TypeError):
            outcome.tell("records", shape.name, key, "cannot be read")
            continue
        wrong = sorted(name for name, is_said in said.items() if columns.get(name) != is_said)
        if wrong:
            outcome.tell("records", shape.name, key, f"the columns {', '.join(wrong)} say something else than the record")
        if columns["version"] < 1:
            outcome.tell("records", shape.name, key, "has an impossible version")
        _seals(value, shape.name, key, custody, outcome)
        _note(value, seen)


def _note(value: object, seen: _Seen) -> None:
    match value:
        case IdentityAssignment():
            seen.assigned.add((value.host.key, value.principal_id))
        case Credential():
            seen.credentials.append(value)
        case Principal(type=PrincipalType.MANAGED_IDENTITY):
            seen.identities.append(value)
        case RoleAssignment():
            seen.role_assignments.append(value)
        case _:
            pass


def _references(outcome: Outcome, seen: _Seen) -> None:
    for table, key, column, target, named in seen.references:
        outcome.examined["references"] += 1
        if named not in seen.keys.get(target, set()):
            outcome.tell("references", table, key, f"its {column} names nothing in {target}")


def _owners(outcome: Outcome, seen: _Seen) -> None:
    resources, roles = seen.keys["resources"], seen.keys["role_definitions"]
    for identity in seen.identities:
        outcome.examined["owners"] += 1
        if identity.resource_id is None or identity.resource_id.lower() not in resources:
            outcome.tell("owners", "principals", identity.id, "is an identity of no resource")
    for credential in seen.credentials:
        outcome.examined["owners"] += 1
        if credential.kind is CredentialKind.IDENTITY_CERTIFICATE:
            host = identity_host_key(credential.host or "")
            if (host, credential.principal_id) not in seen.assigned:
                outcome.tell("owners", "credentials", credential.id, "is for an identity that its host does not have")
    for assignment in seen.role_assignments:
        outcome.examined["owners"] += 1
        known = assignment.role_id in BUILT_IN_ROLES or assignment.role_id in roles
        if not known:
            outcome.tell("owners", "role_assignments", assignment.id, "gives a role that is not there")


def _seals(value: object, table: str, key: str, custody: KeyCustody, outcome: Outcome) -> None:
    place: Place[Any] | None = next((one for one in PLACES if one.collection.name == table), None)
    if place is None:
        return
    outcome.examined["seals"] += 1
    try:
        if isinstance(value, SigningKey):
            check_intact(value, custody)
        else:
            for sealed, context in place.sealed(value):
                custody.unseal(sealed, context=context)
    except Failure as failure:
        if failure.kind is FailureKind.UNAVAILABLE:
            raise
        outcome.tell("seals", table, key, "does not open with the key custody, or was changed")
    except ValueError:
        outcome.tell("seals", table, key, "holds no key")


async def _log(
    snapshot: Snapshot,
    shape: TableShape,
    decode: Callable[[str], Any],
    columns: dict[str, Callable[[Any], Any]],
    outcome: Outcome,
) -> None:
    before = 0
    async for row in snapshot.rows(shape):
        outcome.examined["logs"] += 1
        before = _event(row, shape, decode, columns, before, outcome)


def _event(
    row: Row,
    shape: TableShape,
    decode: Callable[[str], Any],
    said: dict[str, Callable[[Any], Any]],
    before: int,
    outcome: Outcome,
) -> int:
    columns = dict(zip(shape.columns, row, strict=True))
    position: int = columns["position"]
    if position <= before:
        outcome.tell("logs", shape.name, position, "does not come behind the one before")
    try:
        event = decode(columns["doc"])
        wrong = sorted(name for name, get in said.items() if columns.get(name) != get(event))
    except (Failure, ValueError, AttributeError, KeyError, TypeError):
        outcome.tell("logs", shape.name, position, "cannot be read")
        return position
    if wrong:
        outcome.tell("logs", shape.name, position, f"the columns {', '.join(wrong)} say something else than the event")
    return position
