"""What can be created with a form: for each kind its fields, and the body that Azure's own clients would send for it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["KINDS", "Filled", "Input", "Kind", "kind_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A field of a form. With `options` it is a choice."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    required: bool = False
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a form was filled with."""

    name: str
    group: ResourceId
    tenant_id: str
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of resource that the portal makes."""

    slug: str
    type: str
    label: str
    words: str
    body: Callable[[Filled], JsonObject]
    """Members beside location, tags and identity."""
    inputs: tuple[Input, ...] = ()
    parent: str = ""
    """Of children: the label of the field that names the parent."""

    def id(self, filled: Filled) -> ResourceId:
        """Where it will be; raises `Failure(INVALID_RESOURCE_ID)`."""
        namespace, *types = self.type.split("/")
        names = [filled["parent"], filled.name] if self.parent else [filled.name]
        pairs = [part for pair in zip(types, names, strict=True) for part in pair]
        return filled.group.child("providers", namespace, *pairs)


def _machine(filled: Filled) -> JsonObject:
    linux = filled["image"] != "windows"
    image = (
        {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
        if linux
        else {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter-g2", "version": "latest"}
    )
    special = {"linuxConfiguration": {"disablePasswordAuthentication": True}} if linux else {"windowsConfiguration": {}}
    return {
        "properties": {
            "hardwareProfile": {"vmSize": filled["size"]},
            "storageProfile": {"imageReference": image, "osDisk": {"createOption": "FromImage"}},
            "osProfile": {"computerName": filled.name[:15], "adminUsername": filled["admin"], **special},
        }
    }


def _site(kind: str) -> Callable[[Filled], JsonObject]:
    def body(filled: Filled) -> JsonObject:
        plan = {"serverFarmId": filled["plan"]} if filled["plan"] else {}
        return {"kind": kind, "properties": {**plan, "httpsOnly": True, "siteConfig": {}}}

    return body


def _slot(filled: Filled) -> JsonObject:
    del filled
    return {"properties": {"httpsOnly": True, "siteConfig": {}}}


def _container_group(filled: Filled) -> JsonObject:
    container = {
        "name": filled.name,
        "properties": {
            "image": filled["image"],
            "resources": {"requests": {"cpu": float(filled["cpu"]), "memoryInGB": float(filled["memory"])}},
        },
    }
    return {"properties": {"containers": [container], "osType": "Linux", "restartPolicy": "Always"}}


def _workflow(filled: Filled) -> JsonObject:
    del filled
    schema = "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#"
    definition = {"$schema": schema, "contentVersion": "1.0.0.0", "triggers": {}, "actions": {}}
    return {"properties": {"state": "Enabled", "definition": definition}}


def _arc_machine(filled: Filled) -> JsonObject:
    return {"properties": {"osType": filled["os"]}}


def _vault(filled: Filled) -> JsonObject:
    sku = {"family": "A", "name": "standard"}
    return {"properties": {"tenantId": filled.tenant_id, "sku": sku, "enableRbacAuthorization": True}}


def _storage(filled: Filled) -> JsonObject:
    del filled
    return {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {"allowSharedKeyAccess": False}}


_PLAN: Final = Input(name="plan", label="App Service plan", hint="Its name, if there is one in the group.")

KINDS: Final = (
    Kind(
        slug="virtual-machine",
        type="Microsoft.Compute/virtualMachines",
        label="Virtual machine",
        words="Programs on it ask 169.254.169.254 for tokens.",
        inputs=(
            Input(
                name="image",
                label="Image",
                value="ubuntu",
                options=(("ubuntu", "Ubuntu Server 24.04 LTS"), ("windows", "Windows Server 2022")),
            ),
            Input(name="size", label="Size", value="Standard_B1s", required=True),
            Input(name="admin", label="Administrator", value="azureuser", required=True),
        ),
        body=_machine,
    ),
    Kind(
        slug="web-app",
        type="Microsoft.Web/sites",
        label="Web app",
        words="App Service. Programs find the token endpoint in their environment.",
        inputs=(_PLAN,),
        body=_site("app,linux"),
    ),
    Kind(
        slug="slot",
        type="Microsoft.Web/sites/slots",
        label="Deployment slot",
        words="Of a web app or function app, with identities of its own.",
        parent="App",
        body=_slot,
    ),
    Kind(
        slug="function-app",
        type="Microsoft.Web/sites",
        label="Function app",
        words="Functions, with the same endpoint as web apps.",
        inputs=(_PLAN,),
        body=_site("functionapp,linux"),
    ),
    Kind(
        slug="logic-app",
        type="Microsoft.Logic/workflows",
        label="Logic app",
        words="A workflow. It takes either kind of identity, not both.",
        body=_workflow,
    ),
    Kind(
        slug="container-group",
        type="Microsoft.ContainerInstance/containerGroups",
        label="Container group",
        words="Container instances that share a machine and its identities.",
        inputs=(
            Input(name="image", label="Image", value="mcr.microsoft.com/azuredocs/aci-helloworld", required=True),
            Input(name="cpu", label="CPU cores", value="1", options=tuple((one, one) for one in ("0.5", "1", "2", "4"))),
            Input(
                name="memory",
                label="Memory",
                value="1.5",
                options=tuple((one, f"{one} GB") for one in ("0.5", "1.5", "4", "8")),
            ),
        ),
        body=_container_group,
    ),
    Kind(
        slug="arc-machine",
        type="Microsoft.HybridCompute/machines",
        label="Machine (Azure Arc)",
        words="A server of your own, anywhere.",
        inputs=(
            Input(name="os", label="Operating system", value="linux", options=(("linux", "Linux"), ("windows", "Windows"))),
        ),
        body=_arc_machine,
    ),
    Kind(
        slug="key-vault",
        type="Microsoft.KeyVault/vaults",
        label="Key vault",
        words="Secrets that identities read. Roles decide who may.",
        body=_vault,
    ),
    Kind(
        slug="storage-account",
        type="Microsoft.Storage/storageAccounts",
        label="Storage account",
        words="A target for roles over blobs, queues and tables.",
        body=_storage,
    ),
)


def kind_named(slug: str) -> Kind | None:
    """The kind with that name in addresses."""
    return next((one for one in KINDS if one.slug == slug), None)
