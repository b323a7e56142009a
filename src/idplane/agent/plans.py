"""What targets ask for, worked out once each: every request for a cached token would otherwise parse, encode and date the same again.

A plan knows only what follows from the bytes of a target, and of a form. Who asks, and with which headers, is looked at for every
request; no plan is a permission.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from idplane.agent.protocol import Peer
from idplane.agent.query import Target, parse_target
from idplane.agent.replies import Reply
from idplane.agent.source import TokenAsk
from idplane.agent.tokens import Token
from idplane.model.failure import Failure

__all__ = ["Plan", "Plans", "Service", "TokenPlan", "Wish", "Words"]

_MAX_PLANS = 512
_MAX_REMEMBERED = 1024
"""Bytes of a target and its form."""

Words: TypeAlias = Callable[[Token, datetime], Reply]
"""How a dialect says a token, at a time."""
Service: TypeAlias = Callable[[Peer | None], Coroutine[Any, Any, Reply]]
"""Something else than a token."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A token that a target asks for."""

    ask: TokenAsk
    words: Words


class TokenPlan:
    """A wish, and its last answer for as long as that is true: one second, one token."""

    __slots__ = ("_reply", "_second", "_token", "_words", "ask")

    def __init__(self, wish: Wish) -> None:
        self.ask = wish.ask
        self._words = wish.words
        self._token: Token | None = None
        self._second = -1
        self._reply: Reply | None = None

    def worded(self, token: Token, now: datetime) -> Reply:
        """The answer is remembered by its token, so that whoever may not have this token never meets this answer."""
        second = int(now.timestamp())
        if token is not self._token or second != self._second or self._reply is None:
            self._token, self._second, self._reply = token, second, self._words(token, now)
        return self._reply


class Plan:
    """What a target means. Its failure is told only after the checks that come before it."""

    __slots__ = ("authority", "meaning")

    def __init__(self, authority: bytes | None, meaning: TokenPlan | Service | Failure) -> None:
        self.authority = authority
        """The host in an absolute-form target."""
        self.meaning = meaning

    def asked(self) -> TokenPlan | Service:
        """A token or a service; raises the `Failure` that the target is instead, a new one each time."""
        meaning = self.meaning
        if isinstance(meaning, Failure):
            raise Failure(meaning.kind, meaning.detail, **meaning.data)
        return meaning


class Plans:
    """The plans of one listener, as many as are worth remembering. `read` is what a dialect makes of a target and a form."""

    def __init__(self, read: Callable[[Target, bytes], Wish | Service]) -> None:
        self._read = read
        self._plans: dict[tuple[bytes, bytes], Plan] = {}

    def of(self, target: bytes, form: bytes = b"") -> Plan:
        """The plan; never raises `Failure`."""
        return self._plans.get((target, form)) or self._planned(target, form)

    def _planned(self, target: bytes, form: bytes) -> Plan:
        plan = self._plan(target, form)
        if len(target) + len(form) <= _MAX_REMEMBERED:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[target, form] = plan
        return plan

    def _plan(self, raw: bytes, form: bytes) -> Plan:
        authority = None
        try:
            target = parse_target(raw)
            authority = target.authority
            meaning = self._read(target, form)
        except Failure as failure:
            return Plan(authority, Failure(failure.kind, failure.detail, **failure.data))  # without what was on the stack
        return Plan(authority, TokenPlan(meaning) if isinstance(meaning, Wish) else meaning)
