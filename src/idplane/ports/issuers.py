"""The doors to outside issuers: their discovery document and their keys, and the token endpoint of one that signs people in."""

from __future__ import annotations

from typing import Protocol

__all__ = ["IssuerDocuments", "TokenEndpoints"]


class IssuerDocuments(Protocol):
    """Fetches a document from an address that a stranger may have chosen, so within bounds.

    At most 64 KiB and 5 seconds altogether; `https` only; no redirect is followed; the host's addresses are looked up once, and the
    connection goes to one that was judged. Addresses that are not public are refused. `private` lifts the rules about `http` and
    about addresses, for issuers that the tenant has named.
    """

    async def fetch(self, url: str, *, private: bool = False) -> bytes:
        """The body of a 200 answer; raises `Failure(ISSUER_UNREACHABLE)` for everything else."""
        ...


class TokenEndpoints(Protocol):
    """Redeems an authorization code at an outside issuer, within the bounds of `IssuerDocuments`."""

    async def post(self, url: str, form: str, *, authorization: str | None, private: bool = False) -> bytes:
        """The body of a 200 answer to a form; raises `Failure(ISSUER_UNREACHABLE)` for everything else."""
        ...
