"""The sources of managed identities, as MSAL.NET finds and asks them (MIE sections 1 to 5, 8.2), and Azure.Identity's probe before."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import applications
from reading import Token, managed_identity_token
from wire import Answer, AstrayError, RefusedError, common_headers, msal_headers, query, send

__all__ = ["Token", "default", "managed_identity"]

Selector = Mapping[str, str] | None

_IMDS = "http://169.254.169.254"
_TOKEN_PATH = "/metadata/identity/oauth2/token"
_PLATFORM_PATH = "/metadata/identity/getplatformmetadata"
_KEYS = "/var/opt/azcmagent/tokens/"
_HIMDS = Path("/opt/azcmagent/bin/himds")
_ARC = "http://127.0.0.1:40342" + _TOKEN_PATH
_KEY_BYTES = 4096
_CAMEL = {"client_id": "client_id", "object_id": "object_id", "resource_id": "mi_res_id"}
_IMDS_NAMES = {**_CAMEL, "resource_id": "msi_res_id"}


def managed_identity(selector: Selector, resource: str, *, azure: bool, chained: bool = False) -> Token:
    """In MSAL.NET's order. Azure.Identity tries the token file of a workload identity before, and in a chain probes IMDS."""
    given = os.environ.get
    if azure and applications.has_token_file(selector):
        return applications.workload_identity(resource, selector)
    if given("IDENTITY_ENDPOINT") and given("IDENTITY_HEADER"):
        ask = _service_fabric if given("IDENTITY_SERVER_THUMBPRINT") else _app_service
    elif given("MSI_ENDPOINT"):
        ask = _machine_learning if given("MSI_SECRET") else _cloud_shell
    elif (given("IDENTITY_ENDPOINT") and given("IMDS_ENDPOINT")) or (_HIMDS.exists() and _HIMDS.stat().st_size > 0):
        ask = _arc
    else:
        return _imds(selector, resource, azure=azure, chained=chained)
    return managed_identity_token(ask(selector, resource, azure=azure))


def default(resource: str) -> Token:
    """DefaultAzureCredential, made without arguments and variables."""
    return managed_identity(None, resource, azure=True, chained=True)


def _named(selector: Selector, names: Mapping[str, str]) -> dict[str, str]:
    return {} if selector is None else {names[selector["kind"]]: selector["value"]}


def _get(url: str, parameters: Mapping[str, str], headers: Mapping[str, str], *, azure: bool, pinned: bool = False) -> Answer:
    return send("GET", f"{url}?{query(parameters)}", {**common_headers(azure=azure), **headers}, pinned=pinned)


def _imds(selector: Selector, resource: str, *, azure: bool, chained: bool) -> Token:
    base = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _IMDS
    if chained:
        early = _azure_probe(base, resource)
        if early is not None:
            return early
    elif not azure:
        _msal_probes(base, selector)
    asked = {"api-version": "2018-02-01", "resource": resource, **_named(selector, _IMDS_NAMES)}
    headers = {"Metadata": "true", **msal_headers(), "x-ms-client-request-id": str(uuid.uuid4())}
    return managed_identity_token(_get(base + _TOKEN_PATH, asked, headers, azure=azure))


def _azure_probe(base: str, resource: str) -> Token | None:
    """Without `Metadata`, encoded by Azure.Core. At any address but the real one a refusal means that there is no identity."""
    encoded = quote(resource, safe="")
    url = f"{base}{_TOKEN_PATH}?api-version=2018-02-01&resource={encoded}"
    answer = send("GET", url, common_headers(azure=True))
    if answer.status == 400 and base == _IMDS and b"Identity not found" not in answer.body:
        return None
    if answer.status != 200:
        raise RefusedError(f"CredentialUnavailableException: the probe of IMDS is answered with {answer.status}")
    return managed_identity_token(answer)


