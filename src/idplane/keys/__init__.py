"""Keys that sign: the ring of token-signing keys and the certificate authorities.

Owns their making, sealing, rotation and use. Does not decide what a token says or who may have a certificate: the token service
hands in one-use permits, the directory asks for identity certificates and commits them.

    SigningPermit --KeyRing.sign--> SignedToken         `rotation` decides when keys move: prepared -> active -> retired
    CSR --CredentialAuthority--> Credential             identities and agents, client authentication
    names --TlsAuthority, RunAuthority--> TlsIdentity   listeners; the authority can sign no other names than its own

Private parts are sealed by the key custody in the store, unsealed and parsed once, and leave neither this package nor the process.
"""

from idplane.keys.credentials import CredentialAuthority
from idplane.keys.permits import PublicKeyInfo, SignedToken, SigningPermit
from idplane.keys.ring import KeyRing
from idplane.keys.tls import RunAuthority, TlsAuthority, TlsIdentity

__all__ = [
    "CredentialAuthority",
    "KeyRing",
    "PublicKeyInfo",
    "RunAuthority",
    "SignedToken",
    "SigningPermit",
    "TlsAuthority",
    "TlsIdentity",
]
