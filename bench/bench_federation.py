"""Grants that begin with somebody else's signature: a federated token, and a client assertion by a certificate's key.

Beside both is what no implementation can avoid: verifying one RSA-2048 signature and making another, on the core that the plane is
kept on, in interleaved rounds of one run. Every request shows a token that was never shown before, so each is verified; the issuer's
keys are cached. The sign-in log is counted afterwards, to prove that every answer has its durable record.
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from measure import (
    Listening,
    Load,
    Management,
    head,
    logged,
    median,
    percentile,
    pin,
    print_environment,
    raw_rsa,
    running_plane,
)

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.jose import Algorithm, Signer, b64url, new_rsa_key

ROUNDS = 7
CONNECTIONS = 16
REQUESTS = 1_000
WARM = 200
SUBJECT = "repo:octo/app:ref:refs/heads/main"
EXCHANGE = "api://AzureADTokenExchange"
KID = "k1"


class Issuer:
    """An outside issuer with one RS256 key, which publishes it and signs tokens as GitHub does for a workflow."""

    def __init__(self) -> None:
        self._key = new_rsa_key()
        self._signer = Signer(self._key, Algorithm.RS256, {"kid": KID})
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.document(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def document(self, path: str) -> dict[str, Any]:
        """Discovery, or the keys."""
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (b64url(one.to_bytes((one.bit_length() + 7) // 8)) for one in (numbers.n, numbers.e))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID, "n": modulus, "e": exponent}]}

    def token(self) -> str:
        """A token that was never shown before."""
        now = int(SystemClock().now().timestamp())
        claims = {
            "jti": SystemEntropy().guid(),
            "sub": SUBJECT,
            "aud": EXCHANGE,
            "ref": "refs/heads/main",
            "repository": "octo/app",
            "repository_owner": "octo",
            "run_id": "11111111111",
            "workflow": "deploy",
            "actor": "octocat",
            "iss": self.url,
            "nbf": now - 60,
            "exp": now + 600,
            "iat": now,
        }
        return self._signer.sign(claims)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Publish the key."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()


def federated_identity(plane: Management, issuer: Issuer) -> str:
    """A user-assigned identity that trusts the issuer's subject; its client id."""
    identity = f"{plane.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/deployer"
    version = "api-version=2024-11-30"
    created = plane.call("PUT", f"{identity}?{version}", {"location": "westeurope"})
    trust = {"issuer": issuer.url, "subject": SUBJECT, "audiences": [EXCHANGE]}
    plane.call("PUT", f"{identity}/federatedIdentityCredentials/workflow?{version}", {"properties": trust})
    return str(created["properties"]["clientId"])


class Grants:
    """Requests to one plane's token endpoint, each with an assertion of its own."""

    def __init__(self, data: Path, info: dict[str, Any], issuer: Issuer) -> None:
        self._path = f"/{info['tenant_id']}/oauth2/v2.0/token"
        self._info = info
        self._key = OperatorKey.from_pem((data / OPERATOR_FILE).read_bytes())
        self._issuer = issuer
        self._client = federated_identity(Management(data, info), issuer)

    def federated(self) -> bytes:
        """An outside token for the user-assigned identity's."""
        return self._post(
            {
                "grant_type": "client_credentials",
                "client_id": self._client,
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._issuer.token(),
                "scope": "https://vault.azure.net/.default",
            }
        )

    def certificate(self) -> bytes:
        """The operator's, an application whose credential is an RSA certificate."""
        return self._post(
            self._key.token_request(
                client_id=self._info["operator_client_id"],
                token_endpoint=self._info["authority"] + self._path,
                resource="https://vault.azure.net",
                clock=SystemClock(),
                entropy=SystemEntropy(),
            )
        )

    def _post(self, form: dict[str, str]) -> bytes:
        netloc = urlsplit(self._info["authority"]).netloc
        return head("POST", self._path, netloc, urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"})


def measure() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Figures by name: CPU microseconds of each round, and latencies of all."""
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    latency: defaultdict[str, list[float]] = defaultdict(list)
    issuer = Issuer()
    with issuer.serving(), running_plane("--private-issuer", issuer.url) as (data, info, pid), Load() as load:
        grants = Grants(data, info, issuer)
        listening = Listening(pid=pid, address=("localhost", info["port"]), tls=True, ca_file=info["ca_file"])
        send = partial(load.send, listening, connections=CONNECTIONS)
        makers = {"federated": grants.federated, "certificate": grants.certificate}
        pin(pid, 0)
        os.sched_setaffinity(0, {0})
        for make in makers.values():
            send([make() for _ in range(WARM)], WARM)
        before = logged(data)
        for _ in range(ROUNDS):
            for name, make in makers.items():
                served = send([make() for _ in range(REQUESTS)], REQUESTS)
                cpu[name].append(served.cpu)
                latency[name] += served.latencies
            sign, verify = raw_rsa()
            cpu["sign"].append(sign)
            cpu["limit"].append(sign + verify)
        if logged(data) - before != len(makers) * ROUNDS * REQUESTS:
            raise SystemExit("the sign-in log does not hold one record for each token")
    return cpu, latency


def main() -> None:
    print_environment()
    cpu, latency = measure()
    limit = median(cpu["limit"])
    print(f"{'RSA-2048: verify one, sign one':40}{limit:8.1f} us CPU (of it signing {median(cpu['sign']):.1f})")
    for name in ("federated", "certificate"):
        spread = f"(rounds {min(cpu[name]):.1f} to {max(cpu[name]):.1f})"
        times = f"p50 {median(latency[name]):.2f} p99 {percentile(latency[name], 0.99):.2f} ms"
        value = median(cpu[name])
        print(
            f"{name + ' grant → RS256 token over TLS':40}{value:8.1f} us CPU {spread:26}{limit / value:.0%} of the limit   {times}"
        )


if __name__ == "__main__":
    main()
