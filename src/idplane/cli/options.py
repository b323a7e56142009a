"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from idplane.bootstrap.settings import default_data_folder
from idplane.model.dialects import Dialect
from idplane.model.values import JsonObject

__all__ = [
    "account_option",
    "data_option",
    "dialect_option",
    "inner_data_option",
    "json_option",
    "resource_option",
    "since_option",
    "workload_choice",
    "workload_options",
]

_F = TypeVar("_F", bound=Callable[..., Any])


def _absolute(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path:
    if value is not None and not value.strip():
        # An unset variable in a script; the current folder would fill with keys.
        raise click.BadParameter("the folder's name is empty")
    return (Path(value) if value else default_data_folder()).expanduser().absolute()


def data_option(function: _F) -> _F:
    """`--data`: which plane."""
    return click.option(
        "--data",
        type=str,
        metavar="DIR",
        callback=_absolute,
        help="The plane's data folder.  [default: $XDG_DATA_HOME/idplane or ~/.local/share/idplane]",
    )(function)


def inner_data_option(function: _F) -> _F:
    """`--data` of a command inside a group that has `data_option`: may be given at either place."""
    return click.option(
        "--data",
        type=str,
        metavar="DIR",
        callback=lambda context, parameter, value: context.obj if value is None else _absolute(context, parameter, value),
        help="The plane's data folder.",
    )(function)


def json_option(function: _F) -> _F:
    """`--json`: for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)


def since_option(function: _F) -> _F:
    """`--since`: from when on."""
    return click.option(
        "--since",
        default="1d",
        show_default=True,
        metavar="WHEN",
        help="A length such as 90s, 10m, 2h, 7d, or an ISO 8601 time.",
    )(function)


def resource_option(function: _F) -> _F:
    """`--as`: which resource."""
    return click.option(
        "--as",
        "resource",
        required=True,
        metavar="RESOURCE",
        help="The resource's full id, or its name if no other resource has the same one.",
    )(function)


def workload_options(function: _F) -> _F:
    """`--service-account` and `--identity`: for workload identity."""
    function = click.option(
        "--identity",
        metavar="IDENTITY",
        help="With --dialect workload-identity: whose AZURE_CLIENT_ID it is, by client id, or by a user-assigned identity's"
        " resource id or name.  [default: the only one that trusts this workload]",
    )(function)
    return account_option(function)


def account_option(function: _F) -> _F:
    """`--service-account`: as whom, on a cluster."""
    return click.option(
        "--service-account",
        "account",
        metavar="NAMESPACE/NAME",
        help="On a cluster: whom a workload's own token speaks for.  [default: default/default]",
    )(function)


def workload_choice(dialect: str | None, account: str | None, identity: str | None) -> JsonObject:
    """What these two options add to a request; a usage error where they mean nothing."""
    given = {name: value for name, value in (("account", account), ("identity", identity)) if value is not None}
    if given and dialect != Dialect.WORKLOAD_IDENTITY.value:
        raise click.UsageError("--service-account and --identity are for --dialect workload-identity")
    return given


def dialect_option(text: str) -> Callable[[_F], _F]:
    """`--dialect`: in which words workloads ask; `text` says what each means to the command."""
    return click.option("--dialect", type=click.Choice([one.value for one in Dialect]), help=text)
