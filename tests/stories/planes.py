"""A plane as a user starts it: the `idplane up` process, and the operator's calls to it over HTTPS."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy

IDPLANE = (str(Path(sys.executable).with_name("idplane")),)


class Up:
    """A running `idplane up`."""

    program: tuple[str, ...] = IDPLANE
    environment: Mapping[str, str] | None = None

    def __init__(
        self, data: Path, *options: str, program: tuple[str, ...] = IDPLANE, environment: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.program, self.environment = program, environment
        self.process = subprocess.Popen(
            [*program, "up", "--data", str(data), "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"idplane up ended with {self.process.wait()}"
        self.info: Mapping[str, Any] = json.loads(line)
        self._tls = ssl.create_default_context(cafile=self.info["ca_file"])
        self._operator = OperatorKey.from_pem((data / OPERATOR_FILE).read_bytes())

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(urlsplit(self.info["arm"]).netloc, context=self._tls, timeout=30)

    def token_form(self, resource: str) -> dict[str, str]:
        return self._operator.token_request(
            client_id=self.info["operator_client_id"],
            token_endpoint=f"{self.info['authority']}/{self.info['tenant_id']}/oauth2/v2.0/token",
            resource=resource,
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )

    def operator_token(self, resource: str, connection: http.client.HTTPSConnection | None = None) -> str:
        with ExitStack() as stack:
            status, body = send(
                connection or stack.enter_context(closing(self.connect())),
                "POST",
                f"/{self.info['tenant_id']}/oauth2/v2.0/token",
                urlencode(self.token_form(resource)),
                {"content-type": "application/x-www-form-urlencoded"},
            )
        assert status == 200, body
        token: str = body["access_token"]
        return token

    def arm(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        token = token or self.operator_token("https://management.azure.com")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        with closing(self.connect()) as connection:
            return send(connection, method, path, None if body is None else json.dumps(body), headers)

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run an `idplane` command against this plane."""
        command, *rest = arguments
        return subprocess.run(
            [*self.program, command, "--data", str(self.data), *rest],
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
            **{"env": self.environment, **options},
        )

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def send(
    connection: http.client.HTTPSConnection, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> tuple[int, Any]:
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content else None
