"""The settings file of `idplane server` (`bootstrap.settings_file`); `server-example.toml` beside this module shows and explains every member."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from msgspec.structs import replace

from idplane.bootstrap.custody import CustodySection
from idplane.bootstrap.settings_file import (
    Seconds,
    SettingsProblem,
    Table,
    listening_address,
    private_file,
    public_file,
    read_tables,
)
from idplane.bootstrap.telemetry_settings import HealthSection, LogSection, TracingSection
from idplane.model.profile import PROFILES, Profile
from idplane.sts.sign_in_provider import ProviderSettings
from idplane.web.proxy_header import Proxies

__all__ = [
    "CustodySection",
    "DatabaseSection",
    "PortalSection",
    "ReplicaSection",
    "ServerSection",
    "ServerSettings",
    "ServerTables",
    "TlsSection",
    "example",
    "read_server_settings",
]

_EXAMPLE = "server-example.toml"
_SCHEMES = ("postgresql://", "postgres://")
_SECRET_FILES = {"passfile": "passfile", "key": "sslkey"}
_PUBLIC_FILES = {"root_certificate": "sslrootcert", "certificate": "sslcert"}
"""Members of `[database]` that name a file, and the address's parameters that they become."""

Retention = Annotated[str, msgspec.Meta(pattern=r"^([1-9][0-9]{0,4}d?|forever|profile)$")]


class ServerSection(Table, frozen=True, kw_only=True):
    """`[server]`: where it listens, what the outside calls it, and how it behaves."""

    public_url: str
    data: str
    listen: str = "0.0.0.0:8443"
    names: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    profile: Literal["open", "azure"] = "open"
    keep_activity: Retention | None = None
    keep_sign_ins: Retention | None = None
    private_issuers: tuple[str, ...] = ()


class DatabaseSection(Table, frozen=True, kw_only=True):
    """`[database]`: PostgreSQL, and how it is reached."""

    url: str | None = None
    url_file: str | None = None
    passfile: str | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    root_certificate: str | None = None
    certificate: str | None = None
    key: str | None = None
    connections: Annotated[int, msgspec.Meta(ge=1, le=500)] = 8
    connect_seconds: Seconds = 5.0
    statement_seconds: Seconds = 10.0


class TlsSection(Table, frozen=True, kw_only=True):
    """`[tls]`: a certificate of somebody else's authority, instead of one of the installation's own."""

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None


class ReplicaSection(Table, frozen=True, kw_only=True):
    """`[replica]`: one server among several."""

    staleness_seconds: Annotated[float, msgspec.Meta(ge=2, le=60)] = 5.0
    notice_seconds: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 20.0
    lease_seconds: Annotated[float, msgspec.Meta(ge=3, le=300)] = 15.0
    feed_rows: Annotated[int, msgspec.Meta(ge=10_000)] = 1_000_000


class PortalSection(Table, frozen=True, kw_only=True):
    """`[portal]`: an issuer that people sign in at, beside the links that an operator makes."""

    issuer: str | None = None
    client_id: str | None = None
    client_secret_file: str | None = None
    claim: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.:/-]{1,128}$")] = "email"


