"""A resource that is shown every token that a workload gets: it checks each by the keys that the installation publishes, as any resource does."""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt

from faults.outcomes import Kind, Outcome, Result
from faults.stage.servers import PUBLIC_NAME

__all__ = ["Verifier"]

_CLIENT: Final = "resource"
_LEEWAY: Final = 300
"""Seconds, as Microsoft's own libraries have it."""
_PATIENCE: Final = 10.0


@dataclass(kw_only=True)
class Verifier:
    """Checks tokens on a thread of its own, in the order in which they come."""

    ca_file: Path
    tenant: str
    note: Callable[[Outcome], None]
    records: dict[str, str] = field(default_factory=dict)
    """Object id, by the unique id (`uti`) of each token: what the sign-in log must hold."""
    _waiting: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _keys: dict[str, Any] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def show(self, token: str) -> None:
        """Have a token checked."""
        self._waiting.put(token)

    def stop(self) -> None:
        """Check what is waiting, and end."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (token := self._waiting.get()) is not None:
            at = time.monotonic()
            result, detail = self._checked(token)
            self.note(
                Outcome(client=_CLIENT, kind=Kind.VERIFY, result=result, at=at, seconds=time.monotonic() - at, detail=detail)
            )

    def _checked(self, token: str) -> tuple[Result, str]:
        try:
            kid = str(jwt.get_unverified_header(token)["kid"])
            if kid not in self._keys:
                self._fetch()
            if kid not in self._keys:
                return Result.WRONG, "signed by a key that is not published"
            claims = jwt.decode(
                token,
                self._keys[kid],
                algorithms=["RS256"],
                leeway=_LEEWAY,
                options={"verify_aud": False, "require": ["exp", "nbf", "iss"]},
            )
        except (OSError, http.client.HTTPException) as error:
            return Result.LOST, f"the published keys: {type(error).__name__}"
        except (jwt.PyJWTError, KeyError, ValueError) as error:
            return Result.WRONG, f"{type(error).__name__}: {error}"
        self.records[str(claims["uti"])] = str(claims["oid"])
        right = f"https://sts.windows.net/{self.tenant}/"
        return (Result.OK, "") if claims["iss"] == right else (Result.WRONG, f"another issuer: {claims['iss']}")

    def _fetch(self) -> None:
        """The published keys, through the balancer. Raises `OSError` and `HTTPException`."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with closing(http.client.HTTPSConnection(PUBLIC_NAME, 443, context=context, timeout=_PATIENCE)) as connection:
            connection.request("GET", f"/{self.tenant}/discovery/v2.0/keys")
            answer = connection.getresponse()
            content = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        self._keys = {one["kid"]: jwt.PyJWK(one).key for one in json.loads(content)["keys"]}
