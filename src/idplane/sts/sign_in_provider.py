"""People who sign in at another issuer: OpenID Connect's authorization code flow, as its client (OpenID Connect Core 1.0 section 3.1).

    begin: state, nonce and PKCE's verifier are drawn; the browser goes to the issuer
    finish: state and issuer (RFC 9207) -> the code is redeemed, with the verifier -> ID token: signature, issuer, audience, times, nonce -> a name,
            asked for at the UserInfo endpoint where the ID token has none

What comes back is a name that the issuer vouches for. Whether somebody here has it is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from idplane.jose import UnverifiedToken, b64url, parse, verify
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.ports.issuers import IssuerDocuments, TokenEndpoints
from idplane.ports.world import Clock, Entropy
from idplane.sts.assertions import check_times
from idplane.sts.issuers import FRESH_SECONDS, IssuerKeys

__all__ = ["Begun", "Pending", "ProviderSettings", "SignInProvider", "Vouched"]

_SECRET_BYTES: Final = 32
_EMAIL: Final = "email"
_DISCOVERY: Final = "/.well-known/openid-configuration"
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """The issuer, and how this installation is known to it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    claim: str = _EMAIL
    """The claim of its ID tokens that is a user's principal name here. Of `email` only a verified one counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A sign-in that has gone to the issuer. Whoever holds it can finish it, so only that browser may."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where to send the browser, and what to keep meanwhile."""

    url: str = field(repr=False)
    pending: Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What an issuer says of a person."""

    issuer: str
    subject: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    authorization: str
    token: str
    userinfo: str | None
    basic: bool
    """Whether the client shows its secret in the header, which every issuer takes that does not say otherwise."""
    tells_issuer: bool
    fetched_at: float
    private: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    id_token: UnverifiedToken = field(repr=False)
    access_token: str | None = field(repr=False)


class SignInProvider:
    """The one issuer that people sign in at. `private` says whether it may be asked over `http` and at addresses that are not public."""

    def __init__(
        self,
        *,
        settings: ProviderSettings,
        documents: IssuerDocuments,
        endpoints: TokenEndpoints,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._endpoints = endpoints
        self._keys = IssuerKeys(documents=documents, clock=clock)
        self._clock = clock
        self._entropy = entropy
        self._metadata: _Metadata | None = None

    @property
    def issuer(self) -> str:
        """As it calls itself."""
        return self._settings.issuer

    async def begin(self, redirect_uri: str, *, private: bool) -> Begun:
        """A sign-in that leads back to `redirect_uri`; raises `Failure(ISSUER_UNREACHABLE)`."""
        metadata = await self._described(private=private)
        state, nonce, verifier = (b64url(self._entropy.bytes(_SECRET_BYTES)) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": f"openid {'email' if self._settings.claim == _EMAIL else 'profile'}",
            "state": state,
            "nonce": nonce,
            "code_challenge": b64url(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        separator = "&" if urlsplit(metadata.authorization).query else "?"
        url = f"{metadata.authorization}{separator}{urlencode(asked)}"
        return Begun(url=url, pending=Pending(state=state, nonce=nonce, verifier=verifier))

    async def finish(self, pending: Pending, answer: Mapping[str, str], redirect_uri: str, *, private: bool) -> Vouched:
        """Who came back with `answer`, the parameters of the issuer's redirect; raises `Failure(PORTAL_SIGN_IN | ISSUER_UNREACHABLE)`."""
        metadata = await self._described(private=private)
        if not hmac.compare_digest(answer.get("state", "").encode("utf-8", "replace"), pending.state.encode()):
            raise _refused("the answer belongs to another sign-in than the one that this browser began")
        named = answer.get("iss")
        if named != self.issuer and (named is not None or metadata.tells_issuer):
            raise _refused("another issuer answered than the one that was asked")
        if "error" in answer:
            raise _refused(f"the issuer says '{_shown(answer['error'])}'")
        tokens = await self._redeemed(metadata, pending, answer.get("code", ""), redirect_uri)
        claims = await self._verified(tokens.id_token, private=private)
        self._check(claims, pending)
        if self._settings.claim not in claims:
            claims = await self._more_claims(metadata, claims, tokens.access_token)
        return Vouched(issuer=self.issuer, subject=_shown(claims.get("sub")), name=self._name(claims))

    async def _described(self, *, private: bool) -> _Metadata:
        known, now = self._metadata, self._clock.monotonic()
        if known is not None and known.private == private and now - known.fetched_at < FRESH_SECONDS:
            return known
        issuer = self.issuer
        document = _object(await self._documents.fetch(issuer.removesuffix("/") + _DISCOVERY, private=private))
        if document.get("issuer") != issuer:
            raise _unusable("its discovery document is another issuer's")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        self._metadata = _Metadata(
            authorization=_address(document, "authorization_endpoint", issuer, private=private),
            token=_address(document, "token_endpoint", issuer, private=private),
            userinfo=_address(document, "userinfo_endpoint", issuer, private=private)
            if "userinfo_endpoint" in document
            else None,
            basic=isinstance(methods, list) and "client_secret_basic" in methods,
            tells_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            fetched_at=now,
            private=private,
        )
        return self._metadata

    async def _redeemed(self, metadata: _Metadata, pending: Pending, code: str, redirect_uri: str) -> _Tokens:
        if not code:
            raise _refused("the issuer sent no code")
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
        }
        authorization = None
        if metadata.basic:
            # RFC 6749 section 2.3.1: both are form-encoded first.
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            authorization = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        body = await self._endpoints.post(
            metadata.token, urlencode(form), authorization=authorization, private=metadata.private
        )
        answer = _object(body)
        token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise _refused("the issuer's answer holds no ID token")
        try:
            return _Tokens(id_token=parse(token), access_token=access_token if isinstance(access_token, str) else None)
        except Failure as failure:
            raise _refused("the ID token can't be read") from failure

    async def _more_claims(self, metadata: _Metadata, claims: JsonObject, access_token: str | None) -> JsonObject:
        """What the issuer tells only behind its UserInfo endpoint (section 5.3), if it is of the same person."""
        if metadata.userinfo is None or access_token is None or not access_token.isascii() or not access_token.isprintable():
            return claims
        bearer = f"Bearer {access_token}"
        more = _object(await self._endpoints.post(metadata.userinfo, "", authorization=bearer, private=metadata.private))
        if more.get("sub") != claims.get("sub") or not isinstance(more.get("sub"), str):
            raise _refused("the issuer's UserInfo is about somebody else than the ID token")
        return {**more, **claims}

    async def _verified(self, token: UnverifiedToken, *, private: bool) -> JsonObject:
        key = await self._keys.key(self.issuer, token.key_id or "", private=private)
        if key is None or not verify(token, key.key, *key.algorithms):
            raise _refused("the ID token is not signed by the issuer")
        return token.claims

    def _check(self, claims: JsonObject, pending: Pending) -> None:
        client = self._settings.client_id
        if claims.get("iss") != self.issuer:
            raise _refused("the ID token is another issuer's")
        # One for several audiences could be shown here by any of them.
        if claims.get("aud") not in (client, [client]) or claims.get("azp", client) != client:
            raise _refused("the ID token is for another client")
        try:
            check_times(claims, self._clock.now())
        except Failure as failure:
            raise _refused("the ID token is not within its time") from failure
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode("utf-8", "replace"), pending.nonce.encode()):
            raise _refused("the ID token belongs to another sign-in than the one that this browser began")

    def _name(self, claims: JsonObject) -> str:
        """The claim as a principal name. Letters beyond ASCII that look or fold like others could name somebody else."""
        wanted = self._settings.claim
        name = claims.get(wanted)
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or not name.isascii() or not name.isprintable():
            raise _refused(f"the ID token has no '{wanted}' that could be a user's name")
        if wanted == _EMAIL and claims.get("email_verified") is not True:
            raise _refused(f"the issuer has not verified that {_shown(name)} is yours")
        return name.lower()


def _address(document: Mapping[str, object], member: str, issuer: str, *, private: bool) -> str:
    """An endpoint: https, unless the issuer itself is one that needs not be and this is of the same host."""
    found = document.get(member)
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        raise _unusable(f"its discovery document has no '{member}'")
    parts, own = urlsplit(found), urlsplit(issuer)
    if parts.scheme != "https" and not (private and (parts.scheme, parts.netloc) == (own.scheme, own.netloc)):
        raise _unusable(f"its '{member}' is not https")
    return found


def _object(raw: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _unusable("a document of it is no JSON") from error
    if not isinstance(value, dict):
        raise _unusable("a document of it is no JSON object")
    return value


def _shown(text: object) -> str:
    """A text of the issuer's or of the browser's, short enough and without what is no letter, sign or space."""
    return "".join(one for one in text[:_LONGEST] if one.isprintable()) if isinstance(text, str) else ""


def _unusable(why: str) -> Failure:
    return Failure(FailureKind.ISSUER_UNREACHABLE, f"the issuer cannot be used: {why}")


def _refused(why: str) -> Failure:
    return Failure(FailureKind.PORTAL_SIGN_IN, why)
