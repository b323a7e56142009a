"""What a workload finds around it: variables and files as they are on an Azure machine. Pure, but for becoming the workload.

What would lead it to another source of tokens than the one of its run is taken away; everything else stays as the caller has it.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from idplane.cli.isolation import DNS_ADDRESS, IMDS_ADDRESS
from idplane.cli.output import CommandError
from idplane.model.azure import ISSUER_DOMAINS, PUBLIC_HOSTS, VAULT_DOMAIN

__all__ = [
    "OTHER_TOKEN_SOURCES",
    "become",
    "hosts_file",
    "name_service_switch",
    "resolver_file",
    "through_tunnel",
    "without_locale_coercion",
    "workload_environment",
]

OTHER_TOKEN_SOURCES: Final = (
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IDENTITY_API_VERSION",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "AZUREPS_HOST_ENVIRONMENT",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
)
"""Variables by which SDKs choose a token source (MIE sections 1.5, 2 to 6)."""

_OTHER_PROOFS: Final = (
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
)
"""What proves another client than the one whose id a run is given: `DefaultAzureCredential` would try them together."""
_AZURE_NAMES: Final = sorted(host for hosts in PUBLIC_HOSTS.values() for host in hosts)
_AUTHORITY: Final = "AZURE_AUTHORITY_HOST"
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")
_HTTPS_PROXY: Final = ("HTTPS_PROXY", "https_proxy")
_NO_PROXY: Final = ("NO_PROXY", "no_proxy")
_CANNOT_EXECUTE: Final = 126
_NOT_FOUND: Final = 127


def workload_environment(
    base: Mapping[str, str], *, given: Mapping[str, str], trust: Mapping[str, str], inside: bool, network: bool
) -> dict[str, str]:
    """The workload's variables: the caller's, without other token sources, with those that are `given` and that name what to `trust`.

    `inside` tells a namespace, where Azure's public names are ours and an authority or a proxy of the caller's would lead around
    them. With a `network`, the caller's proxies stay but are not asked for what is served here.
    """
    dropped = set(OTHER_TOKEN_SOURCES)
    if "AZURE_CLIENT_ID" in given:
        dropped.update(_OTHER_PROOFS)
    if any(name in base for name in _HTTPS_PROXY):
        # The way out of this machine is the caller's own proxy: Azure's names then lead where it says.
        given = {name: value for name, value in given.items() if name not in _HTTPS_PROXY}
    if inside:
        dropped.add(_AUTHORITY)
        if not network:
            dropped.update(_PROXIES, (name.lower() for name in _PROXIES))
    kept = {name: value for name, value in base.items() if name not in dropped}
    tunnelled = any(name in given for name in _HTTPS_PROXY)
    bypassed = _not_proxied({**kept, **given}, inside=inside, tunnelled=tunnelled)
    return {**kept, **bypassed, **trust, **given}


def through_tunnel(base: Mapping[str, str], tunnel: Mapping[str, str]) -> dict[str, str]:
    """`base` with the variables of a tunnel to names below `localhost`; a proxy of the caller's stays, but not for what is here."""
    given = {} if any(name in base for name in _HTTPS_PROXY) else dict(tunnel)
    together = {**base, **given}
    return {**together, **_not_proxied(together, inside=False, tunnelled=bool(given))}


def _not_proxied(variables: Mapping[str, str], *, inside: bool, tunnelled: bool) -> dict[str, str]:
    """`NO_PROXY` with what is served on this machine, if there is any proxy to keep it from."""
    if not any(name in variables or name.lower() in variables for name in _PROXIES):
        return {}
    here = ["localhost", "127.0.0.1"]
    if tunnelled:
        # The tunnel leads names below `localhost` here, and clients would take the bare name for their suffix.
        here.remove("localhost")
    if inside:
        here += [IMDS_ADDRESS, *_AZURE_NAMES, *(f".{domain}" for domain in (VAULT_DOMAIN, *ISSUER_DOMAINS)), ".localhost"]
    return {name: ",".join(filter(None, (variables.get(name, ""), *here))) for name in _NO_PROXY}


def without_locale_coercion(base: Mapping[str, str], initial: bytes) -> dict[str, str]:
    """`base` without the `LC_CTYPE` that Python itself put there (PEP 538); `initial` is the process' first environment block."""
    if any(entry.startswith(b"LC_CTYPE=") for entry in initial.split(b"\0")):
        return dict(base)
    return {name: value for name, value in base.items() if name != "LC_CTYPE"}


def hosts_file(existing: str, *, azure: bool = True) -> str:
    """`/etc/hosts` with Azure's fixed names, for programs that look no further. Vault names have no end and come from DNS.

    Where Azure's names do not lead to the plane, they are left as they are.
    """
    names = f"127.0.0.1 {' '.join(_AZURE_NAMES)}\n" if azure else ""
    line_end = "" if not existing or existing.endswith("\n") else "\n"
    return f"{existing}{line_end}{names}{IMDS_ADDRESS} metadata.azure.internal\n"


def resolver_file(nameservers: Sequence[str]) -> str:
    """`/etc/resolv.conf`: our name server first, then the network's, if there is one."""
    servers = "".join(f"nameserver {address}\n" for address in (DNS_ADDRESS, *nameservers))
    return f"{servers}options timeout:2 attempts:2\n"


def name_service_switch(existing: str) -> str:
    """`/etc/nsswitch.conf` without the host services that ask a resolver outside the namespace, such as systemd-resolved."""
    lines = [line for line in existing.splitlines() if not line.lstrip().startswith("hosts:")]
    return "\n".join((*lines, "hosts: files dns")) + "\n"


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by the workload; on failure raises `CommandError` with the exit code that env(1) gives."""
    # Python ignores these two, and an ignored signal stays ignored after exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        _execute(command, environment)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CommandError(f"{command[0]}: {os.strerror(errno.ENOENT)}", exit_code=_NOT_FOUND) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandError(f"{command[0]}: {reason}", exit_code=_CANNOT_EXECUTE) from error


def _execute(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606 - what the user asked to be run
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without an interpreter line is the shell's, as execvp(3) has it.
    import shutil  # noqa: PLC0415 - needed for this rare case only

    script = shutil.which(command[0], path=environment.get("PATH", os.defpath)) or command[0]
    os.execve("/bin/sh", ["/bin/sh", script, *command[1:]], environment)  # noqa: S606 - as above
