"""Every type of host speaks its own dialect without being told, and what runs on it gets exactly its identity.

Must-show 2, first half: a slot, a function app and an Arc machine on one machine, at the same time, each itself and nobody else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import Up
from tests.stories.workloads import Workload, require_namespaces

from idplane.providers import PROVIDERS

pytestmark = pytest.mark.wide

PROGRAM = (sys.executable, str(Path(__file__).with_name("neighbours.py")))
ARC_URL = "http://localhost:40342/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net"
APP_PATH = "?api-version=2019-08-01&resource=https://vault.azure.net"
SYSTEM = {"type": "SystemAssigned"}
HOSTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("Microsoft.Web/sites", "shop", "app-service", {}),
    ("Microsoft.Web/sites/slots", "shop/staging", "app-service", {}),
    ("Microsoft.Web/sites", "hooks", "app-service", {"kind": "functionapp,linux"}),
    ("Microsoft.Web/sites", "flows", "app-service", {"kind": "functionapp,workflowapp"}),
    ("Microsoft.Logic/workflows", "orders", "app-service", {}),
    ("Microsoft.App/containerApps", "cart", "app-service", {}),
    ("Microsoft.App/jobs", "nightly", "app-service", {}),
    ("Microsoft.Automation/automationAccounts", "runbooks", "app-service", {}),
    ("Microsoft.ContainerInstance/containerGroups", "batch", "imds", {}),
    ("Microsoft.ContainerService/managedClusters", "aks", "imds", {}),
    ("Microsoft.ServiceFabric/clusters", "fabric", "service-fabric", {}),
    ("Microsoft.ServiceFabric/clusters/applications", "fabric/till", "service-fabric", {}),
    ("Microsoft.ServiceFabric/managedClusters", "managed", "service-fabric", {}),
    ("Microsoft.ServiceFabric/managedClusters/applications", "managed/till", "service-fabric", {}),
    ("Microsoft.HybridCompute/machines", "cellar", "arc", {}),
    ("Microsoft.HybridCompute/machines", "attic", "arc", {}),
    ("Microsoft.MachineLearningServices/workspaces", "learning", "machine-learning", {}),
    ("Microsoft.MachineLearningServices/workspaces/computes", "learning/gpu", "machine-learning", {}),
    ("Microsoft.MachineLearningServices/workspaces/onlineEndpoints", "learning/score", "machine-learning", {}),
    ("Microsoft.Compute/virtualMachines", "vm", "imds", {}),
    ("Microsoft.Compute/virtualMachineScaleSets", "web", "imds", {"sku": {"name": "Standard_B1s", "capacity": 2}}),
)


class Street:
    """A plane with a host of every type, each with an identity of its own."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/street"
        self.put(self.group, "2024-11-01", {})
        self.oids: dict[str, str] = {}
        for kind, name, _, body in sorted(HOSTS, key=lambda it: it[0].count("/")):
            made = self.put(self.id(kind, name), version_of(kind), {"identity": SYSTEM, "properties": {}, **body})
            self.oids[made["id"]] = made["identity"]["principalId"]

    def id(self, kind: str, name: str) -> str:
        namespace, *types = kind.split("/")
        path = "/".join(f"{word}/{one}" for word, one in zip(types, name.split("/"), strict=True))
        return f"{self.group}/providers/{namespace}/{path}"

    def put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **body})
        assert status in {200, 201, 202}, answer
        result: dict[str, Any] = answer
        return result

    def neighbour(self, kind: str, name: str, *options: str) -> Neighbour:
        identifier = self.id(kind, name)
        return Neighbour(self.up.data, identifier, PROGRAM, *options)


class Neighbour(Workload):
    """One program on one host."""

    def do(self, what: str, **more: Any) -> Any:
        return json.loads(self.say(json.dumps({"do": what, **more})))


def version_of(kind: str) -> str:
    versions = next(one.api_versions for each in PROVIDERS for one in each.types if one.name == kind)
    return next(version for version in versions if "preview" not in version)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("street") / "data")
    yield Street(up)
    up.stop()


