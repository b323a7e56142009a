"""This host's TPM 2.0, by the programs of tpm2-tools: `tpm` or `tpm:DEVICE` (`/dev/tpmrm0`, or a TCTI such as `swtpm:port=2321`).

An endorsement key is derived anew from the chip's own seed each time, and is the same each time; an attestation key is made for one
attempt. Nothing is stored in the chip, and what the programs write goes into a folder that is gone afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from idplane.agent.attestors import Attestor, Challenge
from idplane.model.enrollments import JoinMethod, join_statement
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["attestor"]

_SECONDS: Final = 60.0
_REGISTERS: Final = 24
_DIGEST: Final = 32
_BANK: Final = f"sha256:{','.join(map(str, range(_REGISTERS)))}"
_CREDENTIAL_FILE: Final = struct.pack(">II", 0xBADCC0DE, 1)
"""What tpm2-tools begin the file of a credential with: a mark and a version."""
_SIMULATORS: Final = ("swtpm", "mssim")
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class _Tpm:
    tcti: str | None
    method: str = JoinMethod.TPM.value
    _folder: Path | None = field(default=None)

    async def challenge_body(self) -> JsonObject:
        """The endorsement key, its certificate where the chip has one, and an attestation key made now."""
        self._forget()
        folder = self._folder = Path(tempfile.mkdtemp(prefix="idplane-tpm-"))
        try:
            await self._run("createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
            await self._run(
                *("createak", "-C", "ek.ctx", "-c", "ak.ctx", "-u", "ak.pub", "-n", "ak.name"),
                *("-G", "ecc", "-g", "sha256", "-s", "ecdsa"),
            )
            await self._certificate()
        except BaseException:
            self._forget()
            raise
        return self._keys(folder)

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The secret that only this TPM can read, and its quote over the challenge."""
        folder = self._folder
        if folder is None or challenge.credential_blob is None or challenge.secret is None:
            raise Failure(FailureKind.UNAVAILABLE, "the server's challenge is not one for a TPM")
        try:
            (folder / "credential").write_bytes(_CREDENTIAL_FILE + challenge.credential_blob + challenge.secret)
            await self._run("startauthsession", "--policy-session", "-S", "session.ctx")
            await self._run("policysecret", "-S", "session.ctx", "-c", "e")
            await self._run(
                *("activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-i", "credential", "-o", "secret"),
                *("-P", "session:session.ctx"),
            )
            await self._tool("flushcontext", "session.ctx")
            statement = join_statement(JoinMethod.TPM, challenge.nonce, challenge.csr)
            await self._run(
                *("quote", "-c", "ak.ctx", "-l", _BANK, "-q", hashlib.sha256(statement).hexdigest()),
                *("-m", "quoted", "-s", "signature", "-g", "sha256", "-o", "registers", "-F", "values"),
            )
            registers = (folder / "registers").read_bytes()
            files = {name: _text(folder / name) for name in ("quoted", "signature")}
            values = {str(at): registers[at * _DIGEST : (at + 1) * _DIGEST].hex() for at in range(_REGISTERS)}
            return {**self._keys(folder), **files, "credential": _text(folder / "secret"), "pcrValues": values}
        except OSError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"the TPM's answers can't be read: {error.strerror}") from error
        finally:
            self._forget()

    def _keys(self, folder: Path) -> JsonObject:
        files: Mapping[str, str] = {"ekPublic": "ek.pub", "akPublic": "ak.pub", "ekCertificate": "ek.crt"}
        return {member: _text(folder / name) for member, name in files.items() if (folder / name).exists()}

    async def _certificate(self) -> None:
        """The maker's certificate of the endorsement key from the chip's own memory; many chips have none there."""
        try:
            await self._run("nvread", "0x1c00002", "-o", "ek.crt")
        except Failure:
            (self._folder or Path()).joinpath("ek.crt").unlink(missing_ok=True)

    async def _run(self, command: str, *arguments: str) -> None:
        """One step. A simulator has no resource manager, as Linux has, that takes what the step left in the TPM's few places."""
        await self._tool(command, *arguments)
        if self.tcti is not None and self.tcti.startswith(_SIMULATORS):
            await self._tool("flushcontext", "-t")

    async def _tool(self, command: str, *arguments: str) -> None:
        """One program of tpm2-tools in the folder; raises `Failure(UNAVAILABLE)` when it is not there, fails, or takes too long."""
        program = f"tpm2_{command}"
        environment = {"PATH": _PATH, **({"TPM2TOOLS_TCTI": self.tcti} if self.tcti else {})}
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                cwd=self._folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{program} can't be run; is tpm2-tools installed?") from error
        try:
            async with asyncio.timeout(_SECONDS):
                _, said = await process.communicate()
        except TimeoutError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{program} did not end within {_SECONDS:.0f} seconds") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = said.decode("utf-8", "replace").strip().partition("\n")[0][:200]
            raise Failure(FailureKind.UNAVAILABLE, f"{program} failed: {words}")

    def _forget(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def attestor(argument: str) -> Attestor:
    """`tpm`, `tpm:DEVICE` or `tpm:TCTI`."""
    if argument.startswith("/"):
        return _Tpm(f"device:{argument}")
    return _Tpm(argument or None)
