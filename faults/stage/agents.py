"""Hosts: machines that an agent runs on, each joined as the host of one virtual machine, with an endpoint in every dialect."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.stage.clocks import WallClock
from faults.stage.network import Place
from faults.stage.operator import Operator
from faults.stage.programs import Program, eventually
from faults.stage.servers import PUBLIC_NAME, idplane, told_at

__all__ = ["OWN_ADDRESSES", "OWN_FOLDERS", "PORTS", "Host"]

OWN_ADDRESSES: Final = ("169.254.169.254",)
OWN_FOLDERS: Final = ("/var/opt",)
"""What each host has by itself: Arc's clients read keys from a fixed path below."""
_ARC_FOLDER: Final = "/var/opt/azcmagent/tokens"
PORTS: Final[Mapping[str, tuple[str, int]]] = {
    "imds": ("169.254.169.254", 80),
    "app-service": ("127.0.0.1", 42356),
    "app-service-2017": ("127.0.0.1", 42357),
    "arc": ("127.0.0.1", 40342),
    "service-fabric": ("127.0.0.1", 2377),
    "cloud-shell": ("127.0.0.1", 50342),
    "machine-learning": ("127.0.0.1", 46808),
}
"""Where each dialect is served."""
_HEALTH: Final = "127.0.0.1:9465"
_START_SECONDS: Final = 40.0
_ENROLLMENT: Final = "stage"
_SETTINGS: Final = """\
[agent]
servers = ["https://{public}"]
ca = "{ca}"
join = "token:{folder}/join-token"
data = "{folder}/state"

[health]
listen = "{health}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host, and the resource that it is."""

    name: str
    folder: Path
    place: Place
    program: Program
    clock: WallClock = field(repr=False)
    resource: str
    identity: str
    """Object id of the resource's own identity."""
    workload: Mapping[str, str]
    """The user-assigned identity that the host's own tokens are good for: `id`, `clientId`, `principalId`."""
    join_token: str = field(repr=False)

    @classmethod
    def create(cls, place: Place, folder: Path, *, operator: Operator, logs: Path) -> Host:
        """A virtual machine, an identity for workloads on it, and a host that is to be it. Its agent is not started yet."""
        folder.mkdir()
        place.run("mkdir", "-p", _ARC_FOLDER)
        resource = f"{operator.group}/providers/Microsoft.Compute/virtualMachines/{place.name}"
        made = operator.call(
            "PUT", resource, {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        )
        identity = f"{operator.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{place.name}-workload"
        own = operator.call("PUT", identity, {"location": "westeurope"})
        token = _join_token(operator, resource)
        (folder / "join-token").touch(mode=0o600)
        (folder / "join-token").write_text(token, encoding="ascii")
        text = _SETTINGS.format(public=PUBLIC_NAME, ca=operator.ca_file, folder=folder, health=_HEALTH)
        text += "".join(_endpoints(folder, own["properties"]["clientId"]))
        (folder / "agent.toml").write_text(text, encoding="ascii")
        clock = WallClock(file=folder / "clock")
        command = idplane("agent", "--config", str(folder / "agent.toml"))
        program = Program(name=place.name, place=place, command=command, log=logs / f"agent-{place.name}.log", clock=clock)
        return cls(
            name=place.name,
            folder=folder,
            place=place,
            program=program,
            clock=clock,
            resource=resource,
            identity=made["identity"]["principalId"],
            workload={"id": identity, **{name: own["properties"][name] for name in ("clientId", "principalId")}},
            join_token=token,
        )

    @property
    def dialects(self) -> tuple[str, ...]:
        """All that are served."""
        return tuple(PORTS)

    @property
    def private_files(self) -> tuple[Path, ...]:
        """Where keys and secrets have to be."""
        secrets = [self.folder / f"{name}.{kind}" for name in PORTS for kind in ("secret", "env")]
        return (self.folder / "join-token", self.folder / "state" / "agent.json", *secrets, self.token_file)

    @property
    def token_file(self) -> Path:
        """The host's own token, for workload identity."""
        return self.folder / "workload" / "azure-identity-token"

    def clock_difference(self) -> float:
        """How far the host's wall clock is ahead of ours. The agent's own answers do not tell: it goes by the servers' time."""
        variables = [f"{name}={value}" for name, value in self.clock.environment.items()]
        said = self.place.run("env", *variables, sys.executable, "-c", "import time; print(time.time())")
        return float(said) - time.time()

    def health(self) -> bytes:
        """What its agent says of itself."""
        return told_at(self.place, f"http://{_HEALTH}/readyz")

    def start(self) -> float:
        """Start the agent, and wait until all endpoints are there; the seconds that it took. Raises `StageError`."""
        for file in self._variables_files():
            file.unlink(missing_ok=True)
        self.program.start()
        return eventually(f"{self.name}'s agent serves", self._serves, seconds=_START_SECONDS, alive=self.program)

    def variables(self, dialect: str) -> dict[str, str]:
        """What clients of a dialect are given."""
        lines = (self.folder / f"{dialect}.env").read_text(encoding="ascii").splitlines()
        found = dict(line.split("=", 1) for line in lines if line)
        # At Azure's own address clients need no variable.
        return {} if dialect == "imds" else found

    def trust_own_tokens(self, operator: Operator) -> None:
        """Have the host's own tokens be good for its workload's identity, by what they say of themselves."""
        payload = self.token_file.read_text(encoding="ascii").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        trust = {"issuer": claims["iss"], "subject": claims["sub"], "audiences": ["api://AzureADTokenExchange"]}
        operator.call("PUT", f"{self.workload['id']}/federatedIdentityCredentials/own", {"properties": trust})

    def agents(self, operator: Operator) -> list[Any]:
        """The agents that there are of this resource, as Resource Manager shows them."""
        return list(operator.listing(f"{self.resource}/providers/Idplane.Workloads/agents"))

    def _serves(self) -> bool:
        return all(file.exists() for file in self._variables_files()) and self.token_file.exists()

    def _variables_files(self) -> Iterator[Path]:
        yield from (self.folder / f"{name}.env" for name in (*PORTS, "workload-identity"))


def _join_token(operator: Operator, resource: str) -> str:
    enrollment = f"{resource}/providers/Idplane.Workloads/enrollments/{_ENROLLMENT}"
    operator.call("PUT", enrollment, {"properties": {"method": "token"}})
    return str(operator.call("POST", f"{enrollment}/issueToken", {})["token"])


def _endpoints(folder: Path, client_id: str) -> Iterator[str]:
    for name, (address, port) in PORTS.items():
        yield f'\n[[endpoint]]\ndialect = "{name}"\naddress = "{address}"\nport = {port}\nenv_file = "{folder / name}.env"\n'
        # With a secret that is kept, clients go on when the agent was restarted.
        yield f'secret_file = "{folder / name}.secret"\n'
    yield f'\n[[endpoint]]\ndialect = "workload-identity"\ntoken_folder = "{folder / "workload"}"\n'
    yield f'client_id = "{client_id}"\nenv_file = "{folder / "workload-identity"}.env"\n'
