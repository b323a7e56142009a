"""What the body of an enrollment says, checked: the method, what evidence is checked against, and the facts that bind. Pure.

Strict on purpose, as bindings are: a fact that no evidence of the method can tell, or a trust without a fact to tell machines apart,
would let in nobody, or everybody. Everything here raises `Failure(INVALID_PARAMETER)` with the member's path.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from idplane.model.enrollments import Facts, JoinMethod, PcrRule, Trust, sorted_facts
from idplane.model.expressions import parse_expression
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields

__all__ = ["MOST_CARRIED", "EnrollmentRule", "enrollment_rule"]

MOST_CARRIED: Final = 64
MOST_AUTHORITIES: Final = 8
_MAX_PEM: Final = 64 * 1024
_MOST_FACTS: Final = 16
_MAX_FACT: Final = 1024
_MAX_RSA: Final = 8192
_MIN_RSA: Final = 2048
_PCRS: Final = 24
_ENVELOPE: Final = ("id", "name", "type", "etag", "systemData", "location")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_MEMBERS: Final[Mapping[JoinMethod, tuple[str, ...]]] = {
    JoinMethod.TOKEN: (),
    JoinMethod.X509: ("certificateAuthorities", "facts", "expression"),
    JoinMethod.SSH: ("publicKey", "certificateAuthority", "facts", "expression"),
    JoinMethod.TPM: ("endorsementKey", "certificateAuthorities", "pcrs", "facts", "expression"),
    JoinMethod.OIDC: ("issuer", "audience", "facts", "expression"),
}
_FACTS: Final[Mapping[JoinMethod, frozenset[str]]] = {
    JoinMethod.X509: frozenset({"subject", "issuer", "serial", "fingerprint", "dns", "uri", "email", "ip"}),
    JoinMethod.SSH: frozenset({"fingerprint", "keyType", "keyId", "principal", "serial"}),
    JoinMethod.TPM: frozenset({"endorsementKey", "serial", "manufacturer", "model", "firmware"}),
}
"""What evidence of a method can tell; tokens of other issuers have whatever claims their issuer puts in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentRule:
    """What a body says."""

    method: JoinMethod
    trust: Trust = field(default_factory=Trust)
    facts: Facts = ()
    expression: str | None = None
    carries: tuple[ResourceId, ...] = ()


def enrollment_rule(body: JsonObject) -> EnrollmentRule:
    """The rule in a request's body."""
    properties = Fields(body).only(*_ENVELOPE, "properties").inner("properties")
    method = _method(properties)
    properties.only("method", *_MEMBERS[method], "carries", "provisioningState", "enrollmentId")
    trust, implied = _trust(method, properties)
    facts = sorted_facts((*implied, *_facts(method, properties)))
    expression = properties.text("expression", limit=600)
    if expression is not None:
        _check_expression(method, expression, properties)
    _check_vouched(method, trust, facts, expression, properties)
    if method is not JoinMethod.TOKEN and not facts and expression is None:
        raise properties.refuse(
            "facts", "must name at least one fact that tells this machine from others, unless 'expression' is given"
        )
    return EnrollmentRule(method=method, trust=trust, facts=facts, expression=expression, carries=_carries(properties))


def _check_vouched(method: JoinMethod, trust: Trust, facts: Facts, expression: str | None, properties: Fields) -> None:
    """A key by itself proves nothing but that it is that key: what else evidence tells needs somebody who vouches for it."""
    alone = {JoinMethod.SSH: {"fingerprint", "keyType"}, JoinMethod.TPM: {"endorsementKey"}}.get(method)
    if alone is None or trust.authorities or trust.ssh_authority:
        return
    if expression is not None or not {name for name, _ in facts} <= alone:
        name = "certificateAuthority" if method is JoinMethod.SSH else "certificateAuthorities"
        raise properties.refuse(name, f"is needed for any fact but {' and '.join(sorted(alone))}, and for an expression")


def _method(properties: Fields) -> JoinMethod:
    name = properties.required_text("method", limit=16)
    try:
        return JoinMethod(name)
    except ValueError as error:
        raise properties.refuse("method", f"must be one of {', '.join(JoinMethod)}") from error


def _trust(method: JoinMethod, properties: Fields) -> tuple[Trust, Facts]:
    """What evidence is checked against, and the facts that follow from how it is given."""
    match method:
        case JoinMethod.TOKEN:
            return Trust(), ()
        case JoinMethod.X509:
            return Trust(authorities=_authorities(properties, required=True)), ()
        case JoinMethod.SSH:
            return _ssh(properties)
        case JoinMethod.TPM:
            return _tpm(properties)
        case JoinMethod.OIDC:
            issuer = properties.required_text("issuer", limit=600)
            if not re.fullmatch(r"https?://[!-~]+", issuer) or "?" in issuer or "#" in issuer:
                raise properties.refuse("issuer", "must be an absolute URL without query and fragment")
            return Trust(issuer=issuer, audience=properties.text("audience", limit=600) or ""), (("issuer", issuer),)


