"""What a run's records mean: which failures the design allows, which it does not, and how long everybody was without success. Pure.

A failure is allowed when it overlaps a fault (from its start to the end of its settle time) that has a rule for its kind of client, its
result and its duration. Everything else is forbidden, and so is a client that was not heard again after a fault.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from faults.outcomes import Kind, Outcome, Result

__all__ = ["CALM", "Judgement", "Rule", "Silence", "Verdict", "Window", "judge"]

CALM = "no fault"
"""The name of all time that belongs to no fault."""
_JUST_BEFORE = 5.0
"""Seconds: every client asks more often than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a fault may do to clients of one kind."""

    kind: Kind
    results: frozenset[Result]
    within: float
    """Seconds within which such an answer must come: nobody may hang."""
    why: str
    """The part of the design that allows it, in a sentence's part."""
    clients: str = ""
    """Only clients whose names begin like this: those on one host, say."""

    def allows(self, outcome: Outcome) -> bool:
        """Whether an outcome is what this rule is about."""
        return (
            outcome.kind is self.kind
            and outcome.result in self.results
            and outcome.seconds <= self.within
            and outcome.client.startswith(self.clients)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Success is the failure: whom nothing may be given, and between which instants."""

    clients: str
    """What their names begin with."""
    kinds: frozenset[Kind]
    start: float
    end: float

    def breaks(self, outcome: Outcome) -> bool:
        """Whether an outcome is a success that should not have been."""
        return (
            outcome.result is Result.OK
            and outcome.kind in self.kinds
            and outcome.client.startswith(self.clients)
            and self.start <= outcome.at <= self.end
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One fault as it happened. Instants are those of `Outcome`."""

    fault: str
    start: float
    end: float
    """When what broke was whole again."""
    settled: float
    """When everybody has to be well again."""
    silence: Silence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a fault did to everybody."""

    fault: str
    seconds: float
    """From its start to its end."""
    requests: int
    allowed: int
    forbidden: tuple[str, ...]
    """One sentence for each failure that nothing allows."""
    gap: float
    """Seconds: the longest that a client was without success while it lasted and settled."""
    gap_client: str
    recovery: float
    """Seconds from its end until the last failure was over; 0 if none came after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All verdicts, in the order of the faults; the first is about the time of none."""

    verdicts: tuple[Verdict, ...]

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Every failure that nothing allows."""
        return tuple(sentence for verdict in self.verdicts for sentence in verdict.forbidden)


@dataclass(slots=True)
class _Found:
    """What falls into one window."""

    requests: int = 0
    allowed: int = 0
    last_failure: float = 0.0
    forbidden: list[str] = field(default_factory=list)


def judge(outcomes: Iterable[Outcome], windows: Sequence[Window], rules: Mapping[str, Sequence[Rule]]) -> Judgement:
    """Judge all `outcomes`; `rules` are by fault, and a fault that has none allows nothing. Windows do not overlap."""
    found: defaultdict[str, _Found] = defaultdict(_Found)
    ordered = sorted(outcomes, key=lambda one: one.until)
    for outcome in ordered:
        window = _window_of(outcome, windows, rules)
        into = found[window.fault if window else CALM]
        into.requests += 1
        if window and window.silence and window.silence.breaks(outcome):
            into.forbidden.append(
                f"{outcome.client}: {outcome.kind}: served {outcome.at - window.silence.start:.1f} s after it should have been refused"
            )
        if outcome.result is Result.OK:
            continue
        into.last_failure = max(into.last_failure, outcome.until)
        if window and any(rule.allows(outcome) for rule in rules.get(window.fault, ())):
            into.allowed += 1
        else:
            into.forbidden.append(_sentence(outcome, window))
    successes = _successes(ordered)
    verdicts = [_calm(ordered, windows, found[CALM])]
    verdicts += [_verdict(window, found[window.fault], successes) for window in windows]
    return Judgement(verdicts=tuple(verdicts))


def _window_of(outcome: Outcome, windows: Sequence[Window], rules: Mapping[str, Sequence[Rule]]) -> Window | None:
    """The fault that an outcome counts for: of two that it overlaps, the one that allows it."""
    touched = [one for one in windows if outcome.at <= one.settled and outcome.until >= one.start]
    allowing = [one for one in touched if any(rule.allows(outcome) for rule in rules.get(one.fault, ()))]
    return next(iter(allowing or touched), None)


def _sentence(outcome: Outcome, window: Window | None) -> str:
    when = f"{outcome.at - window.start:.1f} s into “{window.fault}”" if window else "while nothing was broken"
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return f"{outcome.client}: {outcome.kind}: {outcome.result}{detail} after {outcome.seconds:.1f} s, {when}"


def _successes(ordered: Iterable[Outcome]) -> Mapping[str, Sequence[Outcome]]:
    by_client: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in ordered:
        if outcome.result is Result.OK:
            by_client[outcome.client].append(outcome)
    return by_client


def _calm(ordered: Sequence[Outcome], windows: Sequence[Window], found: _Found) -> Verdict:
    lasted = ordered[-1].until - min(one.at for one in ordered) if ordered else 0.0
    return Verdict(
        fault=CALM,
        seconds=lasted - sum(one.settled - one.start for one in windows),
        requests=found.requests,
        allowed=0,
        forbidden=tuple(found.forbidden),
        gap=0.0,
        gap_client="",
        recovery=0.0,
    )


def _verdict(window: Window, found: _Found, successes: Mapping[str, Sequence[Outcome]]) -> Verdict:
    gap, gap_client = max(((_gap(ones, window), client) for client, ones in successes.items()), default=(0.0, ""))
    silent = [client for client, ones in successes.items() if not _is_back(ones, window)]
    return Verdict(
        fault=window.fault,
        seconds=window.end - window.start,
        requests=found.requests,
        allowed=found.allowed,
        forbidden=(
            *found.forbidden,
            *(f"{client}: no success any more after “{window.fault}”" for client in sorted(silent)),
        ),
        gap=gap,
        gap_client=gap_client,
        recovery=max(found.last_failure - window.end, 0.0),
    )


def _is_back(successes: Sequence[Outcome], window: Window) -> bool:
    """Whether a client that was there just before the fault had a success that began after it was over."""
    known = any(window.start - _JUST_BEFORE <= one.until <= window.start for one in successes)
    return not known or any(one.at >= window.end for one in successes)


def _gap(successes: Sequence[Outcome], window: Window) -> float:
    """The longest time between two successes, of which some lies in the window; what a client was without before its first does not count."""
    instants = [one.until for one in successes]
    pairs = itertools.pairwise(instants)
    return max(
        (later - earlier for earlier, later in pairs if later >= window.start and earlier <= window.settled), default=0.0
    )
