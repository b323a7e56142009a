"""What a workload finds around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.cli.launch import (
    OTHER_TOKEN_SOURCES,
    hosts_file,
    name_service_switch,
    resolver_file,
    without_locale_coercion,
    workload_environment,
)
from idplane.cli.trust import BUNDLE_VARIABLES, bundle_variables, bundle_with

TRUST = bundle_variables("/b.pem")
PROXIES = {"HTTP_PROXY": "http://p", "https_proxy": "http://p", "ALL_PROXY": "http://p"}
VARIABLES = st.dictionaries(
    st.sampled_from(["PATH", "HOME", "AZURE_CLIENT_ID", "PROXY", "identity_endpoint", ""]), st.text(max_size=10), max_size=8
)


def inside(base: dict[str, str], *, network: bool = False) -> dict[str, str]:
    return workload_environment(base, given={}, trust=TRUST, inside=True, network=network)


@given(VARIABLES)
def test_what_leads_nowhere_else_stays(base: dict[str, str]) -> None:
    assert inside(base) == {**base, **dict.fromkeys(BUNDLE_VARIABLES, "/b.pem")}


@pytest.mark.parametrize("name", [*OTHER_TOKEN_SOURCES, "AZURE_AUTHORITY_HOST", *PROXIES])
def test_what_leads_elsewhere_goes(name: str) -> None:
    assert name not in inside({name: "x"})


@pytest.mark.parametrize("name", ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_TOKEN_CREDENTIALS"])
def test_what_the_caller_means_for_the_workload_stays(name: str) -> None:
    assert inside({name: "x"})[name] == "x"


def test_proxies_stay_with_a_network_but_not_for_what_is_served_here() -> None:
    made = inside({**PROXIES, "NO_PROXY": "corp"}, network=True)
    assert {name: made[name] for name in PROXIES} == PROXIES
    assert made["NO_PROXY"].startswith("corp,localhost,127.0.0.1,169.254.169.254,")
    assert made["no_proxy"].endswith(".vault.azure.net,.oic.prod-aks.azure.com,.oic.prod-arc.azure.com,.localhost")


def test_outside_a_namespace_only_token_sources_change() -> None:
    base = {**PROXIES, "AZURE_AUTHORITY_HOST": "https://localhost:8443", "MSI_ENDPOINT": "x"}
    made = workload_environment(base, given={"IDENTITY_HEADER": "s"}, trust=TRUST, inside=False, network=True)
    assert "MSI_ENDPOINT" not in made
    assert made["AZURE_AUTHORITY_HOST"] == "https://localhost:8443"
    assert (made["NO_PROXY"], made["IDENTITY_HEADER"]) == ("localhost,127.0.0.1", "s")


@pytest.mark.parametrize(
    ("initial", "kept"), [(b"A=1\0LC_CTYPE=C.UTF-8\0", True), (b"A=1\0", False), (b"", False), (b"XLC_CTYPE=1\0", False)]
)
def test_locale_coercion_is_undone_only_where_it_happened(initial: bytes, kept: bool) -> None:  # noqa: FBT001 - a column of the table
    assert ("LC_CTYPE" in without_locale_coercion({"LC_CTYPE": "C.UTF-8", "A": "1"}, initial)) is kept


def test_a_tunnel_is_used_for_names_but_not_for_the_token_endpoint() -> None:
    """@azure/identity sends plain http by HTTPS_PROXY, too."""
    given = {"HTTPS_PROXY": "http://run:s@127.0.0.1:1", "https_proxy": "http://run:s@127.0.0.1:1", "IDENTITY_HEADER": "s"}
    made = workload_environment({"NO_PROXY": "corp"}, given=given, trust=TRUST, inside=False, network=True)
    assert (made["NO_PROXY"], made["no_proxy"]) == ("corp,127.0.0.1", "127.0.0.1")
    assert made["HTTPS_PROXY"] == given["HTTPS_PROXY"]


def test_the_callers_own_proxy_wins_over_the_tunnel() -> None:
    given = {"HTTPS_PROXY": "http://run:s@127.0.0.1:1", "https_proxy": "http://run:s@127.0.0.1:1"}
    made = workload_environment({"https_proxy": "http://corp:3128"}, given=given, trust=TRUST, inside=False, network=True)
    assert made["https_proxy"] == "http://corp:3128"
    assert "HTTPS_PROXY" not in made


@pytest.mark.parametrize("existing", ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost"])
def test_hosts_keep_what_they_had(existing: str) -> None:
    lines = hosts_file(existing).splitlines()
    assert lines[: len(existing.splitlines())] == existing.splitlines()
    assert lines[-2].startswith("127.0.0.1 ")
    assert "login.microsoftonline.com" in lines[-2].split()
    assert lines[-1] == "169.254.169.254 metadata.azure.internal"


def test_our_name_server_is_asked_first() -> None:
    assert resolver_file(["10.0.2.3"]).splitlines()[:2] == ["nameserver 168.63.129.16", "nameserver 10.0.2.3"]


def test_resolvers_outside_the_namespace_are_not_asked() -> None:
    existing = "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\ngroup: files\n"
    assert name_service_switch(existing) == "passwd: files\ngroup: files\nhosts: files dns\n"


@pytest.mark.parametrize(("existing", "joined"), [(b"", b"ca\n"), (b"a\n", b"a\nca\n"), (b"a", b"a\nca\n")])
def test_bundles_join_on_line_ends(existing: bytes, joined: bytes) -> None:
    assert bundle_with(existing, b"ca\n") == joined
