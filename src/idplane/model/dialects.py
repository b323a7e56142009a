"""Token endpoints' dialects, which type of resource speaks which, and where each answers on such a resource."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["INSIDE_ADDRESSES", "KEY_FOLDER", "TOKEN_FOLDER", "Dialect", "default_dialect", "variables_dialect"]


class Dialect(enum.StrEnum):
    """The words in which code asks for its token."""

    IMDS = "imds"
    """Virtual machines and what is made of them: `/metadata` at 169.254.169.254 (MIE section 1)."""
    APP_SERVICE = "app-service"
    """Web, function and container apps, 2019-08-01 and 2025-03-30: `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` (MIE section 2)."""
    APP_SERVICE_2017 = "app-service-2017"
    """The same apps for clients of before 2020, 2017-09-01: `MSI_ENDPOINT` and `MSI_SECRET` (MIE section 2)."""
    ARC = "arc"
    """Machines connected through Azure Arc: a challenge that is met by reading a file (MIE section 3)."""
    SERVICE_FABRIC = "service-fabric"
    """Service Fabric applications: TLS, with the certificate's thumbprint in a variable (MIE section 4)."""
    CLOUD_SHELL = "cloud-shell"
    """Cloud Shell: a form without any secret (MIE section 5)."""
    MACHINE_LEARNING = "machine-learning"
    """Machine Learning computes: 2017-09-01 once more, with a default identity in a variable (MIE section 5)."""
    WORKLOAD_IDENTITY = "workload-identity"
    """Pods, and anything that shows a token of its own: no endpoint, but a file that the authority takes (MIE section 6)."""


_BY_TYPE: Mapping[str, Dialect] = MappingProxyType(
    {
        "microsoft.web/sites": Dialect.APP_SERVICE,
        "microsoft.web/sites/slots": Dialect.APP_SERVICE,
        "microsoft.logic/workflows": Dialect.APP_SERVICE,
        "microsoft.app/containerapps": Dialect.APP_SERVICE,
        "microsoft.app/jobs": Dialect.APP_SERVICE,
        "microsoft.automation/automationaccounts": Dialect.APP_SERVICE,
        "microsoft.hybridcompute/machines": Dialect.ARC,
        "microsoft.servicefabric/clusters": Dialect.SERVICE_FABRIC,
        "microsoft.servicefabric/clusters/applications": Dialect.SERVICE_FABRIC,
        "microsoft.servicefabric/managedclusters": Dialect.SERVICE_FABRIC,
        "microsoft.servicefabric/managedclusters/applications": Dialect.SERVICE_FABRIC,
        "microsoft.machinelearningservices/workspaces": Dialect.MACHINE_LEARNING,
        "microsoft.machinelearningservices/workspaces/computes": Dialect.MACHINE_LEARNING,
        "microsoft.machinelearningservices/workspaces/onlineendpoints": Dialect.MACHINE_LEARNING,
        "microsoft.compute/virtualmachines": Dialect.IMDS,
        "microsoft.compute/virtualmachinescalesets": Dialect.IMDS,
        "microsoft.compute/virtualmachinescalesets/virtualmachines": Dialect.IMDS,
        "microsoft.containerservice/managedclusters": Dialect.IMDS,
        "microsoft.containerinstance/containergroups": Dialect.IMDS,
    }
)

INSIDE_ADDRESSES: Mapping[Dialect, tuple[str, int]] = MappingProxyType(
    {
        Dialect.IMDS: ("169.254.169.254", 80),
        Dialect.APP_SERVICE: ("127.0.0.1", 42356),
        Dialect.APP_SERVICE_2017: ("127.0.0.1", 42356),
        Dialect.ARC: ("127.0.0.1", 40342),
        Dialect.SERVICE_FABRIC: ("127.0.0.1", 2377),
        Dialect.CLOUD_SHELL: ("127.0.0.1", 50342),
        Dialect.MACHINE_LEARNING: ("127.0.0.1", 46808),
    }
)
"""Where the endpoint is inside a network namespace: as on the real thing where that is fixed, else at a port that it has been seen at.

Workload identity has no endpoint."""

KEY_FOLDER = "/var/opt/azcmagent/tokens"
"""Where Arc's keys are: the only folder from which its clients read (MIE section 3)."""


TOKEN_FOLDER = "/var/run/secrets/azure/tokens"
"""Where AKS puts the file of workload identity (MIE section 6.1)."""


def default_dialect(resource_type: str) -> Dialect:
    """What code on a resource of this type speaks; any case."""
    return _BY_TYPE.get(resource_type.lower(), Dialect.IMDS)


def variables_dialect(resource_type: str) -> Dialect:
    """The same where only variables lead to the endpoint: IMDS has none that every client honours, and no secret; App Service has."""
    dialect = default_dialect(resource_type)
    return Dialect.APP_SERVICE if dialect is Dialect.IMDS else dialect
