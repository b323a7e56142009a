"""What needs somebody: what ends soon, machines that are not served or not heard of, identities that nothing uses. Bounded work each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.directory import Credential, CredentialKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    SIGN_INS,
)
from idplane.ports.sorting import Sort
from idplane.providers.workload_bindings import BINDINGS_TYPE
from idplane.web.portal.host_rows import AgentRow, sightings
from idplane.web.portal.hosts import agent_parts, may_see_agent
from idplane.web.portal.keys import key_rows, keys_read
from idplane.web.portal.lists import Question
from idplane.web.portal.sight import parts_of, visible
from idplane.web.portal.types import IDENTITY
from idplane.web.portal.view import Visit
from idplane.web.portal.words import relative

__all__ = ["Matter", "matters_of"]

_SOON: Final = timedelta(days=30)
_AGENTS: Final = 500
_HOSTS: Final = 100
_IDENTITIES: Final = 100
_CREDENTIALS: Final = 500
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """One thing that needs somebody, and where it is mended."""

    text: str
    to: str
    action: str
    bad: bool = False


async def matters_of(visit: Visit) -> list[Matter]:
    """All that the person may know of, the worst first."""
    found = [*await _agents(visit), *await _keys(visit), *await _credentials(visit), *await _unused(visit)]
    return sorted(found, key=lambda it: not it.bad)


# Machines --------------------------------------------------------------------------------------------------------------

_STATES: Final = {
    "Locked": ("locked, since {their} state was in two places", True),
    "Banned": ("banned", False),
    "Certificate expired": ("without a certificate that counts", True),
    "Silent": ("silent", True),
}


async def _agents(visit: Visit) -> list[Matter]:
    question = Question(store=visit.desk.store, parts=await agent_parts(visit), order=Sort("host_key"), limit=_AGENTS)
    page = await question.page(AGENTS, None, lambda it: may_see_agent(visit, it))
    seen = await sightings(visit.desk.store)
    rows = [AgentRow(agent=one.value, seen=seen.get(one.value.id), now=visit.desk.now) for one in page.items]
    counted = Counter(row.state[0] for row in rows)
    found = [
        Matter(
            text=f"{_several(counted[state], 'machine')} {'is' if counted[state] == 1 else 'are'} "
            + words.format(their="its" if counted[state] == 1 else "their"),
            to=f"/portal/hosts?state={state.replace(' ', '+')}",
            action="See which",
            bad=bad,
        )
        for state, (words, bad) in _STATES.items()
        if counted[state]
    ]
    return [*found, *await _unbound(visit, rows)]


async def _unbound(visit: Visit, rows: Sequence[AgentRow]) -> list[Matter]:
    """Hosts that have identities and no binding."""
    store, unbound = visit.desk.store, []
    for host in list({row.host.key: row.host for row in rows if row.host}.values())[:_HOSTS]:
        bearing = await store.count(IDENTITY_ASSIGNMENTS, where={"host_key": host.key}, limit=1)
        bound = await store.count(BINDINGS, where={"host_key": host.key}, limit=1)
        if bearing and not bound and await visit.desk.may(f"{BINDINGS_TYPE}/read", host):
            unbound.append(host)
    return [
        Matter(
            text=f"{host.name} has no workload binding: whatever reaches its endpoint may use its identities",
            to=f"/portal/hosts?host={host}",
            action="See its bindings",
        )
        for host in unbound[:_NAMED]
    ] + _further(len(unbound) - _NAMED, "more host has no binding", "more hosts have no binding", "/portal/hosts")


def _further(count: int, one: str, several: str, to: str) -> list[Matter]:
    return [Matter(text=f"{count} {one if count == 1 else several}", to=to, action="See all")] if count > 0 else []


# What ends -------------------------------------------------------------------------------------------------------------


async def _keys(visit: Visit) -> list[Matter]:
    if not (await keys_read(visit)).open:
        return []
    now, found = visit.desk.now, []
    for row in await key_rows(visit):
        if row.signs and row.until is not None and row.until <= now:
            text = f"The {row.purpose} key should have been replaced {relative(row.until, now)}: no server does it"
            found.append(Matter(text=text, to=f"/portal/keys#{row.id}", action="See the key", bad=True))
        ends = row.certificate_ends
        if row.signs and ends is not None and ends - now <= _SOON:
            text = f"The certificate of the {row.purpose} ends {relative(ends, now)}"
            found.append(Matter(text=text, to=f"/portal/keys#{row.id}", action="See the key", bad=True))
        elif row.state == "prepared" and row.until is not None and row.until > now and row.until - now <= _SOON:
            text = f"The next {row.purpose} key signs {relative(row.until, now)}, by itself"
            found.append(Matter(text=text, to=f"/portal/keys#{row.id}", action="See the key"))
    return found


async def _credentials(visit: Visit) -> list[Matter]:
    """Client secrets and certificates that people gave out, and that nobody renews by itself."""
    if not await may(visit.person.caller, visit.desk.access, Area.APPLICATIONS, writes=False):
        return []
    ending: list[Credential] = []
    for kind in (CredentialKind.SECRET, CredentialKind.CERTIFICATE):
        page = await visit.desk.store.page(CREDENTIALS, where={"kind": kind.value}, limit=_CREDENTIALS)
        ending += [
            one.value
            for one in page.items
            if abs(one.value.not_after - visit.desk.now) <= _SOON or one.value.not_after < visit.desk.now
        ]
    ending.sort(key=lambda it: abs(it.not_after - visit.desk.now))
    found = [matter for one in ending[: 4 * _NAMED] if (matter := await _ending(visit, one)) is not None]
    return found[:_NAMED] + _further(
        len(ending) - _NAMED,
        "more credential has ended or ends soon",
        "more credentials have ended or end soon",
        "/portal/applications",
    )


async def _ending(visit: Visit, one: Credential) -> Matter | None:
    """A credential of the person's own tenant."""
    where = {"tenant_id": visit.desk.tenant.id, "client_id": one.client_id}
    page = await visit.desk.store.page(PRINCIPALS, where=where, limit=1)
    if not page.items:
        return None
    principal = page.items[0].value
    what = "client secret" if one.kind is CredentialKind.SECRET else "certificate"
    name = f" “{one.display_name}”" if one.display_name else ""
    over = one.not_after <= visit.desk.now
    text = (
        f"The {what}{name} of {principal.display_name} {'ended' if over else 'ends'} {relative(one.not_after, visit.desk.now)}"
    )
    return Matter(text=text, to=f"/portal/applications/{principal.id}", action="See its credentials", bad=over)


