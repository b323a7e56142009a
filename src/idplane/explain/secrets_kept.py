"""Why a vault refused what the caller has a right to: the secret is disabled, deleted, or not there."""

from __future__ import annotations

from urllib.parse import unquote

from idplane.explain.authority import who_may
from idplane.explain.clients import nearest_text, when
from idplane.explain.commands import az
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, FixRequest, Link, LinkKind, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.model.vault import SecretVersion
from idplane.ports.collections import SECRETS
from idplane.vault.shelf import Shelf

__all__ = ["secret_deleted", "secret_disabled", "secret_missing"]

_SECRETS = "Microsoft.KeyVault/vaults/secrets"
_VERSION = "7.4"
_LOOKED_AT = 500
_DEPTH = 9
"""Segments of a vault's id, which a secret's begins with, and one."""


async def secret_disabled(case: Case) -> Findings:
    """A disabled version cannot be read."""
    vault, name = _place(case)
    if vault is None or name is None:
        return as_told(case)
    version = case.fact("version") or None
    found = await _version(case, vault, name, version)
    told = case.sight.is_self(case.refusal.principal_id) or await _lists(case, vault)
    enabled = told and found is not None and found.enabled
    decided = _step(vault, name, "is disabled, and a disabled secret cannot be read", Verdict.REFUSES)
    words = ("--vault-name", vault.name, "--name", name, "--enabled", "true")
    which = () if version is None else ("--version", version)
    fix = Fix(
        text=f"Enable the secret '{name}'",
        command=az("keyvault", "secret", "set-attributes", *words, *which),
        request=_request(vault, "PATCH", f"/secrets/{name}/{version or ''}", {"attributes": {"enabled": True}}),
        who_may=await who_may(case.sight, case.tools, f"{_SECRETS}/update/action", vault, data=True),
    )
    return Findings(
        summary=f"The caller may read the secret '{name}' of the vault '{vault.name}', but it is disabled.",
        decided=decided,
        considered=(decided,),
        fixes=() if enabled else (fix,),
        now="It is enabled now." if enabled else None,
    )


async def secret_deleted(case: Case) -> Findings:
    """A deleted secret keeps its name until it is purged."""
    vault, name = _place(case)
    if vault is None or name is None:
        return as_told(case)
    found = await _current(case, vault, name)
    told = case.sight.is_self(case.refusal.principal_id) or await _lists(case, vault)
    gone = not told or (found is not None and found.deleted_at is not None)
    why = "is deleted, and keeps its name until it is recovered or purged"
    decided = _step(vault, name, why, Verdict.REFUSES)
    return Findings(
        summary=f"The secret '{name}' of the vault '{vault.name}' {why}.",
        decided=decided,
        considered=(decided,),
        fixes=(await _recovering(case, vault, name),) if gone else (),
        now=None if gone else "It is not deleted any more.",
    )


async def secret_missing(case: Case) -> Findings:
    """There is no secret of that name: deleted, perhaps, or spelled otherwise."""
    vault, name = _place(case)
    if vault is None or name is None:
        return as_told(case)
    found = await _current(case, vault, name) if await _lists(case, vault) else None
    decided = _step(vault, name, "is not there", Verdict.REFUSES)
    if found is not None and found.deleted_at is not None:
        decided = _step(vault, name, f"was deleted on {when(found.deleted_at)}, and can be recovered", Verdict.REFUSES)
        return Findings(
            summary=f"The secret '{name}' of the vault '{vault.name}' was deleted.",
            decided=decided,
            considered=(decided,),
            fixes=(await _recovering(case, vault, name),),
        )
    near = await _like(case, vault, name)
    step = None if near is None else _step(vault, near, "is the one most like it", Verdict.MISSES)
    asked = () if near is None else (Fix(text=f"Ask for the secret '{near}'"),)
    set_it = Fix(
        text=f"Set the secret '{name}'",
        command=az("keyvault", "secret", "set", "--vault-name", vault.name, "--name", name, "--value", "VALUE"),
        who_may=await who_may(case.sight, case.tools, f"{_SECRETS}/setSecret/action", vault, data=True),
    )
    return Findings(
        summary=f"The vault '{vault.name}' has no secret '{name}'{'' if near is None else f'; it has {near!r}'}.",
        decided=decided,
        considered=(decided,) if step is None else (step, decided),
        nearest=step,
        fixes=(*asked, set_it),
        now="There is one now." if found is not None else None,
    )


# Parts --------------------------------------------------------------------------------------------------------------------


def _place(case: Case) -> tuple[ResourceId | None, str | None]:
    """The vault and the secret that a request was about."""
    scope = parsed(case.refusal.scope)
    if scope is None:
        return None, None
    words = [unquote(one) for one in case.refusal.url.split("/") if one]
    named = words[1] if len(words) > 1 and words[0].lower() in {"secrets", "deletedsecrets"} else None
    vault = ResourceId(scope.segments[: _DEPTH - 1])
    return vault, (scope.name if len(scope.segments) > _DEPTH else None) or named


async def _lists(case: Case, vault: ResourceId) -> bool:
    """Whether the viewer may know which secrets there are."""
    return await case.sight.may(f"{_SECRETS}/readMetadata/action", vault, data=True)


async def _current(case: Case, vault: ResourceId, name: str) -> SecretVersion | None:
    found = await Shelf(store=case.tools.store, vault_key=vault.key).current(name)
    return None if found is None else found.value


async def _version(case: Case, vault: ResourceId, name: str, version: str | None) -> SecretVersion | None:
    try:
        return (await Shelf(store=case.tools.store, vault_key=vault.key).version(name, version)).value
    except Failure:  # it has gone meanwhile
        return None


async def _like(case: Case, vault: ResourceId, name: str) -> str | None:
    if not await _lists(case, vault):
        return None
    page = await case.tools.store.page(SECRETS, where={"vault_key": vault.key, "deleted": 0}, limit=_LOOKED_AT)
    return nearest_text(name, [row.value.name for row in page.items if row.value.name.lower() != name.lower()])


async def _recovering(case: Case, vault: ResourceId, name: str) -> Fix:
    return Fix(
        text=f"Recover the secret '{name}'",
        command=az("keyvault", "secret", "recover", "--vault-name", vault.name, "--name", name),
        request=_request(vault, "POST", f"/deletedsecrets/{name}/recover", None),
        who_may=await who_may(case.sight, case.tools, f"{_SECRETS}/recover/action", vault, data=True),
    )


def _request(vault: ResourceId, method: str, path: str, body: JsonObject | None) -> FixRequest:
    return FixRequest(api="vault", method=method, path=f"{path}?api-version={_VERSION}", body=body, vault=vault.name)


def _step(vault: ResourceId, name: str, why: str, verdict: Verdict) -> Step:
    scope = f"{vault}/secrets/{name}"
    return Step(
        kind=StepKind.SECRET, verdict=verdict, name=name, why=why, scope=scope, link=Link(kind=LinkKind.SCOPE, ref=str(vault))
    )
