"""Style, script and icons: read once, compressed once, and named by their content, so that a browser asks for each version once."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["PREFIX", "Assets"]

PREFIX: Final = "/portal/static/"
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    compressed: bytes
    media_type: str


class Assets:
    """What lies in the folder `static`."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._assets: dict[str, _Asset] = {}
        for file in (files("idplane.web.portal") / "static").iterdir():
            stem, _, extension = file.name.rpartition(".")
            if extension in _TYPES:
                self._add(stem, extension, file.read_bytes())

    def _add(self, stem: str, extension: str, body: bytes) -> None:
        named = f"{stem}-{hashlib.sha256(body).hexdigest()[:12]}.{extension}"
        self._urls[f"{stem}.{extension}"] = PREFIX + named
        self._assets[PREFIX + named] = _Asset(body, gzip.compress(body, mtime=0), _TYPES[extension])

    def url(self, name: str) -> str:
        """Where a file is."""
        return self._urls[name]

    def serve(self, request: HttpRequest) -> HttpResponse:
        """The file of that address; raises `Failure(PATH_NOT_FOUND | METHOD_NOT_ALLOWED)`."""
        asset = self._assets.get(request.path)
        if asset is None:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such file")
        if request.method not in ("GET", "HEAD"):
            raise Failure(FailureKind.METHOD_NOT_ALLOWED, "files are read only", method=request.method[:20], allowed="GET")
        packed = "gzip" in (request.header("accept-encoding") or "").lower()
        headers = (("Cache-Control", _FOREVER), ("Vary", "Accept-Encoding"))
        return HttpResponse(
            status=200,
            body=b"" if request.method == "HEAD" else asset.compressed if packed else asset.body,
            headers=(*headers, ("Content-Encoding", "gzip")) if packed else headers,
            media_type=asset.media_type,
        )