@pytest.mark.parametrize(("kind", "name", "dialect"), [row[:3] for row in HOSTS], ids=[f"{row[0]}-{row[1]}" for row in HOSTS])
def test_a_host_is_itself(street: Street, kind: str, name: str, dialect: str) -> None:
    identifier = street.id(kind, name)
    ended = street.up.cli("run", "--as", identifier, "--json", "--", *PROGRAM, input='{"do": "token"}\n')
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == street.oids[identifier]
    assert json.loads(ended.stderr.splitlines()[0])["dialect"] == dialect


def test_an_instance_is_its_scale_set(street: Street) -> None:
    scale_set = street.id("Microsoft.Compute/virtualMachineScaleSets", "web")
    ended = street.up.cli("run", "--as", f"{scale_set}/virtualMachines/1", "--", *PROGRAM, input='{"do": "token"}\n')
    assert json.loads(ended.stdout) == street.oids[scale_set], ended.stderr


def test_a_slot_a_function_app_and_an_arc_machine_side_by_side(street: Street) -> None:
    """The slot and the function app have one address and different secrets; the machines have one address and different files."""
    hosts = (
        ("Microsoft.Web/sites/slots", "shop/staging"),
        ("Microsoft.Web/sites", "hooks"),
        ("Microsoft.HybridCompute/machines", "cellar"),
        ("Microsoft.HybridCompute/machines", "attic"),
    )
    with ExitStack() as stack:
        all_four = [stack.enter_context(street.neighbour(*host)) for host in hosts]
        own = [street.oids[street.id(*host)] for host in hosts]
        assert [one.do("token") for one in all_four] == own
        variables = [one.do("variables") for one in all_four]
        assert [one.do("token", variables=given) for one, given in zip(all_four, variables, strict=True)] == own

        refused = {"ClientAuthenticationError", "CredentialUnavailableError"}
        slot, functions, cellar, attic = all_four
        for one, given in ((slot, variables[1]), (functions, variables[0]), (slot, variables[2]), (cellar, variables[0])):
            assert one.do("token", variables=given) in refused

        # An Arc machine's file is good for that machine's endpoint alone, and inside it.
        status, key, _ = cellar.do("get", url=ARC_URL, headers={"Metadata": "true"})
        assert (status, len(key) > 64) == (401, True)
        shown = {"Metadata": "true", "Authorization": f"Basic {key}"}
        assert attic.do("get", url=ARC_URL, headers=shown)[0] == 401
        assert slot.do("get", url=ARC_URL, headers=shown)[0] == 0
        status, _, body = cellar.do("get", url=ARC_URL, headers=shown)
        assert status == 200
        assert json.loads(body)["access_token"]

        # And the next good request of each is served.
        assert [one.do("token") for one in all_four] == own


def test_side_by_side_without_namespaces(street: Street) -> None:
    """Each has a port and a secret of its own, and one without the other opens nothing."""
    with (
        street.neighbour("Microsoft.Web/sites/slots", "shop/staging", "--isolation", "env") as slot,
        street.neighbour("Microsoft.Web/sites", "hooks", "--isolation", "env") as functions,
    ):
        own = [
            street.oids[street.id("Microsoft.Web/sites/slots", "shop/staging")],
            street.oids[street.id("Microsoft.Web/sites", "hooks")],
        ]
        assert [slot.do("token"), functions.do("token")] == own
        of_slot, of_functions = slot.do("variables"), functions.do("variables")
        crossed = (
            {**of_slot, "IDENTITY_HEADER": of_functions["IDENTITY_HEADER"]},
            {**of_functions, "IDENTITY_HEADER": of_slot["IDENTITY_HEADER"]},
        )
        for given in crossed:
            headers = {"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]}
            for one in (slot, functions):
                assert one.do("token", variables=given) == "ClientAuthenticationError"
                assert one.do("get", url=f"{given['IDENTITY_ENDPOINT']}{APP_PATH}", headers=headers)[0] == 401
        assert [slot.do("token"), functions.do("token")] == own