# Identities ------------------------------------------------------------------------------------------------------------


async def _unused(visit: Visit) -> list[Matter]:
    """User-assigned identities that no resource has, no other issuer's tokens stand for, and that got no token that is on record."""
    parts = await parts_of(visit, {"type": IDENTITY.lower()})
    question = Question(store=visit.desk.store, parts=parts, order=Sort("name"), limit=_IDENTITIES)
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    unused = [
        one.value.id for one in page.items if await _is_unused(visit, one.value.id, str(one.value.properties["principalId"]))
    ]
    named = [
        Matter(
            text=f"The identity {one.name} is used by nothing", to=f"/portal/identity/overview{one}", action="See the identity"
        )
        for one in unused[:_NAMED]
    ]
    return named + _further(
        len(unused) - _NAMED, "more identity is used by nothing", "more identities are used by nothing", "/portal/identities"
    )


async def _is_unused(visit: Visit, identity: ResourceId, principal_id: str) -> bool:
    store = visit.desk.store
    if await store.count(IDENTITY_ASSIGNMENTS, where={"identity_key": identity.key}, limit=1):
        return False
    if await store.count(FEDERATED_CREDENTIALS, where={"principal_id": principal_id}, limit=1):
        return False
    return not await store.read_log(SIGN_INS, where={"principal_id": principal_id}, limit=1)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