def _msal_probes(base: str, selector: Selector) -> None:
    """`GetManagedIdentitySourceAsync`: 400 means that the version is there. The second one must not be; it is for bound tokens."""
    headers = {"x-ms-client-request-id": str(uuid.uuid4())}
    named = _named(selector, _CAMEL)
    second = _get(base + _PLATFORM_PATH, {"cred-api-version": "2.0", **named}, headers, azure=False)
    first = _get(base + _TOKEN_PATH, {"api-version": "2018-02-01", **named}, headers, azure=False)
    if second.status == 400 or first.status != 400:
        raise AstrayError(f"the probes of MSAL.NET get {second.status} and {first.status}")


def _app_service(selector: Selector, resource: str, *, azure: bool) -> Answer:
    asked = {"api-version": "2019-08-01", "resource": resource, **_named(selector, _CAMEL)}
    headers = {"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}
    return _get(os.environ["IDENTITY_ENDPOINT"], asked, headers, azure=azure)


def _service_fabric(selector: Selector, resource: str, *, azure: bool) -> Answer:
    asked = {"api-version": "2020-05-01", "resource": resource, **_named(selector, _CAMEL)}
    headers = {"secret": os.environ["IDENTITY_HEADER"]}
    return _get(os.environ["IDENTITY_ENDPOINT"], asked, headers, azure=azure, pinned=True)


def _machine_learning(selector: Selector, resource: str, *, azure: bool) -> Answer:
    if selector is not None and selector["kind"] != "client_id":
        raise RefusedError("invalid_managed_identity_id_type: only client id is supported in Machine Learning")
    client_id = os.environ.get("DEFAULT_IDENTITY_CLIENT_ID") if selector is None else selector["value"]
    if client_id is None:
        raise RefusedError("invalid_managed_identity_id_type: the DEFAULT_IDENTITY_CLIENT_ID environment variable is null")
    asked = {"api-version": "2017-09-01", "resource": resource, "clientid": client_id}
    headers = {"Metadata": "true", "secret": os.environ["MSI_SECRET"]}
    return _get(os.environ["MSI_ENDPOINT"], asked, headers, azure=azure)


def _cloud_shell(selector: Selector, resource: str, *, azure: bool) -> Answer:
    if selector is not None:
        raise RefusedError("user_assigned_managed_identity_not_supported: Cloud Shell")
    # The header `ContentType` is MSAL.NET's own slip; the real one comes with the body.
    headers = {"ContentType": "application/x-www-form-urlencoded", "Metadata": "true"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"resource": resource}).encode()
    return send("POST", os.environ["MSI_ENDPOINT"], {**common_headers(azure=azure), **headers, **form}, body)


def _arc(selector: Selector, resource: str, *, azure: bool) -> Answer:
    if selector is not None:
        raise RefusedError("user_assigned_managed_identity_not_supported: Azure Arc")
    endpoint = os.environ.get("IDENTITY_ENDPOINT") or _ARC
    asked = {"api-version": "2019-11-01", "resource": resource}
    challenge = _get(endpoint, asked, {"Metadata": "true"}, azure=azure)
    if challenge.status != 401:
        raise AstrayError(f"Arc answers {challenge.status} instead of its challenge")
    key = _key(challenge)
    return _get(endpoint, asked, {"Metadata": "true", "Authorization": f"Basic {key}"}, azure=azure)


def _key(challenge: Answer) -> str:
    """The content of the file that the challenge names: exactly one `=`, in the one folder, of a bounded size."""
    named = [value for name, value in challenge.headers if name == "WWW-Authenticate"]
    if len(named) != 1:
        raise AstrayError(f"{len(named)} headers WWW-Authenticate")
    parts = [part for part in named[0].split("=") if part]
    if len(parts) != 2 or parts[0] != "Basic realm":
        raise AstrayError(f"the challenge is {named[0]!r}")
    path = Path(parts[1])
    if parts[1] != f"{_KEYS}{path.stem}.key" or path.stat().st_size > _KEY_BYTES:
        raise AstrayError(f"the key is in {path}")
    return path.read_text(encoding="utf-8")
