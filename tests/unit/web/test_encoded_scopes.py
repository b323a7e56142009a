"""A scope that a management client sends as one segment is read as the scope that it is, and nothing else with encoded slashes."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

LOCKS = "providers/Microsoft.Authorization/locks"


def send(plane: LocalPlane, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """A request whose path goes over the wire as it is written."""
    token = plane.operator_token("https://management.azure.com")["access_token"]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    with closing(http.client.HTTPSConnection("127.0.0.1", urlsplit(plane.url).port, context=context)) as connection:
        connection.request(method, f"{path}?api-version=2020-05-01", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_a_scope_in_one_segment(idplane: LocalPlane) -> None:
    group = idplane.resource_group("web")
    body = {"properties": {"level": "CanNotDelete"}}
    for scope in (group.replace("/", "%2F"), group.replace("/", "%2f")):
        status, made = send(idplane, "PUT", f"/{scope}/{LOCKS}/keep", body)
        assert (status // 100, made["id"]) == (2, f"{group}/{LOCKS}/keep")


@pytest.mark.parametrize(
    "path",
    [
        "/subscriptions%2F{sub}/resourceGroups",
        "/subscriptions/{sub}%2FresourceGroups",
        "/%2Fsubscriptions%2F{sub}/resourceGroups%2Fweb",
        "/%2Fsubscriptions%2F{sub}%2F..%2Fother/resourceGroups",
        "/%2Fsubscriptions%2F{sub}%5CresourceGroups/web",
        "/%2Ftenants%2F{sub}/resourceGroups",
        "//%2Fsubscriptions%2F{sub}/resourceGroups",
    ],
)
def test_any_other_encoded_slash_is_refused(idplane: LocalPlane, path: str) -> None:
    assert send(idplane, "GET", path.format(sub=idplane.subscription_id))[0] == 400