def _authorities(properties: Fields, *, required: bool) -> str:
    """The certificates as PEM, each once and in the order given."""
    pem = properties.text("certificateAuthorities", limit=_MAX_PEM)
    if pem is None and not required:
        return ""
    try:
        found = x509.load_pem_x509_certificates((pem or "").encode())
        usable = [one for one in found if _is_authority(one)]
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise properties.refuse("certificateAuthorities", "must be certificates in PEM") from error
    if not 0 < len(found) <= MOST_AUTHORITIES or len(usable) != len(found):
        words = f"must be 1 to {MOST_AUTHORITIES} certificates of authorities, with RSA keys of {_MIN_RSA} to {_MAX_RSA} bits or ECDSA keys"
        raise properties.refuse("certificateAuthorities", words)
    return "".join(dict.fromkeys(one.public_bytes(Encoding.PEM).decode() for one in found))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and _is_sound(certificate.public_key())


def _is_sound(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return _MIN_RSA <= key.key_size <= _MAX_RSA
    return isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)


def _ssh(properties: Fields) -> tuple[Trust, Facts]:
    own, authority = properties.has("publicKey"), properties.has("certificateAuthority")
    known = properties.inner("facts").has("fingerprint")
    if (own and authority) or not (own or authority or known):
        raise properties.refuse("publicKey", "or 'certificateAuthority' must be given, and not both")
    if not authority and not own:
        return Trust(), ()
    if own:
        _, blob = _ssh_key(properties, "publicKey")
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        return Trust(), (("fingerprint", f"SHA256:{digest}"),)
    line, _ = _ssh_key(properties, "certificateAuthority")
    return Trust(ssh_authority=line), ()


def _ssh_key(properties: Fields, name: str) -> tuple[str, bytes]:
    """A public key's line without its comment, and what is in it."""
    parts = properties.required_text(name, limit=4096).split()
    words = "must be a line of OpenSSH with a public key: ssh-ed25519, ecdsa-sha2-nistp256, -384 or -521, or ssh-rsa of 2048 to 8192 bits"
    try:
        key = load_ssh_public_key(" ".join(parts[:2]).encode())
        line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        blob = base64.b64decode(line.split()[1])
    except (ValueError, UnsupportedAlgorithm, IndexError) as error:
        raise properties.refuse(name, words) from error
    if not _is_sound(key):
        raise properties.refuse(name, words)
    return line.decode(), blob


def _tpm(properties: Fields) -> tuple[Trust, Facts]:
    key = properties.text("endorsementKey", limit=64)
    if key is not None and _SHA256.fullmatch(key) is None:
        raise properties.refuse("endorsementKey", "must be the SHA-256 of the key's public part, 64 hexadecimal digits")
    authorities = _authorities(properties, required=False)
    known = properties.inner("facts").has("endorsementKey")
    if (key is not None and authorities) or not (key is not None or authorities or known):
        raise properties.refuse("endorsementKey", "or 'certificateAuthorities' must be given, and not both")
    pcrs = _pcrs(properties.inner("pcrs")) if properties.has("pcrs") else None
    return Trust(authorities=authorities, pcrs=pcrs), (("endorsementKey", key.lower()),) if key is not None else ()


def _pcrs(given: Fields) -> PcrRule:
    given.only("bank", "registers", "digest")
    bank = given.required_text("bank", limit=16).lower()
    if bank != "sha256":
        raise given.refuse("bank", "must be sha256")
    registers = given.items("registers", limit=_PCRS)
    if not registers or not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < _PCRS for one in registers):
        raise given.refuse("registers", f"must be numbers of registers, 0 to {_PCRS - 1}")
    digest = given.required_text("digest", limit=64)
    if _SHA256.fullmatch(digest) is None:
        raise given.refuse("digest", "must have 64 hexadecimal digits")
    return PcrRule(bank=bank, registers=tuple(sorted({int(str(one)) for one in registers})), digest=digest.lower())


def _facts(method: JoinMethod, properties: Fields) -> list[tuple[str, str]]:
    given = properties.inner("facts")
    if len(given.values) > _MOST_FACTS:
        raise properties.refuse("facts", f"must not have more than {_MOST_FACTS} members")
    found: list[tuple[str, str]] = []
    for name, value in given.values.items():
        _check_name(method, name, given)
        values = value if isinstance(value, list | tuple) else [value]
        if (
            not values
            or len(values) > _MOST_FACTS
            or not all(isinstance(one, str) and 0 < len(one) <= _MAX_FACT for one in values)
        ):
            raise given.refuse(name[:100], f"must be a text of 1 to {_MAX_FACT} characters, or a list of such")
        found += [(name, str(one)) for one in values]
    return found


def _check_expression(method: JoinMethod, expression: str, properties: Fields) -> None:
    try:
        comparisons = parse_expression(expression)
    except Failure as failure:
        raise properties.refuse("expression", f"can't be read: {failure.detail}") from failure
    for one in comparisons:
        _check_name(method, one.claim, properties)


def _check_name(method: JoinMethod, name: str, at: Fields) -> None:
    known = _FACTS.get(method)
    if known is not None and name not in known:
        raise at.refuse(name[:100], f"is no fact that '{method}' can prove; there are: {', '.join(sorted(known))}")
    if not name or len(name) > _MAX_FACT:
        raise at.refuse(name[:100], "must have a name")


def _carries(properties: Fields) -> tuple[ResourceId, ...]:
    found: dict[str, ResourceId] = {}
    for at, text in enumerate(properties.texts("carries", limit=MOST_CARRIED)):
        try:
            identifier = ResourceId.parse(text)
        except Failure as failure:
            raise properties.refuse(f"carries[{at}]", "must be the id of a resource") from failure
        if identifier.resource_group is None or identifier.namespace is None:
            raise properties.refuse(f"carries[{at}]", "must be the id of a resource")
        found[identifier.key] = identifier
    return tuple(found.values())
