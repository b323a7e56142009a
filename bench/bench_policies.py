"""Decisions beside two policy engines, on the same assignments and questions: Cedar (cedarpy) and Casbin (pycasbin).

The data is that of `bench_rbac.py`. Cedar gets the model that suits it best: one policy for each role, holders of a role at a scope
as groups that contain those of the scope above, everything parsed ahead, and in memory only what the questions touch. Casbin gets a
line for each assignment, which its matcher reads in turn; so it answers few questions, and none at a million. All three must agree.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import casbin
import cedarpy
from bench_rbac import _ACTIONS, Call, assignments, calls, decided, fill
from measure import median, print_environment

from idplane.bootstrap.world import SystemClock
from idplane.model.roles import RoleAssignment
from idplane.rbac import BUILT_IN_ROLES, AccessControl
from idplane.rbac.rules import Rules
from idplane.store.sqlite import SqliteStore

CASBIN_QUESTIONS = {1_000: 50, 100_000: 4, 1_000_000: 0}
ROUNDS = 3
_RULES = {role: Rules(definition.permissions) for role, definition in BUILT_IN_ROLES.items()}
_CASBIN_MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && within(r.obj, p.obj) && holds(p.act, r.act)
"""


@dataclass(frozen=True)
class Engine:
    """What answers a question, and how many questions it can be asked in reasonable time."""

    ask: Callable[[Call], bool]
    questions: int


def holds(role: str, action: str) -> bool:
    return _RULES[role].hold(action, data=False)


def within(target: str, scope: str) -> bool:
    return scope in {"/", target} or target.startswith(scope + "/")


def _chain(call: Call) -> list[str]:
    return [one.key for one in call.scope.lineage()]


# Cedar --------------------------------------------------------------------------------------------------------------


def _policies(roles: Iterable[str]) -> str:
    lines = []
    for role in roles:
        held = ", ".join(f'Action::"{action}"' for action in _ACTIONS if holds(role, action))
        if held:
            lines.append(f"permit (principal, action in [{held}], resource) when {{ principal in resource.{_member(role)} }};")
    return "\n".join(lines)


def _holders(role: str, scope: str) -> dict[str, str]:
    return {"type": "Holders", "id": f"{role}|{scope}"}


def _entities(wanted: Sequence[Call], held: Sequence[RoleAssignment], roles: Sequence[str]) -> str:
    """What the questions touch: the targets, the holders of each role along their scopes, and the callers."""
    holders: dict[tuple[str, str], set[str]] = {}
    """Of each role and scope: the scopes below, where whoever holds the role here holds it too."""
    grants: dict[str, list[dict[str, str]]] = {one: [] for call in wanted for one in call.ids}
    for call, role in itertools.product(wanted, roles):
        chain = _chain(call)
        for scope, above in itertools.pairwise(chain):
            holders.setdefault((role, scope), set())
            holders.setdefault((role, above), set()).add(scope)
    for assignment in held:
        if assignment.principal_id in grants:
            grants[assignment.principal_id].append(_holders(assignment.role_id, assignment.scope_key))
    entities = [
        *(_entity(_holders(role, scope), [_holders(role, one) for one in below]) for (role, scope), below in holders.items()),
        *(_entity({"type": "Principal", "id": one}, parents) for one, parents in grants.items()),
        *(_entity(_caller(call), [{"type": "Principal", "id": one} for one in call.ids]) for call in wanted),
    ]
    for target in {call.scope.key for call in wanted}:
        attributes = {_member(role): {"__entity": _holders(role, target)} for role in roles}
        entities.append(_entity({"type": "Resource", "id": target}, [], attributes))
    return json.dumps(entities)


def _entity(uid: Mapping[str, str], parents: Sequence[object], attributes: Mapping[str, object] | None = None) -> object:
    return {"uid": uid, "parents": parents, "attrs": attributes or {}}


def _caller(call: Call) -> dict[str, str]:
    return {"type": "Caller", "id": "+".join(sorted(call.ids))}


def _member(role: str) -> str:
    return "r" + role.replace("-", "")


def cedar(wanted: Sequence[Call], held: Sequence[RoleAssignment]) -> Engine:
    roles = sorted({one.role_id for one in held})
    policies = cedarpy.PolicySet.from_str(_policies(roles))
    entities = cedarpy.Entities.from_json_str(_entities(wanted, held, roles))

    def ask(call: Call) -> bool:
        request = {
            "principal": _caller(call),
            "action": {"type": "Action", "id": call.action},
            "resource": {"type": "Resource", "id": call.scope.key},
            "context": {},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return Engine(ask, len(wanted))


# Casbin -------------------------------------------------------------------------------------------------------------


def pycasbin(wanted: Sequence[Call], held: Sequence[RoleAssignment], questions: int) -> Engine:
    model = casbin.Model()
    model.load_model_from_text(_CASBIN_MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_function("within", within)
    enforcer.add_function("holds", holds)
    enforcer.add_policies([(one.principal_id, one.scope_key, one.role_id) for one in held])
    for call in wanted[:questions]:
        enforcer.add_grouping_policies([(_caller(call)["id"], one) for one in call.ids])

    def ask(call: Call) -> bool:
        return bool(enforcer.enforce(_caller(call)["id"], call.scope.key, call.action))

    return Engine(ask, questions)


# Side by side -------------------------------------------------------------------------------------------------------


def asked(engine: Engine, wanted: Sequence[Call]) -> float:
    """Microseconds of CPU a decision."""
    part = wanted[: engine.questions]
    start = time.process_time()
    for call in part:
        engine.ask(call)
    return (time.process_time() - start) / len(part) * 1e6


async def agree(access: AccessControl, engines: Iterable[Engine], wanted: Sequence[Call]) -> int:
    """How many of the questions are allowed; all engines must say the same."""
    allowed = 0
    for number, call in enumerate(wanted):
        ours = (await access.check(call.ids, call.action, call.scope)).allowed
        allowed += ours
        for engine in engines:
            if number < engine.questions and engine.ask(call) != ours:
                raise SystemExit(f"the engines disagree about {call}")
    return allowed


async def measure(size: int) -> None:
    store = await SqliteStore.open(":memory:", clock=SystemClock())
    await fill(store, size)
    wanted, held = calls(size), list(assignments(size))
    touched = {one for call in wanted for one in call.ids}
    engines = {"cedarpy": cedar(wanted, [one for one in held if one.principal_id in touched])}
    if CASBIN_QUESTIONS[size]:
        engines["pycasbin"] = pycasbin(wanted, held, CASBIN_QUESTIONS[size])
    access = AccessControl(store=store)
    allowed = await agree(access, engines.values(), wanted)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        ours.append(await decided(access, wanted))
        for name, engine in engines.items():
            theirs[name].append(asked(engine, wanted))
    access.close()
    await store.close()
    rates = [f"idplane {1e6 / median(ours):>9,.0f}/s ({median(ours):.1f} us)"]
    rates += [f"{name} {1e6 / median(it):>7,.1f}/s = 1/{median(it) / median(ours):,.0f}" for name, it in theirs.items()]
    print(f"{size:>9,} assignments, {allowed} of {len(wanted)} allowed   {'   '.join(rates)}")


def main() -> None:
    print_environment()
    for size in CASBIN_QUESTIONS:
        asyncio.run(measure(size))


if __name__ == "__main__":
    main()
