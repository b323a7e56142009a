"""What an agent is told by its settings file: TOML, every member known, everything that is wrong said in one sentence."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from idplane.agent.remote import ServerAddress
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId

__all__ = ["EXAMPLE", "AgentSettings", "AgentTable", "EndpointTable", "LogTable", "SettingsProblem", "read_settings"]

_LARGEST = 256 * 1024

EXAMPLE = """\
# The settings of an idplane agent: `idplane agent --config FILE`. Everything that is commented out shows its default, or an example.
# Options of the command line count before what is written here. No secret is written here, nor given on the command line: files hold them.

[agent]
# One or more servers of the same installation. Each name may have several addresses; all are tried, in random order.
servers = ["https://id.example.com"]

# The authority behind the servers' certificates, PEM (ca.pem of the installation). Read again for each connection, so that a
# successor can be put in place while the agent runs: both in one file, then the new one alone.
ca = "/etc/idplane-agent/ca.pem"

# How this host proves what it is, the first time and whenever its certificate has run out:
#   token:FILE      a join token, good once
#   x509:CERT,KEY   a certificate of an authority that the enrollment names, and its key
#   ssh:KEYFILE     this host's SSH host key
#   tpm[:DEVICE]    this host's TPM
#   oidc:FILE       a token of an OpenID Connect issuer, such as a projected service account token
join = "token:/etc/idplane-agent/join-token"

# The state folder: this agent's own key and certificate, and the control socket. Private to its user.
data = "/var/lib/idplane-agent"

# The resource to be, where the proof leaves a choice.
# host = "/subscriptions/.../providers/Microsoft.Compute/virtualMachines/stock-vm"

# When the servers refuse this agent (banned, locked, removed): "wait" serves nothing and asks again each minute; "exit" ends with code 4.
# when_refused = "wait"

# /livez and /readyz over plain HTTP, at an address or the path of a Unix socket: none without it.
# [health]
# listen = "127.0.0.1:9465"

# What the process tells, on standard error: "text" or "json"; "debug", "info", "warning" or "error".
# [log]
# format = "text"
# level = "info"

# One table for each endpoint that is served. A host with a single resource need not name it.

# Virtual machines: Azure's own address. It must be on an interface (`ip addr add 169.254.169.254/32 dev lo`), and port 80 needs
# CAP_NET_BIND_SERVICE; the systemd unit does both.
[[endpoint]]
dialect = "imds"
address = "169.254.169.254"
port = 80

# Web, function and container apps: a port with a secret. The secret is made once and kept in secret_file (0640), the variables by
# which clients find the endpoint are written to env_file (0640), for EnvironmentFile= or a compose file.
# [[endpoint]]
# dialect = "app-service"
# resource = "/subscriptions/.../providers/Microsoft.Web/sites/shop"
# address = "127.0.0.1"
# port = 42356
# names = ["shop-agent:42356"]
# secret_file = "/var/lib/idplane-agent/shop.secret"
# env_file = "/run/idplane-agent/shop.env"

# Machines of Azure Arc. Keys go into /var/opt/azcmagent/tokens, the only folder from which clients read; it must be there, and the agent's.
# [[endpoint]]
# dialect = "arc"
# port = 40342
# env_file = "/run/idplane-agent/arc.env"

# Service Fabric applications: TLS, with a certificate that this agent makes for itself; clients know it by the thumbprint in env_file.
# [[endpoint]]
# dialect = "service-fabric"
# port = 2377
# env_file = "/run/idplane-agent/fabric.env"

# Cloud Shell, and Machine Learning computes.
# [[endpoint]]
# dialect = "cloud-shell"
# port = 50342
# [[endpoint]]
# dialect = "machine-learning"
# port = 46808
# env_file = "/run/idplane-agent/learning.env"

# Workload identity: no endpoint, but a token of the host's own issuer in a file, replaced in time.
# [[endpoint]]
# dialect = "workload-identity"
# token_folder = "/run/idplane-agent/shop"
# service_account = "shop/cart"
# client_id = "11111111-2222-3333-4444-555555555555"
# env_file = "/run/idplane-agent/shop-workload.env"
"""


class SettingsProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why settings can't be used; its text is one sentence."""


class AgentTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[agent]`. What is None may still come from the command line."""

    servers: tuple[str, ...] = ()
    ca: str | None = None
    join: str | None = None
    data: str | None = None
    host: str | None = None
    when_refused: Literal["wait", "exit"] = "wait"


class HealthTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[health]`."""

    listen: str


class LogTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[log]`, on standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class EndpointTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One `[[endpoint]]`."""

    dialect: Dialect
    resource: str | None = None
    address: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    names: tuple[str, ...] = ()
    secret_file: str | None = None
    env_file: str | None = None
    token_folder: str | None = None
    service_account: str | None = None
    client_id: str | None = None

    def problem(self) -> str | None:
        """What is wrong with it; None if nothing is."""
        if self.resource is not None:
            try:
                ResourceId.parse(self.resource)
            except Failure:
                return f"'{self.resource[:200]}' is not the id of a resource"
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return f"the address '{self.address[:100]}' is not an IP address"
        if self.dialect is Dialect.WORKLOAD_IDENTITY:
            return None if self.token_folder else "workload-identity needs a token_folder"
        if self.token_folder or self.service_account or self.client_id:
            return "token_folder, service_account and client_id are for workload-identity"
        if self.port == 0 and self.env_file is None:
            return f"{self.dialect.value} needs a port, or an env_file that tells which one was free"
        return None


class AgentSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A settings file."""

    agent: AgentTable = AgentTable()
    health: HealthTable | None = None
    log: LogTable = LogTable()
    endpoint: tuple[EndpointTable, ...] = ()


def read_settings(path: Path) -> AgentSettings:
    """The settings in a file; raises `SettingsProblem`."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsProblem(f"the settings {path} cannot be read: {(error.strerror or '').lower()}") from error
    if len(content) > _LARGEST:
        raise SettingsProblem(f"the settings {path} are too large")
    return parse_settings(content, str(path))


def parse_settings(content: bytes, name: str) -> AgentSettings:
    """The settings in a text; raises `SettingsProblem` that names them `name`."""
    try:
        settings = msgspec.convert(tomllib.loads(content.decode()), AgentSettings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsProblem(f"the settings {name} are not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise SettingsProblem(f"the settings {name} do not fit: {error}") from error
    for number, one in enumerate(settings.endpoint, start=1):
        problem = one.problem()
        if problem is not None:
            raise SettingsProblem(f"the settings {name} do not fit: endpoint {number}: {problem}")
    for server in settings.agent.servers:
        try:
            ServerAddress.parse(server)
        except ValueError as error:
            raise SettingsProblem(f"the settings {name} do not fit: {error}") from error
    return settings