class ServerTables(Table, frozen=True, kw_only=True):
    """The whole file. Whoever adds a section adds it here and to the example."""

    server: ServerSection
    database: DatabaseSection
    custody: CustodySection = CustodySection()
    tls: TlsSection = TlsSection()
    replica: ReplicaSection = ReplicaSection()
    health: HealthSection = HealthSection()
    log: LogSection = LogSection()
    tracing: TracingSection = TracingSection()
    portal: PortalSection = PortalSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A settings file that holds together. Paths in its tables are as written: `path` makes them absolute."""

    file: Path
    tables: ServerTables

    @property
    def profile(self) -> Profile:
        """The profile that `[server]` names."""
        return PROFILES[self.tables.server.profile]

    @property
    def data(self) -> Path:
        """The folder of this server's own."""
        return self.path(self.tables.server.data)

    @property
    def listen(self) -> tuple[str, int]:
        """Address and port to listen on."""
        return listening_address(self.file, "server.listen", self.tables.server.listen)

    @property
    def proxies(self) -> Proxies:
        """The balancers whose connections begin with a PROXY header. Raises `SettingsProblem`."""
        try:
            return Proxies.parse(self.tables.server.proxies)
        except ValueError as error:
            raise SettingsProblem(f"{self.file}: server.proxies must be networks like 10.0.0.0/8: {error}") from error

    def path(self, text: str) -> Path:
        """A path of the file: relative ones are relative to the folder that the file is in."""
        return (self.file.parent / Path(text).expanduser()).absolute()

    def secret(self, member: str, text: str) -> bytes:
        """The content of a file that holds a secret; raises `SettingsProblem`, also when everybody may read it."""
        return private_file(self.file, member, self.path(text))

    def provider(self) -> ProviderSettings | None:
        """The issuer that people sign in to the portal at. Raises `SettingsProblem`."""
        table = self.tables.portal
        if table.issuer is None or table.client_id is None or table.client_secret_file is None:
            return None
        secret = self.secret("portal.client_secret_file", table.client_secret_file).decode("utf-8", "replace").strip()
        return ProviderSettings(issuer=table.issuer, client_id=table.client_id, client_secret=secret, claim=table.claim)

    def database_url(self) -> str:
        """The database's address with all that the settings say of it: secret, where a file says so. Raises `SettingsProblem`."""
        table = self.tables.database
        url = table.url
        if table.url_file is not None:
            url = self.secret("database.url_file", table.url_file).decode("utf-8", "replace").strip()
        if url is None or not url.startswith(_SCHEMES):
            raise SettingsProblem(f"{self.file}: the database's address must start with postgresql://")
        more: dict[str, str] = {} if table.sslmode is None else {"sslmode": table.sslmode}
        for member, parameter in _SECRET_FILES.items():
            if (named := getattr(table, member)) is not None:
                self.secret(f"database.{member}", named)
                more[parameter] = str(self.path(named))
        for member, parameter in _PUBLIC_FILES.items():
            if (named := getattr(table, member)) is not None:
                public_file(self.file, f"database.{member}", self.path(named))
                more[parameter] = str(self.path(named))
        return _with_parameters(url, more)


def example() -> str:
    """A settings file that shows and explains every member."""
    return (files("idplane.bootstrap") / _EXAMPLE).read_text(encoding="utf-8")


def read_server_settings(path: Path, *, database: str | None = None) -> ServerSettings:
    """The settings in a file; `database` replaces the address in it. Raises `SettingsProblem`."""
    path = path.expanduser().absolute()
    tables = read_tables(path, ServerTables)
    if database is not None:
        tables = replace(tables, database=replace(tables.database, url=database, url_file=None))
    settings = ServerSettings(file=path, tables=tables)
    _check(settings)
    return settings


def _check(settings: ServerSettings) -> None:
    server, database, tls = settings.tables.server, settings.tables.database, settings.tables.tls
    _base_url(settings.file, server.public_url)
    _ = settings.listen, settings.proxies
    if (database.url is None) == (database.url_file is None):
        raise SettingsProblem(f"{settings.file}: [database] needs one of 'url' and 'url_file'")
    if database.url is not None and _has_password(database.url):
        raise SettingsProblem(
            f"{settings.file}: the database's address holds a password: put it into a file, and name that with 'passfile' or 'url_file'"
        )
    if len({one is None for one in (tls.certificate, tls.key, tls.authority)}) > 1:
        raise SettingsProblem(f"{settings.file}: [tls] needs 'certificate', 'key' and 'authority', or none of them")
    _check_portal(settings)
    if not server.data.strip():
        raise SettingsProblem(f"{settings.file}: [server] 'data' is empty")


def _check_portal(settings: ServerSettings) -> None:
    table = settings.tables.portal
    if len({one is None for one in (table.issuer, table.client_id, table.client_secret_file)}) > 1:
        raise SettingsProblem(
            f"{settings.file}: [portal] needs 'issuer', 'client_id' and 'client_secret_file', or none of them"
        )
    named = table.issuer is None or table.issuer in settings.tables.server.private_issuers
    if not named and not (table.issuer or "").startswith("https://"):
        raise SettingsProblem(f"{settings.file}: portal.issuer must be https, or one of server.private_issuers")


def _base_url(file: Path, text: str) -> None:
    parts = urlsplit(text)
    try:
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise SettingsProblem(f"{file}: server.public_url must be like https://id.example.com or https://id.example.com:8443")


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or any(name == "password" for name, _ in parse_qsl(parts.query))


def _with_parameters(url: str, more: dict[str, str]) -> str:
    base, _, query = url.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in more]
    together = urlencode([*kept, *more.items()], quote_via=quote)
    return f"{base}?{together}" if together else base
