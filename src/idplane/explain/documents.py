"""Explanations as JSON: what the API answers with, and `idplane explain --json` prints."""

from __future__ import annotations

from collections.abc import Sequence

from idplane.explain.model import Clause, Explanation, Fact, Fix, FixRequest, Link, Step, WhoMay
from idplane.model.values import JsonObject

__all__ = ["explanation_document"]


def explanation_document(one: Explanation) -> JsonObject:
    """The whole explanation. Members that have nothing to say are null or empty, never left out."""
    return {
        "refusalId": one.refusal_id,
        "at": None if one.at is None else one.at.isoformat(),
        "allowed": one.allowed,
        "summary": one.summary,
        "who": _facts(one.who),
        "what": _facts(one.what),
        "decided": _step(one.decided),
        "considered": [_step(each) for each in one.considered],
        "nearest": None if one.nearest is None else _step(one.nearest),
        "fixes": [_fix(each) for each in one.fixes],
        "together": one.together,
        "now": one.now,
        "hidden": one.hidden,
    }


def _facts(facts: Sequence[Fact]) -> list[JsonObject]:
    return [{"label": one.label, "value": one.value, "link": _link(one.link)} for one in facts]


def _link(link: Link | None) -> JsonObject | None:
    return None if link is None else {"kind": link.kind.value, "ref": link.ref}


def _step(one: Step) -> JsonObject:
    return {
        "kind": one.kind.value,
        "verdict": one.verdict.value,
        "name": one.name,
        "why": one.why,
        "id": one.id,
        "scope": one.scope,
        "clauses": [_clause(each) for each in one.clauses],
        "link": _link(one.link),
    }


def _clause(one: Clause) -> JsonObject:
    return {"text": one.text, "holds": one.holds, "left": one.left, "right": one.right}


def _fix(one: Fix) -> JsonObject:
    return {
        "text": one.text,
        "command": one.command,
        "request": None if one.request is None else _request(one.request),
        "whoMay": None if one.who_may is None else _who_may(one.who_may),
    }


def _request(one: FixRequest) -> JsonObject:
    return {"api": one.api, "method": one.method, "path": one.path, "body": one.body, "vault": one.vault}


def _who_may(one: WhoMay) -> JsonObject:
    return {
        "action": one.action,
        "scope": one.scope,
        "you": one.you,
        "roles": [*one.roles],
        "principals": _facts(one.principals),
        "more": one.more,
    }
