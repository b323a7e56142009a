"""What machines join by, composed for a world. Straight-line; nothing here decides anything."""

from __future__ import annotations

from idplane.bootstrap.world import World
from idplane.directory.agents import AgentCertifier
from idplane.directory.attestation import Attestation
from idplane.directory.attestation_oidc import OidcReader, private_issuers
from idplane.directory.attestation_ssh import read_ssh
from idplane.directory.attestation_tpm import TpmOffers, read_tpm
from idplane.directory.attestation_x509 import read_x509
from idplane.model.enrollments import JoinMethod
from idplane.ports.issuers import IssuerDocuments
from idplane.sts.issuers import IssuerKeys

__all__ = ["attestation"]


def attestation(world: World, authority: AgentCertifier, home_tenant: str, documents: IssuerDocuments) -> Attestation:
    """All methods, over one store."""
    tokens = OidcReader(
        keys=IssuerKeys(documents=documents, clock=world.clock),
        algorithms=world.profile.federated_algorithms,
        is_private=private_issuers(world.store, home_tenant),
    )
    return Attestation(
        store=world.store,
        authority=authority,
        custody=world.custody,
        clock=world.clock,
        entropy=world.entropy,
        profile=world.profile,
        home_tenant=home_tenant,
        readers={
            JoinMethod.X509: read_x509,
            JoinMethod.SSH: read_ssh,
            JoinMethod.TPM: read_tpm,
            JoinMethod.OIDC: tokens,
        },
        offerers={JoinMethod.TPM: TpmOffers(entropy=world.entropy)},
    )
