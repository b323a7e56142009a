"""Where this machine keeps the certificate authorities that it trusts, and which variables point programs at a bundle."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from idplane.cli.java import is_java_likely, java_variables, truststore
from idplane.cli.output import CommandError

__all__ = [
    "BUNDLE_VARIABLES",
    "SYSTEM_BUNDLES",
    "bundle_variables",
    "bundle_with",
    "kept_bundle",
    "kept_trust",
    "read_system_bundle",
]

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL: what most links there end at
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
"""Files in which distributions keep all trusted authorities together."""

BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Go, Python's ssl, .NET on Linux, Ruby, Rust's native-certs
    "REQUESTS_CA_BUNDLE",  # Python requests, hence azure-core and MSAL
    "CURL_CA_BUNDLE",  # curl built with its own path
    "NODE_EXTRA_CA_CERTS",  # Node.js: added to its built-in list
)


def bundle_variables(path: str) -> dict[str, str]:
    """The variables that make programs of the usual languages trust the bundle at `path`."""
    return dict.fromkeys(BUNDLE_VARIABLES, path)


def read_system_bundle(environment: Mapping[str, str]) -> bytes:
    """The authorities trusted so far, PEM: the user's own bundle if `SSL_CERT_FILE` names one, else the system's; may be empty."""
    chosen = environment.get("SSL_CERT_FILE", "")
    for candidate in filter(None, (chosen, *SYSTEM_BUNDLES)):
        with contextlib.suppress(OSError):
            return Path(candidate).read_bytes()
    return b""


def bundle_with(existing: bytes, authority: bytes) -> bytes:
    """`existing` with one more authority, PEM."""
    return existing + (b"" if not existing or existing.endswith(b"\n") else b"\n") + authority


def kept_trust(folder: Path, bundle: bytes, base: Mapping[str, str], command: str = "") -> dict[str, str]:
    """Variables that make a workload outside a namespace trust this bundle, which is kept in the data folder; raises `CommandError`.

    Its files are named by its content and never removed, so that a workload which outlives its plane keeps the authorities it started with.
    """
    variables = bundle_variables(str(kept_bundle(folder, bundle)))
    if is_java_likely(base, command):
        store = _kept(folder, bundle, "p12", lambda: truststore(bundle))
        variables |= java_variables(base, str(store))
    return variables


def kept_bundle(folder: Path, bundle: bytes) -> Path:
    """The file below the data folder that holds this bundle; raises `CommandError`."""
    return _kept(folder, bundle, "pem", lambda: bundle)


def _kept(folder: Path, bundle: bytes, form: str, made: Callable[[], bytes]) -> Path:
    path = folder / "trust" / f"{hashlib.sha256(bundle).hexdigest()[:16]}.{form}"
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(made())
            temporary.replace(path)
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from error
    return path
