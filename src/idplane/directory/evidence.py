"""Evidence of what a machine is, as every method of attestation presents it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from idplane.model.enrollments import Facts, SpentProof, Trust
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["MAX_EVIDENCE", "Evidence", "Presented", "binary", "refused", "text"]

MAX_EVIDENCE: Final = 64 * 1024
"""Bytes of a whole request to enroll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a machine sent, and the challenge that it answers."""

    members: JsonObject = field(repr=False)
    """As it came: join tokens and those of other issuers are bearer secrets."""
    csr: bytes = field(repr=False)
    """DER of the request for the certificate that it wants."""
    nonce: bytes = b""
    """Of the challenge; empty for methods without one."""
    sealed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the challenge holds besides, which the machine could neither read nor change."""
    audience: str = ""
    """What tokens of other issuers must be for."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """Facts that a machine claims, and the way to find out whether they are so.

    Which enrollments ask for such facts is looked up first; only what these trust is then checked.
    """

    facts: Facts
    check: Callable[[Trust], Awaitable[Facts]]
    """The facts that are proved under a trust, which may be fewer; raises `Failure(ENROLLMENT_REFUSED)` when none is."""
    spent: tuple[SpentProof, ...] = ()
    """What can be used once, and is by this."""


def refused(detail: str, *, reason: str = "", **data: str) -> Failure:
    """`detail` is told; `reason` is for the activity log only, since it may speak of what is no business of a stranger's."""
    return Failure(FailureKind.ENROLLMENT_REFUSED, detail, **{**data, **({"reason": reason} if reason else {})})


def text(members: JsonObject, name: str, *, limit: int) -> str:
    """A text of the evidence."""
    value = members.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise refused(f"the evidence has no '{name}' of 1 to {limit} characters")
    return value


def binary(members: JsonObject, name: str, *, limit: int) -> bytes:
    """Bytes of the evidence, sent as base64."""
    try:
        value = base64.b64decode(text(members, name, limit=limit * 4 // 3 + 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused(f"the evidence's '{name}' is not base64") from error
    if not 0 < len(value) <= limit:
        raise refused(f"the evidence's '{name}' is empty or larger than {limit} bytes")
    return value
