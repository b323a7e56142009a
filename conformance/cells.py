"""What is asked of every program: the dialects, the identities and the ways to name them. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["APPLICATIONS", "CELLS", "DIALECTS", "IMPLIED", "STAGES", "Cell", "Client", "Isolation", "Outcome", "Stage"]

APPLICATIONS = "applications"
"""No dialect: code that signs in at login.microsoftonline.com as an application."""


class Isolation(enum.StrEnum):
    """As `idplane run --isolation` has it."""

    NAMESPACE = "namespace"
    ENV = "env"


class Client(enum.StrEnum):
    """Which of an SDK's clients is asked (README.md, the protocol)."""

    MANAGED_IDENTITY = "managed-identity"
    DEFAULT = "default"
    WORKLOAD_IDENTITY = "workload-identity"
    CLIENT_SECRET = "client-secret"
    CLIENT_CERTIFICATE = "client-certificate"
    CLIENT_ASSERTION = "client-assertion"


class Outcome(enum.StrEnum):
    """What came of a cell."""

    OK = "ok"
    """The right token, and its expiry."""
    IGNORED = "ignored"
    """The token of the host's default identity although another one was named."""
    NO_EXPIRY = "no-expiry"
    """The right token, but the caller is not told when it expires, or is told something else."""
    REFUSED = "refused"
    """An error."""
    UNSUPPORTED = "unsupported"
    """The SDK's API has no way to ask."""
    REPEATED = "repeated"
    """The right token, but the endpoint was asked for it each time."""
    WRONG = "wrong"
    """A token that must not be, or no answer at all. Never expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One question."""

    title: str
    """Its column in the tables."""
    client: Client = Client.MANAGED_IDENTITY
    kind: str | None = None
    """How an identity is named: `client_id`, `object_id`, `resource_id`."""
    times: int = 1
    """How often one credential object is asked; the endpoint must be asked once."""
    identity: str = "own"
    """Whose token it must be: a user-assigned identity's, the host's `own`, the `application`'s, or `nobody`'s where nobody has the name."""


CELLS: Mapping[str, Cell] = MappingProxyType(
    {
        "workload": Cell(title="workload identity credential", client=Client.WORKLOAD_IDENTITY),
        "none": Cell(title="none named"),
        "client_id": Cell(title="by client id", kind="client_id", identity="blue"),
        "object_id": Cell(title="by object id", kind="object_id", identity="green"),
        "resource_id": Cell(title="by resource id", kind="resource_id", identity="blue"),
        "only": Cell(title="the only one user-assigned, none named", identity="blue"),
        "unknown": Cell(title="nobody's client id", kind="client_id", identity="nobody"),
        "default": Cell(title="default credential", client=Client.DEFAULT),
        "again": Cell(title="a second time, from memory", times=2),
        "client-secret": Cell(title="secret", client=Client.CLIENT_SECRET, identity="application"),
        "client-certificate": Cell(title="certificate", client=Client.CLIENT_CERTIFICATE, identity="application"),
        "client-assertion": Cell(
            title="managed identity as assertion", client=Client.CLIENT_ASSERTION, kind="client_id", identity="application"
        ),
    }
)
"""The columns of the tables, in order. Two user-assigned identities, so that the first or last one is not right by accident."""

IMPLIED: Mapping[str, str] = MappingProxyType({"unknown": "client_id", "only": "none"})
"""Cells that are asked wherever another one is, even if no expectation names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One host on which programs run, in one dialect, and what is asked there."""

    dialect: str
    host: str
    """A name in the estate."""
    cells: tuple[str, ...]
    isolations: tuple[Isolation, ...] = (Isolation.NAMESPACE, Isolation.ENV)
    witnessed: bool = False
    """Whether requests are counted: alone for one cell, and where variables lead to the endpoint (`witness.py`)."""
    options: tuple[str, ...] = ()
    """For `idplane run`; none when the host's type says everything."""


_NAMED = ("client_id", "object_id", "resource_id", "unknown")
_EVERY = ("none", *_NAMED, "default")
_INSIDE = (Isolation.NAMESPACE,)
_OUTSIDE = (Isolation.ENV,)


def _again(dialect: str, host: str, *options: str) -> Stage:
    return Stage(dialect=dialect, host=host, cells=("again",), isolations=_OUTSIDE, witnessed=True, options=options)


STAGES = (
    Stage(dialect="imds", host="machine", cells=_EVERY, options=("--dialect", "imds")),
    Stage(dialect="imds", host="lonely-machine", cells=("only",), options=("--dialect", "imds")),
    _again("imds", "machine", "--dialect", "imds"),
    Stage(dialect="app-service", host="slot", cells=_EVERY),
    _again("app-service", "slot"),
    Stage(dialect="app-service-2017", host="function-app", cells=_EVERY, options=("--dialect", "app-service-2017")),
    # Without a namespace, Arc's keys need a folder that only root can make. Arc machines bear no user-assigned identities, so those run on another host.
    Stage(dialect="arc", host="arc-machine", cells=("none", "unknown", "default"), isolations=_INSIDE),
    Stage(
        dialect="arc",
        host="machine",
        cells=("client_id", "object_id", "resource_id"),
        isolations=_INSIDE,
        options=("--dialect", "arc"),
    ),
    Stage(dialect="service-fabric", host="cluster", cells=_EVERY),
    Stage(dialect="cloud-shell", host="machine", cells=_EVERY, options=("--dialect", "cloud-shell")),
    _again("cloud-shell", "machine", "--dialect", "cloud-shell"),
    Stage(dialect="machine-learning", host="workspace", cells=_EVERY),
    _again("machine-learning", "workspace"),
    Stage(
        dialect="workload-identity",
        host="kubernetes",
        cells=("workload", "none", "client_id", "unknown", "default"),
        options=("--dialect", "workload-identity", "--service-account", "shop/cart"),
    ),
    Stage(
        dialect=APPLICATIONS,
        host="machine",
        cells=("client-secret", "client-certificate", "client-assertion"),
        isolations=_INSIDE,
        options=("--dialect", "imds"),
    ),
)
"""Every run of a program: with `--isolation env`, IMDS is led to by a variable only if it is asked for, hence the option."""

DIALECTS: Mapping[str, str] = MappingProxyType(
    {
        "imds": "virtual machines, scale sets, AKS, container groups, anything else",
        "app-service": "web, function, logic and container apps (2019-08-01, 2025-03-30)",
        "app-service-2017": "the same for clients of before 2020 (2017-09-01)",
        "arc": "Arc machines (2019-11-01, 2020-06-01, 2021-02-01)",
        "service-fabric": "Service Fabric clusters (2019-07-01-preview, 2020-05-01)",
        "cloud-shell": "shells",
        "machine-learning": "Machine Learning workspaces (2017-09-01)",
        "workload-identity": "pods, and anything else that shows a token of its own: a file that is exchanged at the authority",
        APPLICATIONS: "code that signs in at login.microsoftonline.com as an application, inside a run",
    }
)
"""The tables of the page, in order, and what each is for."""
