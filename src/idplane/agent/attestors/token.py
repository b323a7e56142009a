"""A join token from a file: what somebody who may write the enrollment handed to this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.attestors.files import read_private, required_path
from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["attestor"]


@dataclass(frozen=True, slots=True)
class _Token:
    path: Path
    method: str = JoinMethod.TOKEN.value

    async def challenge_body(self) -> JsonObject:
        """Nothing: the token is its own proof."""
        return {}

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The token."""
        del challenge
        try:
            token = read_private(self.path).decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{self.path} holds no join token") from error
        return {"token": token}


def attestor(argument: str) -> Attestor:
    """`token:FILE`."""
    return _Token(required_path(argument, "token"))
