"""An explanation as a page shows it: each fact with where it leads, each rule with its verdict, each fix with what its button does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qsl, quote, urlsplit

from idplane.explain.model import LinkKind, StepKind, Verdict
from idplane.model.ids import ResourceId
from idplane.web.portal.places import iam, parsed_scope

__all__ = ["Document", "FixShown", "Told", "told_of"]

Document: TypeAlias = Mapping[str, Any]
"""A part of the API's answer; `explain.documents` says what is in it."""

_KINDS: Final = {
    StepKind.DENY_ASSIGNMENT.value: "Deny assignment",
    StepKind.ROLE_ASSIGNMENT.value: "Role assignment",
    StepKind.ABSENCE.value: "What is missing",
    StepKind.FEDERATED_CREDENTIAL.value: "Federated credential",
    StepKind.ASSIGNED_IDENTITY.value: "Assigned identity",
    StepKind.ENDPOINT.value: "Token endpoint",
}
_VERDICTS: Final = {
    Verdict.REFUSES.value: ("Refuses", "bad"),
    Verdict.ALLOWS.value: ("Allows", "good"),
    Verdict.PASSES.value: ("Says nothing", ""),
    Verdict.MISSES.value: ("Nearly", "warn"),
}
_DOABLE: Final = frozenset({"management", "graph"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FixShown:
    """A change that would help."""

    document: Document
    number: int

    @property
    def request(self) -> Document | None:
        """The change as one request, if it is one that the portal can make."""
        found = self.document["request"]
        return found if isinstance(found, dict) and found["api"] in _DOABLE else None

    @property
    def who(self) -> Document | None:
        """Who can make it."""
        found = self.document["whoMay"]
        return found if isinstance(found, dict) else None

    @property
    def open(self) -> bool:
        """Whether the person can make it here and now."""
        return self.request is not None and (self.who is None or self.who["you"] is True)

    @property
    def digest(self) -> str:
        """Of the request: what the person saw is what is done."""
        return hashlib.sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> str:
        """Of the request, without its query."""
        path = urlsplit(str(self._request["path"])).path
        return path if self._request["api"] == "management" else f"/{path.lstrip('/').partition('/')[2]}"

    @property
    def version(self) -> str:
        """The api-version of the request."""
        return dict(parse_qsl(urlsplit(str(self._request["path"])).query)).get("api-version", "")

    @property
    def body(self) -> str:
        """What is sent, for people."""
        found = self._request["body"]
        return "" if found is None else json.dumps(found, indent=2)

    @property
    def _request(self) -> Document:
        found = self.request
        if found is None:
            raise ValueError("a fix without a request")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An explanation, and the record of the refusal that it is of."""

    document: Document
    record: Document

    @property
    def id(self) -> str:
        """The refusal's; empty for a question."""
        return str(self.document["refusalId"] or "")

    @property
    def allowed(self) -> bool:
        """The answer to a question."""
        return bool(self.document["allowed"])

    @property
    def would_pass(self) -> bool:
        """Whether it would be allowed now."""
        now = self.document["now"]
        return self.allowed or (isinstance(now, str) and now.startswith("It would be allowed now"))

    @property
    def fixes(self) -> tuple[FixShown, ...]:
        """What would help."""
        return tuple(FixShown(document=one, number=number) for number, one in enumerate(self.document["fixes"]))

    @property
    def steps(self) -> list[Document]:
        """Every rule that was considered, with its marks."""
        return [self._step(one) for one in self.document["considered"]]

    @property
    def decided(self) -> Document:
        """What decided."""
        return self._step(self.document["decided"])

    @property
    def nearest(self) -> Document | None:
        """What came nearest to allowing it, unless that is what decided."""
        found = self.document["nearest"]
        return None if found is None or found == self.document["decided"] else self._step(found)

    @property
    def who(self) -> list[Document]:
        """Who asked."""
        return self._facts(self.document["who"])

    @property
    def what(self) -> list[Document]:
        """What was asked."""
        return self._facts(self.document["what"])

    def facts(self, found: Sequence[Document]) -> list[Document]:
        """Facts with where each leads."""
        return self._facts(found)

    def _facts(self, found: Sequence[Document]) -> list[Document]:
        return [
            {**one, "label": f"{one['label'][:1].upper()}{one['label'][1:]}", "to": self._leads(one["link"])} for one in found
        ]

    def _step(self, one: Document) -> Document:
        word, mark = _VERDICTS[one["verdict"]]
        return {
            **one,
            "is_decided": one == self.document["decided"],
            "is_nearest": one == self.document["nearest"],
            "label": _KINDS.get(one["kind"], str(one["kind"]).replace("-", " ").capitalize()),
            "word": word,
            "mark": mark,
            "to": self._leads(one["link"]),
        }

    def _leads(self, link: Any) -> str:
        return "" if not isinstance(link, dict) else _address(link["kind"], str(link["ref"]), self.record)


def told_of(answer: object, *, record: object = None) -> Told:
    """An explanation out of the API's answer."""
    return Told(document=cast("Document", answer), record=cast("Document", record or {}))


def _address(kind: str, ref: str, record: Document) -> str:
    """Where what a fact names has a page; empty if nowhere."""
    if kind in _SCOPED:
        scope = parsed_scope(ref)
        return "" if scope is None else _SCOPED[kind](scope)
    named = {LinkKind.PRINCIPAL.value: "/portal/access/identity", LinkKind.ROLE.value: "/portal/iam/role"}.get(kind)
    if named is not None:
        return f"{named}/{quote(ref, safe='')}"
    correlation = record.get("correlationId") if kind == LinkKind.SIGN_IN.value else None
    return f"/portal/sign-ins?correlation={quote(str(correlation), safe='')}" if correlation else ""


_SCOPED: Final[Mapping[str, Callable[[ResourceId], str]]] = {
    LinkKind.SCOPE.value: iam,
    LinkKind.ASSIGNMENT.value: lambda it: f"{iam(it.scope, 'assignments')}#{quote(it.name)}",
    LinkKind.DENY.value: lambda it: f"{iam(it.scope, 'denies')}#{quote(it.name)}",
}
