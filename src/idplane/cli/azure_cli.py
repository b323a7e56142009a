"""The Azure CLI's own state for one plane: a configuration folder inside the data folder, and the variables that make `az` use it.

What must be there (control-plane.md section 2): the plane registered as a cloud, and the operator signed in by its certificate, of which
`az` keeps the path. Both are made by `az` itself, since the formats of its files are nobody else's business; what was made from what is
told by a stamp beside them. Nothing here reads or writes outside the data folder.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from idplane.bootstrap.operator import OPERATOR_FILE
from idplane.cli.description import PlaneDescription
from idplane.cli.output import CommandError

__all__ = ["CLOUD", "AzureCliHome"]

CLOUD: Final = "idplane"
"""What the plane is called among the clouds of `az`."""
_FOLDER: Final = "azure-cli"
_STAMP: Final = "idplane.json"
_PROFILE: Final = "azureProfile.json"
_CREDENTIALS: Final = "service_principal_entries.json"
_CLOUDS: Final = "clouds.config"
_SETTINGS: Final = {
    "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    "AZURE_CORE_COLLECT_TELEMETRY": "false",
    "AZURE_CORE_SURVEY_MESSAGE": "false",
    "AZURE_CORE_DISPLAY_REGION_IDENTIFIED": "false",
}
"""Instance discovery would ask login.microsoftonline.com whether to trust the plane; the others tell Microsoft, ask it, or praise its regions."""
_TRUST: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""For nearly everything, and for what `az` fetches through urllib."""
_ACTIVE_CLOUD: Final = "AZURE_CLOUD_NAME"
_OTHER_CLOUDS: Final = "ARM_CLOUD_METADATA_URL"
"""Makes `az` read its clouds from elsewhere."""
_LONGEST_WORDS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureCliHome:
    """The state of one plane, and how to bring it up to date."""

    data: Path
    plane: PlaneDescription
    bundle: Path
    """The authorities to trust, PEM: the system's and the plane's."""

    @property
    def folder(self) -> Path:
        """What `az` calls its configuration folder."""
        return self.data / _FOLDER

    @property
    def certificate(self) -> Path:
        """The operator's key and certificate."""
        return self.data / OPERATOR_FILE

    def variables(self) -> dict[str, str]:
        """What `az` needs in its environment, the name of its cloud aside."""
        return {"AZURE_CONFIG_DIR": str(self.folder), **dict.fromkeys(_TRUST, str(self.bundle)), **_SETTINGS}

    def active(self) -> dict[str, str]:
        """What makes `az` use the plane, once it is registered."""
        return {_ACTIVE_CLOUD: CLOUD}

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` for `az` against this plane."""
        kept = {name: value for name, value in base.items() if name != _OTHER_CLOUDS}
        return {**kept, **self.variables(), **self.active()}

    def register(self) -> list[str]:
        """The arguments that make the plane known, or known anew at another address."""
        verb = "update" if self._is_registered() else "register"
        return ["cloud", verb, "--name", CLOUD, "--endpoint-resource-manager", self.plane.arm]

    def sign_in(self) -> list[str]:
        """The arguments that sign the operator in; they name a file and hold no secret."""
        return [
            *("login", "--service-principal", "--username", self.plane.operator_client_id),
            *("--certificate", str(self.certificate), "--tenant", self.plane.tenant_id, "--output", "none"),
        ]

    def prepare(self, az: str, base: Mapping[str, str]) -> None:
        """Do what is missing; at most two starts of `az`, none when nothing has changed. Raises `CommandError`."""
        if self._is_registered_here() and self._is_signed_in():
            return
        with self._alone():
            # Another process may have done it while this one waited.
            if not self._is_registered_here():
                # Before it is registered, `az` complains of the name as its active cloud.
                unregistered = {name: value for name, value in self.environment(base).items() if name != _ACTIVE_CLOUD}
                _call([az, *self.register()], unregistered)
                self._stamp(cloud=self._cloud())
            if not self._is_signed_in():
                _call([az, *self.sign_in()], self.environment(base))
                self._stamp(operator=self._operator())

    def _is_registered_here(self) -> bool:
        return self._stamped().get("cloud") == self._cloud() and self._is_registered()

    def _is_registered(self) -> bool:
        clouds = configparser.RawConfigParser()
        try:
            clouds.read_string((self.folder / _CLOUDS).read_text(encoding="utf-8"))
        except (OSError, ValueError, configparser.Error):
            return False
        return clouds.has_section(CLOUD)

    def _is_signed_in(self) -> bool:
        """Whether anybody is signed in to the plane, and the operator, if that is who it is, with the key of today."""
        users = [_member(one, "user", "name") for one in self._subscriptions() if one.get("environmentName") == CLOUD]
        if not users or self._stamped().get("operator") != self._operator():
            return False
        return self.plane.operator_client_id not in users or self._has_credential()

    def _subscriptions(self) -> list[Mapping[str, object]]:
        # With a byte order mark, as `az` writes it.
        profile = _document(self.folder / _PROFILE)
        found = profile.get("subscriptions") if isinstance(profile, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _has_credential(self) -> bool:
        entries = _document(self.folder / _CREDENTIALS)
        wanted = self.plane.operator_client_id
        return isinstance(entries, list) and any(isinstance(one, dict) and one.get("client_id") == wanted for one in entries)

    def _cloud(self) -> str:
        """What the registration was made from."""
        return f"{self.plane.arm} {self.plane.vault_suffix}"

    def _operator(self) -> str:
        """What the sign-in was made from: the plane, whose authority changes with it, and the operator's certificate."""
        try:
            proof = hashlib.sha256(self.certificate.read_bytes() + Path(self.plane.ca_file).read_bytes()).hexdigest()
        except OSError as error:
            raise CommandError(f"{error.filename} can't be read: {error.strerror}") from error
        return f"{self.plane.tenant_id} {self.plane.operator_client_id} {self.certificate} {proof}"

    def _stamped(self) -> Mapping[str, object]:
        stamp = _document(self.folder / _STAMP)
        return stamp if isinstance(stamp, dict) else {}

    def _stamp(self, **made: str) -> None:
        path = self.folder / _STAMP
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(json.dumps({**self._stamped(), **made}), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, so that commands started together prepare it once."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.folder / "idplane.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CommandError(f"{self.folder} can't be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _call(command: list[str], environment: Mapping[str, str]) -> None:
    """One start of `az` that is none of the user's; raises `CommandError` with its words when it fails."""
    try:
        ended = subprocess.run(  # noqa: S603 - the Azure CLI that the user named or has
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CommandError(f"{command[0]} can't be run: {error.strerror}") from error
    if ended.returncode != 0:
        said = ended.stderr.strip()[-_LONGEST_WORDS:] or f"exit code {ended.returncode}"
        raise CommandError(f"'az {command[1]}' failed while it was being set up for the plane: {said}")


def _document(path: Path) -> object:
    """A JSON file of `az`, or None."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def _member(value: Mapping[str, object], outer: str, inner: str) -> object:
    found = value.get(outer)
    return found.get(inner) if isinstance(found, dict) else None
