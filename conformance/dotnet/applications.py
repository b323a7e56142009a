"""Applications at login.microsoftonline.com, as MSAL.NET signs them in (MIE sections 6 and 7): instance discovery, then the token."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import sources
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from reading import Token, application_token, application_words, json_object
from wire import AstrayError, Cell, RefusedError, UnsupportedError, common_headers, msal_headers, send

__all__ = ["has_token_file", "token", "workload_identity"]

_PUBLIC = "https://login.microsoftonline.com"
_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MINUTES = 10


def token(cell: Cell, *, azure: bool) -> Token:
    """One of the three ways in which an application proves itself."""
    tenant, client_id = cell["tenant"], cell["client_id"]
    endpoint = _token_endpoint(_PUBLIC, tenant, azure=azure)
    match cell["client"]:
        case "client-secret":
            proof = {"client_secret": str(cell["secret"])}
        case "client-certificate":
            # Azure.Identity sends the chain only if it is told to; MSAL.NET's documentation recommends it.
            proof = _assertion(_signed(Path(cell["certificate"]).read_bytes(), client_id, endpoint, chain=not azure))
        case "client-assertion":
            identity = sources.managed_identity(cell["selector"], cell["assertion_resource"], azure=azure)
            proof = _assertion(identity.value)
        case other:
            raise UnsupportedError(f"there is no client {other}")
    return _sign_in(endpoint, client_id, proof, cell["resource"], azure=azure)


def has_token_file(selector: Mapping[str, str] | None = None) -> bool:
    """Whether the environment is one of workload identity, and the identity is known by its client id or not named."""
    known = all(os.environ.get(name) for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"))
    return known and (selector is None or selector["kind"] == "client_id")


def workload_identity(resource: str, selector: Mapping[str, str] | None = None, *, azure: bool = True) -> Token:
    """WorkloadIdentityCredential, made from the environment alone; with MSAL.NET the application does the same by hand."""
    if not has_token_file(selector):
        raise RefusedError("CredentialUnavailableException: WorkloadIdentityCredential authentication unavailable")
    client_id = selector["value"] if selector else os.environ["AZURE_CLIENT_ID"]
    authority = os.environ.get("AZURE_AUTHORITY_HOST") or _PUBLIC
    endpoint = _token_endpoint(authority.rstrip("/"), os.environ["AZURE_TENANT_ID"], azure=azure)
    projected = Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text(encoding="utf-8")
    return _sign_in(endpoint, client_id, _assertion(projected), resource, azure=azure)


def _token_endpoint(authority: str, tenant: str, *, azure: bool) -> str:
    """Instance discovery, which for a host that .NET does not know goes to the public one, at the port of that host."""
    asked = urlsplit(authority)
    port = f":{asked.port}" if asked.port else ""
    where = quote(f"{authority}/{tenant}/oauth2/v2.0/authorize", safe="")
    url = f"{_PUBLIC}{port}/common/discovery/instance?api-version=1.1&authorization_endpoint={where}"
    try:
        answer = send("GET", url, {**common_headers(azure=azure), **_headers()})
    except RefusedError:
        return f"{authority}/{tenant}/oauth2/v2.0/token"
    said = json_object(answer)
    if answer.status != 200 and said.get("error") == "invalid_instance":
        raise RefusedError(application_words(answer.status, said))
    known = _network(said, asked.hostname or "") if answer.status == 200 else asked.hostname
    return f"https://{known}{port}/{tenant}/oauth2/v2.0/token"


def _network(said: Mapping[str, object], host: str) -> str:
    entries = said.get("metadata")
    if not isinstance(entries, list) or not isinstance(said.get("tenant_discovery_endpoint"), str):
        raise AstrayError("the answer of instance discovery lacks members")
    for entry in entries:
        if {"preferred_network", "preferred_cache", "aliases"} - entry.keys():
            raise AstrayError("an entry of instance discovery lacks members")
        if host in entry["aliases"]:
            return str(entry["preferred_network"])
    return host


def _headers() -> dict[str, str]:
    return {
        **msal_headers(),
        "x-client-CPU": "X64",
        "x-client-OS": "Debian GNU/Linux 12 (bookworm)",
        "client-request-id": str(uuid.uuid4()),
        "return-client-request-id": "true",
    }


def _sign_in(endpoint: str, client_id: str, proof: Mapping[str, str], resource: str, *, azure: bool) -> Token:
    form = {"client_id": client_id, **proof, "scope": f"{resource}/.default", "grant_type": "client_credentials"}
    headers = {
        **common_headers(azure=azure),
        **_headers(),
        "x-ms-lib-capability": "retry-after, h429",
        "x-client-current-telemetry": "5|1003,2,,,|0,1,1,,",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return application_token(send("POST", endpoint, headers, urlencode(form).encode()))


def _assertion(assertion: str) -> dict[str, str]:
    return {"client_assertion_type": _BEARER, "client_assertion": assertion}


def _signed(pem: bytes, client_id: str, endpoint: str, *, chain: bool) -> str:
    """MSAL.NET writes both parts by hand: times as texts, and `x5c` as one text instead of an array."""
    der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    thumbprint = _base64url(hashlib.sha256(der).digest())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    if chain:
        header["x5c"] = base64.b64encode(der).decode()
    now = int(time.time())
    claims = {"aud": endpoint, "iss": client_id, "sub": client_id, "nbf": str(now), "exp": str(now + 60 * _MINUTES)}
    parts = (header, {**claims, "jti": str(uuid.uuid4())})
    signing_input = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    key = load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UnsupportedError("MSAL.NET signs with RSA keys only")
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
    return f"{signing_input}.{_base64url(key.sign(signing_input.encode(), pss, hashes.SHA256()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
