import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.sts.scopes import declared_capabilities, resource_of_scope


@pytest.mark.parametrize(
    ("scope", "resource"),
    [
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("https://management.azure.com//.default", "https://management.azure.com/"),
        ("https://vault.azure.net/.DEFAULT", "https://vault.azure.net"),
        ("797f4846-ba00-4fd7-ba43-dac1f8f63013/.default", "797f4846-ba00-4fd7-ba43-dac1f8f63013"),
        ("api://orders/v2/.default", "api://orders/v2"),
        (".default", "https://graph.microsoft.com"),
        (" https://vault.azure.net/.default ", "https://vault.azure.net"),
        ("https://vault.azure.net/.default openid offline_access profile", "https://vault.azure.net"),  # as MSAL for Go asks
        ("openid profile offline_access https://vault.azure.net/.default", "https://vault.azure.net"),
    ],
)
def test_scope_to_resource(scope: str, resource: str) -> None:
    assert resource_of_scope(scope) == resource


@pytest.mark.parametrize(
    "scope",
    [
        "",
        " ",
        "https://vault.azure.net",
        "/.default",
        "User.Read",
        "a/.default b/.default",
        "openid",
        "openid a/.default b/.default",
        "Openid a/.default",
        "a/.defaults",
    ],
)
def test_scopes_of_another_form(scope: str) -> None:
    with pytest.raises(Failure) as raised:
        resource_of_scope(scope)
    assert raised.value.kind is FailureKind.SCOPE_INVALID


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), min_size=1))
def test_exactly_one_slash_goes(resource: str) -> None:
    if resource.strip("/"):
        assert resource_of_scope(f"{resource}/.default") == resource


@pytest.mark.parametrize(
    ("claims", "capabilities"),
    [
        (None, ()),
        ("{}", ()),
        ('{"access_token":{"xms_cc":{"values":["CP1"]}}}', ("CP1",)),
        ('{"access_token":{"xms_cc":{"values":["cp1"]},"nbf":{"essential":true,"value":"1"}},"id_token":{}}', ("cp1",)),
        ('{"access_token":{"xms_cc":{"values":"CP1"}}}', ()),
        ('{"access_token":{"xms_cc":{"values":[1,"","CP1",null]}}}', ("CP1",)),
        ('{"access_token":[]}', ()),
        (json.dumps({"access_token": {"xms_cc": {"values": ["x" * 33, *("y" * 20)]}}}), ("y",) * 7),
    ],
)
def test_capabilities(claims: str | None, capabilities: tuple[str, ...]) -> None:
    assert declared_capabilities(claims) == capabilities


@given(st.text())
def test_any_claims_are_read_or_refused(claims: str) -> None:
    with suppress(Failure):
        assert all(declared_capabilities(claims))
