"""Refusals that take a race, another machine or a mistake of ours to happen: explained all the same, whatever their records hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.explain.explain_world import ARM, GRAPH, ExplainWorld

from idplane.directory.agents import require_active
from idplane.model.calls import Call, Workload
from idplane.model.dialects import Dialect
from idplane.model.directory import Agent, AgentState
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.refusals import Evidence, Refusal, RefusalSurface
from idplane.ports.collections import AGENTS
from idplane.ports.store import ABSENT, Batch, Delete, Put
from idplane.testing.local import Application

_ID = "99999999-0000-4000-8000-000000000001"
_AGENT = "99999999-0000-4000-8000-000000000002"


def _note(world: ExplainWorld, failure: Failure, evidence: Evidence | None = None) -> str:
    """Have a failure kept as the edge keeps it."""
    if evidence is not None:
        failure.with_evidence(evidence)
    call = Call(request_id=_ID, correlation_id=_ID, received_at=world.plane.clock.now(), method="POST", url="/agent/v1/host")
    surface = RefusalSurface.AGENT.value

    async def note() -> None:
        world.keeper.note(failure, call, surface=surface, status=403)

    world.plane.run(note())
    return _ID


def test_an_identity_that_has_just_been_taken_off(world: ExplainWorld) -> None:
    identity = world.plane.user_assigned_identity("batch")
    machine = world.plane.virtual_machine("stock-vm")
    facts = {"host": machine.id, "principal": identity.principal_id}
    refused = _note(world, Failure(FailureKind.NOT_ENTITLED, "the identity is not assigned to the host", **facts))
    told = world.mend(refused)
    assert told.summary == f"'{machine.id}' does not have the identity batch, so there is no token for it there."
    assert world.endpoint(machine, Dialect.IMDS, {"resource": ARM, "client_id": identity.client_id}).ok
    assert world.explain(refused).now == "It is assigned now: a new token can be had."


@pytest.mark.parametrize(
    ("state", "words"),
    [(AgentState.BANNED, "Serve the machine again"), (AgentState.LOCKED, "Remove the host, and let its machine join anew")],
)
def test_a_machine_that_is_not_served(world: ExplainWorld, state: AgentState, words: str) -> None:
    machine = world.plane.virtual_machine("stock-vm")
    agent = Agent(
        id=_AGENT,
        display_name="rack-7",
        certificate=b"",
        thumbprint="00" * 32,
        enrolled_at=world.plane.clock.now(),
        hosts=(ResourceId.parse(machine.id).key,),
        state=state,
        state_because="its disk was stolen",
        host=ResourceId.parse(machine.id),
        tenant_id=world.plane.tenant_id,
    )
    world.plane.run(world.plane.store.commit(Batch.of(Put(collection=AGENTS, value=agent, expect=ABSENT))))
    with pytest.raises(Failure) as failure:
        require_active(agent)
    told = world.mend(_note(world, failure.value))
    assert "its disk was stolen" in told.summary
    assert told.fixes[0].text == words
    row = world.plane.run(world.plane.store.get(AGENTS, _AGENT))
    assert row is None or row.value.state is AgentState.ACTIVE
    stranger = world.plane.application("stranger")
    own = world.explain(_ID, world.caller(stranger.principal_id))
    assert "rack-7" not in own.summary
    world.plane.run(
        world.plane.store.commit(Batch.of(Delete(collection=AGENTS, key=_AGENT)))
    )  # no test makes any, so none is removed


def test_tokens_that_are_old_or_not_there(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    group = world.plane.resource_group()
    world.plane.grant(app, "Reader", group)
    url = f"{group}?api-version=2024-11-01"
    assert world.explain(world.send("GET", url).id).fixes[0].text.startswith(f"Send a token for '{ARM}'")
    token = world.token(app)
    world.plane.advance(timedelta(hours=2))
    assert world.explain(world.send("GET", url, token=token).id).fixes[0].text.startswith("Get a new token")
    assert world.send("GET", url, token=world.token(app)).ok


def test_a_scope_that_is_no_resource(world: ExplainWorld) -> None:
    app = world.plane.application("stock")
    form = {"grant_type": "client_credentials", "client_id": app.client_id, "client_secret": app.secret}

    def ask(scope: str) -> tuple[bool, str]:
        reply = world.send("POST", f"/{world.plane.tenant_id}/oauth2/v2.0/token", {**form, "scope": scope}, form=True)
        return reply.ok, reply.id

    told = world.explain(ask(f"{GRAPH}/User.Read")[1])
    assert told.fixes[0].text.endswith("/.default'")
    assert ask(f"{GRAPH}/.default")[0]


def test_an_issuer_that_may_not_be_asked(world: ExplainWorld) -> None:
    """Its address is not public, and nobody said that it may be asked there."""
    identity = world.plane.user_assigned_identity("builder")
    world.plane.federate(identity, "http://127.0.0.1:9", "me")
    shown = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkiLCJzdWIiOiJtZSIsImF1ZCI6ImFwaTovL0F6dXJlQURUb2tlbkV4Y2hhbmdlIn0.AAAA"
    client = Application(client_id=identity.client_id, principal_id=identity.principal_id, secret="")
    bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    told = world.explain(world.token_request(client, client_assertion=shown, client_assertion_type=bearer).id)
    assert "--private-issuer http://127.0.0.1:9" in told.fixes[-1].text


@pytest.mark.parametrize("rich", [False, True])
def test_every_kind_of_refusal_is_explained(world: ExplainWorld, *, rich: bool) -> None:
    """With nothing but its kind, and with facts that mean nothing: no analysis relies on a record that is as it should be."""
    machine = world.plane.virtual_machine("stock-vm")
    app = world.plane.application("stranger")
    names = (
        "host",
        "id",
        "locks",
        "selected",
        "issuer",
        "claims",
        "bindings",
        "resource",
        "agent",
        "credential",
        "roles",
        "limit",
    )
    blank = Refusal(id=_ID, at=world.plane.clock.now(), surface="token", kind="", detail="it was refused")
    full = replace(
        blank,
        facts=dict.fromkeys((*names, "not_after", "linked_scope", "linked_action", "scope", "namespace", "subscription"), "/"),
        principal_id=app.principal_id,
        tenant_id=world.plane.tenant_id,
        host=machine.id,
        scope=f"{machine.id}/no/such",
        action="A.B/things/read",
        workload=Workload(executable="relative"),
    )
    for kind in FailureKind:
        one = replace(full if rich else blank, kind=kind.name)
        for viewer in (world.owner, world.caller(app.principal_id)):
            told = world.explained(one, viewer)
            assert told.decided in told.considered, kind
            assert told.summary.endswith("."), kind
            assert told.refusal_id == _ID
    assert (
        world.explained(replace(blank, kind="OF_A_LATER_RELEASE"), world.owner).summary
        == "The request was refused: it was refused."
    )
