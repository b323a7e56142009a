"""A token that another issuer gave to this host: `oidc:FILE`, such as a projected service account token of Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.attestors.files import read_small, required_path
from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["attestor"]


@dataclass(frozen=True, slots=True)
class _Oidc:
    path: Path
    method: str = JoinMethod.OIDC.value

    async def challenge_body(self) -> JsonObject:
        """Nothing: the token is its own proof."""
        return {}

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The token as the file has it now. Projected files are readable for the whole pod, so their mode says nothing."""
        del challenge
        try:
            return {"token": read_small(self.path).decode("ascii").strip()}
        except UnicodeDecodeError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{self.path} holds no token") from error


def attestor(argument: str) -> Attestor:
    """`oidc:FILE`."""
    return _Oidc(required_path(argument, "oidc"))
