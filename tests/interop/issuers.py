"""Issuers of federated tokens for tests: one whose tokens can have any shape, and oidc-provider, which nobody here wrote."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.needed import missing

EXCHANGE = "api://AzureADTokenExchange"
_SOURCES = Path(__file__).parent / "oidc-provider"


class LocalIssuer:
    """An issuer on this machine; PyJWT signs its tokens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._key = rsa.generate_private_key(65537, 2048)

    def documents(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]},
        }

    def token(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"iss": self.url, **claims}, self._key, algorithm="RS256", headers={"kid": "one"})


@contextlib.contextmanager
def local_issuer() -> Iterator[LocalIssuer]:
    documents: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        issuer = LocalIssuer(f"http://127.0.0.1:{server.server_port}")
        documents.update(issuer.documents())
        yield issuer
        server.shutdown()
        thread.join()


class OidcProvider:
    """A running oidc-provider, with one client for each algorithm."""

    def __init__(self, url: str) -> None:
        self.url = url

    def token(self, algorithm: str, resource: str = EXCHANGE) -> str:
        form = {"grant_type": "client_credentials", "resource": resource, "scope": "exchange"}
        request = urllib.request.Request(f"{self.url}/token", urllib.parse.urlencode(form).encode())
        basic = base64.b64encode(f"job-{algorithm}:a-secret-of-the-test".encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["access_token"])


@contextlib.contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    folder = _installed()
    process = subprocess.Popen(
        ["node", "issuer.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        yield OidcProvider(json.loads(process.stdout.readline())["issuer"])
        assert process.stdin is not None
        process.stdin.close()


def _installed() -> Path:
    """The issuer with what its lock file pins, installed once for each lock file, outside the source tree."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("npm is not installed")
    sources = sorted(_SOURCES.glob("*.*"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idplane-tests"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"oidc-provider-{digest}"
    with (base / "oidc-provider.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=base) as made:
                for source in sources:
                    shutil.copy(source, made)
                command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
                subprocess.run(command, cwd=made, check=True, capture_output=True, timeout=300)
                shutil.copytree(made, folder, symlinks=True)
    return folder
