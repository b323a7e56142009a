"""Federated credentials as people set them up: by scenario, and as the commands that would make them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.federation import FederatedCredential
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["ENTITIES", "GITHUB", "SCENARIOS", "Typed", "command_of", "trust_of", "typed_of"]

GITHUB: Final = "https://token.actions.githubusercontent.com"
_AUDIENCE: Final = "api://AzureADTokenExchange"
SCENARIOS: Final = (
    ("github", "GitHub Actions"),
    ("kubernetes", "Kubernetes service account"),
    ("other", "Other issuer"),
    ("expression", "Other issuer, by an expression over claims"),
)
ENTITIES: Final = (
    ("branch", "Branch"),
    ("tag", "Tag"),
    ("environment", "Environment"),
    ("pull_request", "Pull request"),
)
_FIELDS: Final = (
    "name",
    "organization",
    "repository",
    "entity",
    "value",
    "cluster",
    "namespace",
    "account",
    "issuer",
    "subject",
    "expression",
    "audience",
)


def trust_of(scenario: str, typed: Mapping[str, str]) -> JsonObject:
    """The `properties` that a filled form means; what is missing is refused by whoever takes them."""
    audiences = [typed.get("audience") or _AUDIENCE]
    match scenario:
        case "github":
            return {"issuer": GITHUB, "subject": _github_subject(typed), "audiences": audiences}
        case "kubernetes":
            subject = f"system:serviceaccount:{typed.get('namespace', '')}:{typed.get('account', '')}"
            return {"issuer": typed.get("cluster", ""), "subject": subject, "audiences": audiences}
        case "expression":
            expression = {"value": typed.get("expression", ""), "languageVersion": 1}
            return {"issuer": typed.get("issuer", ""), "claimsMatchingExpression": expression, "audiences": audiences}
        case _:
            return {"issuer": typed.get("issuer", ""), "subject": typed.get("subject", ""), "audiences": audiences}


def _github_subject(typed: Mapping[str, str]) -> str:
    repository = f"repo:{typed.get('organization', '')}/{typed.get('repository', '')}"
    value = typed.get("value", "")
    match typed.get("entity"):
        case "environment":
            return f"{repository}:environment:{value}"
        case "tag":
            return f"{repository}:ref:refs/tags/{value}"
        case "pull_request":
            return f"{repository}:pull_request"
        case _:
            return f"{repository}:ref:refs/heads/{value}"


@dataclass(frozen=True, slots=True)
class Typed:
    """A form's scenario and what its fields hold."""

    scenario: str
    fields: Mapping[str, str]


def typed_of(credential: FederatedCredential | None, scenario: str = "github") -> Typed:
    """The form that a credential would have been made with; an empty one for none."""
    empty = {**dict.fromkeys(_FIELDS, ""), "audience": _AUDIENCE, "entity": "branch"}
    if credential is None:
        return Typed(scenario, empty)
    trust = credential.trust
    common = {**empty, "name": credential.name, "issuer": trust.issuer, "audience": trust.audience}
    if trust.expression is not None:
        return Typed("expression", {**common, "expression": trust.expression.value})
    subject = trust.subject or ""
    if trust.issuer == GITHUB and (found := _github_fields(subject)) is not None:
        return Typed("github", {**common, **found})
    service, _, account = subject.removeprefix("system:serviceaccount:").partition(":")
    if subject.startswith("system:serviceaccount:") and account:
        return Typed("kubernetes", {**common, "cluster": trust.issuer, "namespace": service, "account": account})
    return Typed("other", {**common, "subject": subject})


def _github_fields(subject: str) -> dict[str, str] | None:
    """What a subject of GitHub's says, if the form can say the same."""
    parts = subject.split(":", 2)
    organization, slash, repository = parts[1].partition("/") if len(parts) == 3 else ("", "", "")  # noqa: PLR2004 - repo, its name, the rest
    if parts[0] != "repo" or not slash:
        return None
    named = {"organization": organization, "repository": repository}
    for entity, start in (("environment", "environment:"), ("tag", "ref:refs/tags/"), ("branch", "ref:refs/heads/")):
        if parts[2].startswith(start):
            return {**named, "entity": entity, "value": parts[2].removeprefix(start)}
    return {**named, "entity": "pull_request"} if parts[2] == "pull_request" else None


def command_of(identity: ResourceId, credential: FederatedCredential) -> str:
    """The command of the Azure CLI that makes a credential like that."""
    trust = credential.trust
    words = [
        *("idplane", "az", "identity", "federated-credential", "create"),
        *("--name", credential.name, "--identity-name", identity.name, "--resource-group", identity.resource_group or ""),
        *("--issuer", trust.issuer),
    ]
    if trust.expression is not None:
        words += ["--claims-matching-expression-value", trust.expression.value]
        words += ["--claims-matching-expression-version", str(trust.expression.language_version)]
    else:
        words += ["--subject", trust.subject or ""]
    return shlex.join([*words, "--audiences", trust.audience])
