"""Every way in which `az` signs in to a plane, with plain `az` and a configuration folder of its own (control-plane.md sections 2 and 3)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.azure_cli_world import Az, grant, new_group, new_identity, operator_az, own_az, put, signed_in
from tests.interop.issuers import EXCHANGE, LocalIssuer, local_issuer
from tests.stories.planes import IDPLANE, Up
from tests.stories.workloads import require_namespaces

pytestmark = pytest.mark.xdist_group("azure-cli-sign-in")

OPERATOR_FILE = "operator.pem"


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Up]:
    """A plane that may ask the issuer of this module."""
    plane = Up(tmp_path_factory.mktemp("plane") / "data", "--private-issuer", issuer.url)
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def az(up: Up, azure_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Az:
    return operator_az(up, azure_cli, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def group(up: Up) -> str:
    """The id of a group that everybody here may read."""
    return new_group(up, "signed")


@pytest.fixture(scope="module")
def registered(up: Up, azure_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """Plain `az` that knows the plane and nobody in it, made by what `idplane az setup` prints."""
    document = json.loads(up.cli("az", "--json", "setup").stdout)
    folder = tmp_path_factory.mktemp("registered")
    settings = {**document["variables"], "AZURE_CONFIG_DIR": str(folder / "config")}
    plain = own_az(azure_cli, folder)
    [register, _] = document["commands"]
    # What is printed is for the folder of `idplane az`, which may know the plane already.
    fresh = {name: value for name, value in settings.items() if name != "AZURE_CLOUD_NAME"}
    plain.within(**fresh)("cloud", "register", *register[3:])
    return plain.within(**settings)


@pytest.fixture
def mine(registered: Az, tmp_path: Path) -> Az:
    """The same for one test."""
    folder = tmp_path / "config"
    shutil.copytree(registered.environment["AZURE_CONFIG_DIR"], folder)
    return registered.within(AZURE_CONFIG_DIR=str(folder), HOME=str(tmp_path))


def reader(up: Up, group: str, name: str) -> dict[str, str]:
    """A user-assigned identity that may read the group."""
    made = new_identity(up, group, name)
    grant(up, made["principalId"], group)
    return made


# Without idplane's help


def test_what_set_up_prints_works_in_a_shell(up: Up, azure_cli: Path, tmp_path: Path) -> None:
    printed = up.cli("az", "setup").stdout
    assert "PRIVATE KEY" not in printed
    shell = own_az(azure_cli, tmp_path)
    environment = {**shell.environment, "PATH": f"{azure_cli.parent}:{shell.environment['PATH']}"}
    ended = subprocess.run(
        ["sh", "-e", "-c", f'{printed}\ncd "$HOME"; az group list --output json; az account show --query user.name'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout.rstrip().endswith(f'"{up.info["operator_client_id"]}"')
    assert list(tmp_path.iterdir()) == [], "the person's own home is as it was"


# Applications


def test_a_certificate(up: Up, mine: Az) -> None:
    who = ("--service-principal", "--username", up.info["operator_client_id"], "--tenant", up.info["tenant_id"])
    for more in ((), ("--use-cert-sn-issuer",)):
        [subscription] = mine("login", *who, "--certificate", str(up.data / OPERATOR_FILE), *more)
        assert subscription["id"] == up.info["subscription_id"]
    assert signed_in(mine)["appid"] == up.info["operator_client_id"]
    mine("logout")
    assert "az login" in mine.refused("group", "list")


def test_a_token_of_another_issuer(up: Up, az: Az, mine: Az, group: str, issuer: LocalIssuer) -> None:
    identity = reader(up, group, "federated")
    az(
        *("identity", "federated-credential", "create", "--name", "job", "--identity-name", "federated"),
        *("--resource-group", "signed", "--issuer", issuer.url, "--subject", "job-1", "--audiences", EXCHANGE),
    )
    who = ("--service-principal", "--username", identity["clientId"], "--tenant", up.info["tenant_id"])
    claims = {"sub": "job-1", "aud": EXCHANGE, "iat": 1, "exp": 4_000_000_000}
    stranger = issuer.token({**claims, "sub": "job-2"})
    assert "AADSTS700213" in mine.refused("login", *who, "--federated-token", stranger)
    mine("login", *who, "--federated-token", issuer.token(claims))
    assert signed_in(mine)["oid"] == identity["principalId"]
    assert mine("group", "list", "--query", "[].name") == ["signed"]
    assert "AuthorizationFailed" in mine.refused("group", "create", "--name", "other", "--location", "westeurope")


# Managed identities, inside runs


def test_managed_identities_where_the_public_names_lead_here(up: Up, group: str, azure_cli: Path, tmp_path: Path) -> None:
    require_namespaces()
    identity = reader(up, group, "of-machine")
    block = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {identity["id"]: {}}}
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/box"
    made = put(up, machine, "2024-11-01", {"location": "westeurope", "identity": block})
    grant(up, made["identity"]["principalId"], group)
    run = (*IDPLANE, "run", "--data", str(up.data), "--as", "box", "--")
    inside = own_az(azure_cli, tmp_path).within(*run, AZURE_CONFIG_DIR=str(tmp_path / "config"))
    [subscription] = inside("login", "--identity")
    assert (subscription["user"]["assignedIdentityInfo"], subscription["id"]) == ("MSI", up.info["subscription_id"])
    assert signed_in(inside)["oid"] == made["identity"]["principalId"]
    assert inside("group", "list", "--query", "[].name") == ["signed"]
    names = {"--client-id": identity["clientId"], "--object-id": identity["principalId"], "--resource-id": identity["id"]}
    for option, value in names.items():
        inside("login", "--identity", option, value)
        assert signed_in(inside)["oid"] == identity["principalId"]
    inside.refused("login", "--identity", "--client-id", up.info["tenant_id"])


def test_managed_identities_by_variables(up: Up, mine: Az, group: str) -> None:
    site = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
    made = put(up, f"{group}/providers/Microsoft.Web/sites/front", "2024-11-01", site)
    run = (*IDPLANE, "run", "--data", str(up.data), "--as", "front", "--isolation", "env", "--")
    inside = mine.within(*run)
    inside("login", "--identity", "--allow-no-subscriptions")
    assert signed_in(inside)["oid"] == made["identity"]["principalId"]


# People


def test_a_code_that_the_operator_approves(up: Up, mine: Az) -> None:
    signing_in = subprocess.Popen(
        [*mine.command, "login", "--use-device-code"],
        env=dict(mine.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert signing_in.stderr is not None
    code = next(found[1] for found in (re.search(r"idplane approve (\S+)", line) for line in signing_in.stderr) if found)
    approved = up.cli("approve", code, "--json")
    assert approved.returncode == 0, approved.stderr
    out, err = signing_in.communicate(timeout=120)
    assert signing_in.returncode == 0, err
    assert json.loads(out)[0]["user"]["type"] == "user"
    me = mine("ad", "signed-in-user", "show")
    assert me["userPrincipalName"] == json.loads(out)[0]["user"]["name"]
    assert signed_in(mine)["oid"] == me["id"]
    assert mine("group", "create", "--name", "of-a-person", "--location", "westeurope")["name"] == "of-a-person"
