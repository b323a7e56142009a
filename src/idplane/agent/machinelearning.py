"""Machine Learning's token endpoint (MIE section 5): the version of 2017 once more, in its own surroundings.

`MSI_ENDPOINT`, `MSI_SECRET` and `DEFAULT_IDENTITY_CLIENT_ID`, which clients of some languages send as `clientid` when they want the
compute's own identity and others do not; both get the same one.
"""

from __future__ import annotations

from collections.abc import Mapping

from idplane.agent import machinelearning_errors
from idplane.agent.appservice import SecretEndpoint
from idplane.agent.identities import NoSelector, Selector
from idplane.agent.query import client_id_only
from idplane.agent.replies import Reply
from idplane.model.failure import Failure

__all__ = ["MachineLearningEndpoint"]


class MachineLearningEndpoint(SecretEndpoint):
    """The dialect at one listener."""

    _SECRET_HEADER = b"secret"
    _SECRET_TEXT = "secret"
    _VERSIONS = ("2017-09-01",)
    _NO_SELECTOR = NoSelector.SYSTEM_OR_ONLY

    def _selector(self, parameters: Mapping[str, str]) -> Selector | None:
        return client_id_only(parameters)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return machinelearning_errors.render(failure, request_id, self._clock.now())
