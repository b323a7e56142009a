"""Certificates that an agent makes for its own endpoints: Service Fabric's clients know a server by its certificate's thumbprint.

Self-signed and in memory: nobody is asked to trust an authority, so there is none that could sign anything else. A new one comes with
each start, and with it a new thumbprint in the variables.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idplane.agent.opening import ServerCertificate
from idplane.agent.remote import server_context
from idplane.jose import new_ec_key
from idplane.ports.world import Clock, Entropy

__all__ = ["LocalCertificates"]

_LIFETIME: Final = timedelta(days=396)
_BACKDATE: Final = timedelta(minutes=15)


class LocalCertificates:
    """An `opening.Certificates`."""

    def __init__(self, *, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy

    def certificate(self, names: Sequence[str], /) -> ServerCertificate:
        """A new one for these names; ports that stand behind them are left out."""
        key = new_ec_key()
        now = self._clock.now().replace(microsecond=0)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idplane agent")])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(b"\x01" + self._entropy.bytes(16)))
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in dict.fromkeys(names)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
        # Not ours to choose: how Service Fabric names a certificate.
        thumbprint = made.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - see above
        return ServerCertificate(context=server_context(pem), thumbprint=thumbprint)


def _general(name: str) -> x509.GeneralName:
    host = name.rpartition(":")[0] if name.count(":") == 1 else name
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
