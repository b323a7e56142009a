"""Enrolling machines: the rule that admits them, and join tokens, each shown once and kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.sorting import Sort
from idplane.providers.enrollments import ENROLLMENTS_TYPE
from idplane.web.portal.hosts import both
from idplane.web.portal.lists import Question
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import parts_of, visible
from idplane.web.portal.types import declared
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_LIST: Final = "/portal/hosts"
_FORM: Final = f"{_LIST}/enroll"
_VERSION: Final = "2026-11-01"
_METHODS: Final = (
    ("token", "Join token"),
    ("x509", "X.509 certificate"),
    ("ssh", "SSH host key"),
    ("tpm", "TPM"),
    ("oidc", "OpenID Connect"),
)
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "token": (),
    "x509": ("certificateAuthorities", "expression"),
    "ssh": ("publicKey", "certificateAuthority", "expression"),
    "tpm": ("endorsementKey", "certificateAuthorities", "expression"),
    "oidc": ("issuer", "audience", "expression"),
}
"""Members of an enrollment that are texts, by method."""
_JOINS: Final = {
    "x509": "--join x509:machine.pem,machine.key",
    "ssh": "--join ssh:/etc/ssh/ssh_host_ed25519_key",
    "tpm": "--join tpm",
    "oidc": "--join oidc:token-file",
}
_MINUTES: Final = (("10", "10 minutes"), ("60", "An hour"), ("480", "8 hours"), ("1440", "A day"))
_MOST: Final = 200


async def _form(visit: Visit) -> Page:
    return await _form_page(visit, {"host": visit.query("host"), "method": visit.query("method", "token")})


async def _form_page(visit: Visit, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    method = typed.get("method", "token")
    method = method if method in _TEXTS else "token"
    host = _host(typed.get("host", ""))
    names = ("host", "name", "facts", "carries", "minutes", *(name for texts in _TEXTS.values() for name in texts))
    tabs = [(label, visit.here.url(method=key, host=typed.get("host") or None), key == method) for key, label in _METHODS]
    return Html(
        template="host-enroll.html",
        values={
            "title": "Enroll a machine",
            "method": method,
            "tabs": tabs,
            "typed": {**dict.fromkeys(names, ""), "minutes": "60", "name": "join" if method == "token" else "", **typed},
            "resources": await _bearers(visit),
            "minutes": _MINUTES,
            "enroll": await both(visit, f"{ENROLLMENTS_TYPE}/write", host) if host else None,
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


def _host(text: str) -> ResourceId | None:
    try:
        return ResourceId.parse(text) if text.startswith("/") else None
    except Failure:
        return None


async def _bearers(visit: Visit) -> list[str]:
    """Resources that bear identities, for choosing: the first by name."""
    question = Question(store=visit.desk.store, parts=await parts_of(visit, {}), order=Sort("name"), limit=_MOST)
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    return [str(one.value.id) for one in page.items if (known := declared(one.value.type)) is not None and known.bears_identity]


async def _enroll(visit: Visit) -> Page:
    method, name = visit.form("method"), visit.form("name")
    try:
        host = ResourceId.parse(visit.form("host"))
        path = f"{host}/providers/{ENROLLMENTS_TYPE}/{name}"
        if method != JoinMethod.TOKEN or not await _is_there(visit, path):
            await visit.desk.write("PUT", path, {"properties": _properties(visit, method)}, version=_VERSION, if_match=None)
        if method == JoinMethod.TOKEN:
            return await _issued(visit, path)
    except Failure as failure:
        return await _form_page(visit, dict(visit.fields), failure)
    return Html(template="host-enrolled.html", values=_told(visit, host, _JOINS.get(method, "")))


async def _is_there(visit: Visit, path: str) -> bool:
    """Whether there is such an enrollment already: then its agents stay, and it only gets another token."""
    try:
        await visit.desk.read(path, version=_VERSION)
    except Failure as failure:
        if failure.kind is FailureKind.RESOURCE_NOT_FOUND:
            return False
        raise
    return True


def _properties(visit: Visit, method: str) -> JsonObject:
    found: dict[str, object] = {"method": method}
    found |= {name: text for name in _TEXTS.get(method, ()) if (text := visit.form(name))}
    if facts := _facts(visit.form("facts")):
        found["facts"] = facts
    if carries := visit.form("carries").split():
        found["carries"] = carries
    return found


def _facts(text: str) -> dict[str, object]:
    """`name=value` on each line; a name may be there several times."""
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise Failure(
                FailureKind.INVALID_PARAMETER, f"'{line[:60]}' is no fact: write name=value on each line", parameter="facts"
            )
        found.setdefault(name.strip(), []).append(value.strip())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


async def _token(visit: Visit) -> Page:
    """Another join token for an enrollment that is there."""
    host = ResourceId.parse(visit.form("host"))
    path = f"{host}/providers/{ENROLLMENTS_TYPE}/{visit.form('name')}"
    return await _issued(visit, path)


async def _issued(visit: Visit, path: str) -> Page:
    """The token, in this answer and nowhere else."""
    minutes = visit.form("minutes", "60")
    seconds = int(minutes) * 60 if minutes.isascii() and minutes.isdigit() and len(minutes) <= len("1440") else 0
    made = await visit.desk.write("POST", f"{path}/issueToken", {"expiresInSeconds": seconds}, version=_VERSION)
    host = ResourceId.parse(str(made.get("host")))
    told = _told(visit, host, "--join token:join-token")
    return Html(
        template="host-enrolled.html", values={**told, "token": str(made.get("token")), "expires": str(made.get("expiresAt"))}
    )


def _told(visit: Visit, host: ResourceId, join: str) -> Mapping[str, object]:
    server = visit.request.origin.portal.removesuffix("/portal")
    return {
        "title": f"Enroll a machine for {host.name}",
        "host": host,
        "token": "",
        "expires": "",
        "command": f"idplane agent --server {server} --ca ca.pem {join} --data /var/lib/idplane-agent",
    }


async def _delete(visit: Visit) -> Page:
    host = ResourceId.parse(visit.form("host"))
    name = visit.form("name")
    await visit.desk.write("DELETE", f"{host}/providers/{ENROLLMENTS_TYPE}/{name}", version=_VERSION)
    return Redirect(to=f"{_LIST}?host={host}", said=f"The enrollment {name} is gone, and the machines that it let in.")


ROUTES: Final = (
    Route(method="GET", pattern=_FORM, handler=_form),
    Route(method="POST", pattern=_FORM, handler=_enroll),
    Route(method="POST", pattern=f"{_FORM}/token", handler=_token),
    Route(method="POST", pattern=f"{_FORM}/delete", handler=_delete),
)
