"""App Service's first token endpoint, version 2017-09-01 (MIE section 2), for clients that know nothing newer.

`MSI_ENDPOINT` and `MSI_SECRET`: header `secret`, and `clientid` as the only way to name an identity. `expires_on` is digits, which
today's clients of these variables need, rather than the local date that the real one wrote.
"""

from __future__ import annotations

from collections.abc import Mapping

from idplane.agent import appservice_2017_errors
from idplane.agent.appservice import SecretEndpoint
from idplane.agent.identities import Selector
from idplane.agent.query import client_id_only
from idplane.agent.replies import Reply
from idplane.model.failure import Failure

__all__ = ["AppService2017Endpoint"]


class AppService2017Endpoint(SecretEndpoint):
    """The dialect at one listener."""

    _SECRET_HEADER = b"secret"
    _SECRET_TEXT = "secret"
    _VERSIONS = ("2017-09-01",)

    def _selector(self, parameters: Mapping[str, str]) -> Selector | None:
        return client_id_only(parameters)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return appservice_2017_errors.render(failure, request_id, self._clock.now())
