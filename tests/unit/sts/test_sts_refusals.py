import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.sts.refusals import refusal_of, sentence

_WORDS = {
    "invalid_request",
    "invalid_client",
    "invalid_scope",
    "invalid_resource",
    "invalid_instance",
    "unauthorized_client",
    "unsupported_grant_type",
    "server_error",
    "temporarily_unavailable",
    "invalid_grant",
    "authorization_pending",
    "slow_down",
    "bad_verification_code",
    "authorization_declined",
    "expired_token",
}


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_has_a_row(kind: FailureKind) -> None:
    row = refusal_of(kind)
    assert row.code >= 50000
    assert row.error in _WORDS


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_kind_reads_as_a_sentence(kind: FailureKind) -> None:
    for failure in (Failure(kind), Failure(kind, "something is wrong")):
        text = sentence(failure)
        assert text.endswith(".")
        assert text[0].isupper()


@given(st.text(), st.sampled_from(FailureKind))
def test_facts_from_the_caller_are_never_templates(text: str, kind: FailureKind) -> None:
    failure = Failure(kind, text, tenant=text, client_id=text, resource=text, scope=text, grant_type=text, parameter=text)
    assert sentence(failure)


def test_numbers_that_clients_look_for() -> None:
    assert {kind: refusal_of(kind).code for kind in _NUMBERS} == _NUMBERS


_NUMBERS = {
    FailureKind.TENANT_NOT_FOUND: 90002,
    FailureKind.MISSING_PARAMETER: 900144,
    FailureKind.METHOD_NOT_ALLOWED: 900561,
    FailureKind.GRANT_UNSUPPORTED: 70003,
    FailureKind.SCOPE_INVALID: 70011,
    FailureKind.AUDIENCE_UNKNOWN: 500011,
    FailureKind.CLIENT_UNKNOWN: 700016,
    FailureKind.CLIENT_CREDENTIAL_MISSING: 7000218,
    FailureKind.CLIENT_SECRET_INVALID: 7000215,
    FailureKind.CLIENT_SECRET_EXPIRED: 7000222,
    FailureKind.ASSERTION_INVALID: 700027,
    FailureKind.ASSERTION_TIME: 700024,
    FailureKind.INSTANCE_UNKNOWN: 50049,
    FailureKind.DEVICE_CODE_PENDING: 70016,
    FailureKind.DEVICE_CODE_EXPIRED: 70020,
    FailureKind.USER_DISABLED: 50057,
    FailureKind.REFRESH_TOKEN_EXPIRED: 700082,
}
