"""Deployments over azure-mgmt-resource's own pipeline and azure-mgmt-core's poller.

From version 26 on the deployment operations live in a package of their own; pipeline, policies, poller and errors are these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.mgmt.core.exceptions import ARMErrorFormat
from azure.mgmt.core.polling.arm_polling import ARMPolling
from azure.mgmt.resource.resources import ResourceManagementClient
from tests.interop.mgmt import client_of

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from idplane.testing.local import LocalPlane

__all__ = ["DeploymentClient"]

_VERSION = "2025-04-01"


class DeploymentClient:
    """The operations on deployments at one scope."""

    def __init__(self, plane: LocalPlane, scope: str, credential: TokenCredential | None = None) -> None:
        self._client: Any = client_of(ResourceManagementClient, plane, credential)._client
        self._scope = f"{plane.url}{scope}"

    def begin_create_or_update(self, name: str, body: Any) -> LROPoller[Any]:
        return self._begin("PUT", name, body, (200, 201))

    def begin_what_if(self, name: str, body: Any) -> LROPoller[Any]:
        return self._begin("POST", f"{name}/whatIf", body, (200, 202))

    def begin_validate(self, name: str, body: Any) -> LROPoller[Any]:
        return self._begin("POST", f"{name}/validate", body, (200, 202))

    def begin_delete(self, name: str) -> LROPoller[Any]:
        return self._begin("DELETE", name, None, (202, 204))

    def get(self, name: str) -> Any:
        return self._run("GET", name, None, (200,)).http_response.json()

    def cancel(self, name: str) -> None:
        self._run("POST", f"{name}/cancel", None, (204,))

    def check_existence(self, name: str) -> bool:
        return bool(self._run("HEAD", name, None, (204, 404)).http_response.status_code == 204)

    def export_template(self, name: str) -> Any:
        return self._run("POST", f"{name}/exportTemplate", None, (200,)).http_response.json()

    def all(self, **query: Any) -> list[Any]:
        """Every page of the list."""
        return self._pages("", query)

    def operations(self, name: str, **query: Any) -> list[Any]:
        """Every page of a deployment's operations."""
        return self._pages(f"{name}/operations", query)

    def _pages(self, path: str, query: dict[str, Any]) -> list[Any]:
        page = self._run("GET", path, None, (200,), **query).http_response.json()
        items = list(page["value"])
        while page.get("nextLink"):
            page = self._sent(HttpRequest("GET", page["nextLink"]), (200,)).http_response.json()
            items += page["value"]
        return items

    def _begin(self, method: str, path: str, body: Any, expected: tuple[int, ...]) -> LROPoller[Any]:
        first = self._run(method, path, body, expected)
        return LROPoller(self._client, first, _content, ARMPolling(30))

    def _run(self, method: str, path: str, body: Any, expected: tuple[int, ...], **query: Any) -> Any:
        url = f"{self._scope}/providers/Microsoft.Resources/deployments/{path}"
        return self._sent(HttpRequest(method, url, params={"api-version": _VERSION, **query}, json=body), expected)

    def _sent(self, request: HttpRequest, expected: tuple[int, ...]) -> Any:
        response = self._client._pipeline.run(request)
        response.http_response.read()
        if response.http_response.status_code not in expected:
            raise HttpResponseError(response=response.http_response, error_format=ARMErrorFormat)
        return response


def _content(response: Any) -> Any:
    return response.http_response.json() if response.http_response.text() else None
