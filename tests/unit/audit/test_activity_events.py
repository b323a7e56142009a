"""Events say who did what, how it ended and why it was allowed; never with what token."""

from dataclasses import replace
from datetime import UTC, datetime

from idplane.audit.activity import activity_event
from idplane.model.calls import Call, Caller
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.ids import ResourceId
from idplane.model.roles import Decision, Reason

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_CALLER = Caller(
    tenant_id="t",
    principal_id="p",
    client_id="c",
    display_name="deployer",
    token_id="u",
    claims={"oid": "p", "iat": 5, "xms_mirid": "/x", "signature": "secret", "groups": ["g"]},
)


def _event(caller: Caller = _CALLER, *, status: int = 201, code: str | None = None, goes_on: bool = False) -> ActivityEvent:
    return activity_event(
        event_id="e",
        at=_NOW,
        call=Call(request_id="r", correlation_id="k", received_at=_NOW, client_address="::1", method="PUT", url="/u"),
        caller=caller,
        resource_id=ResourceId.parse("/subscriptions/ABC/resourceGroups/g"),
        operation="A.b/c/write",
        decision=Decision(allowed=True, reason=Reason.GRANTED, because="assignment"),
        http_status=status,
        failure_code=code,
        details={"requestbody": "{}"},
        goes_on=goes_on,
    )


def test_success() -> None:
    event = _event()
    assert (event.status, event.sub_status, event.http_status) == (EventStatus.SUCCEEDED, "Created", 201)
    assert (event.caller, event.caller_name, event.caller_id) == ("p", "deployer", "p")
    assert (event.tenant_id, event.subscription_id, event.started_at) == ("t", "abc", _NOW)
    assert event.properties["requestbody"] == "{}"
    assert (event.operation_id, event.correlation_id, event.because, event.client_address) == ("r", "k", "assignment", "::1")
    assert event.resource_id == "/subscriptions/ABC/resourceGroups/g"


def test_failure_names_its_code() -> None:
    event = _event(status=403, code="AuthorizationFailed")
    assert (event.status, event.sub_status, event.properties["statusCode"]) == (
        EventStatus.FAILED,
        "AuthorizationFailed",
        "Forbidden",
    )
    assert _event(status=299).sub_status == "299"


def test_only_known_claims_are_shown() -> None:
    assert _event().claims == {"oid": "p", "iat": "5", "xms_mirid": "/x"}


def test_a_user_is_shown_by_its_principal_name_and_nothing_else_is() -> None:
    claims = {"upn": "ada@example.com", "oid": "p"}
    assert _event(replace(_CALLER, claims=claims)).caller == "ada@example.com"
    assert _event(replace(_CALLER, claims={"preferred_username": "ada@example.com"})).caller == "ada@example.com"
    assert _event(replace(_CALLER, claims={**claims, "idtyp": "app"})).caller == "p"
    assert _event(replace(_CALLER, claims={"upn": 7})).caller == "p"


def test_work_that_goes_on_is_accepted_unless_it_was_refused() -> None:
    assert _event(goes_on=True).status is EventStatus.ACCEPTED
    assert _event(status=409, code="Conflict", goes_on=True).status is EventStatus.FAILED
