"""A token for tests: SoftHSM, with its files in a folder of the test's own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from idplane.bootstrap.settings import environment
from idplane.store.custody_pkcs11 import TokenPlace

__all__ = ["MODULE", "SoftHsm", "soft_hsm"]

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
_PIN: Final = "246813"
_TOKEN: Final = "idplane-test"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftHsm:
    """A token in a folder. SoftHSM finds it through SOFTHSM2_CONF, which is to be `configuration` in the process that uses it."""

    configuration: Path
    pin_file: Path

    def place(self, key: str) -> TokenPlace:
        """Where a key of this label is."""
        return TokenPlace(module=MODULE, token=_TOKEN, key=key, pin_file=self.pin_file)

    def make_key(self, label: str) -> None:
        """An AES key that does not leave the token, as an operator makes one; made in a process of its own."""
        options = ["--login", "--pin", _PIN, "--keygen", "--key-type", "AES:32", "--label", label, "--sensitive"]
        self._run("pkcs11-tool", "--module", str(MODULE), "--token-label", _TOKEN, *options)

    def initialize(self) -> None:
        """Make the token."""
        self._run("softhsm2-util", "--init-token", "--free", "--label", _TOKEN, "--pin", _PIN, "--so-pin", "97531864")

    def _run(self, *command: str) -> None:
        variables = {**environment(), "SOFTHSM2_CONF": str(self.configuration)}
        subprocess.run(command, env=variables, check=True, capture_output=True)  # noqa: S603 - fixed programs


def soft_hsm(folder: Path) -> SoftHsm:
    """A new token; its folder and PIN file are private."""
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700)
    configuration, pin_file = folder / "softhsm2.conf", folder / "pin"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    pin_file.touch(mode=0o600)
    pin_file.write_text(f"{_PIN}\n")
    made = SoftHsm(configuration=configuration, pin_file=pin_file)
    made.initialize()
    return made
