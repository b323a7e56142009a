"""Applications of Microsoft's that sign users in and are registered in every tenant: the Azure CLI and its like.

They are public clients: they run on people's machines, where they could keep no secret, so nothing proves that a request comes from
them. Whoever approves a sign-in trusts the program that showed the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["AZURE_CLI", "FIRST_PARTY_CLIENTS"]

AZURE_CLI: Final = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""Also what azure-identity and azd sign users in as, unless they are told another."""

FIRST_PARTY_CLIENTS: Final[Mapping[str, str]] = {
    AZURE_CLI: "Microsoft Azure CLI",
    "1950a258-227b-4e31-a9cf-717495945fc2": "Microsoft Azure PowerShell",
    "14d82eec-204b-4c2f-b7e8-296a70dab67e": "Microsoft Graph Command Line Tools",
    "aebc6443-996d-45c2-90f0-388ff96faa56": "Visual Studio Code",
    "872cd9fa-d31f-45e0-9eab-6e460a02d1f1": "Visual Studio",
    "04f0c124-f2bc-4f59-8241-bf6df9866bbd": "Visual Studio",
    "80faf920-1908-4b52-b5ef-a8e7bedfc67a": "Azure Kubernetes Service AAD Client",
}
"""Client id, lower case, to display name."""
