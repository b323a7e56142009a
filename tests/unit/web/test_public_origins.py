import pytest

from idplane.web.origins import Origins

_NAMES = ("id-1.example.com:8443", "10.0.0.5", "[2001:db8::1]:9443", "2001:db8::2")
_ORIGINS = Origins.public("https://ID.example.com", names=_NAMES, port=8443)


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("id.example.com", "https://id.example.com"),
        ("ID.example.com:443", "https://id.example.com"),
        ("id-1.example.com:8443", "https://id-1.example.com:8443"),
        ("10.0.0.5", "https://10.0.0.5"),
        ("[2001:db8::1]:9443", "https://[2001:db8::1]:9443"),
        ("[2001:db8::2]", "https://[2001:db8::2]"),
        ("localhost:8443", "https://localhost:8443"),
        ("127.0.0.1:8443", "https://127.0.0.1:8443"),
    ],
)
def test_a_host_that_is_named_is_served_under_its_name(host: str, authority: str) -> None:
    origin = _ORIGINS.match(host)
    assert origin is not None
    assert origin.authority == origin.management == origin.graph == authority


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "example.com",
        "id.example.com:8443",
        "id-1.example.com",
        "evil.example",
        "id.example.com.evil.example",
        "10.0.0.6",
        "localhost",
        "localhost:9443",
        "vault.id.example.com",
        "a.b.vault.id.example.com",
        "shop.vault.id.example.com:8443",
        "shop.vault.10.0.0.5",
    ],
)
def test_any_other_host_is_refused(host: str | None) -> None:
    assert _ORIGINS.match(host) is None


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("shop.vault.id.example.com", "vault.id.example.com"),
        ("shop.vault.id-1.example.com:8443", "vault.id-1.example.com:8443"),
        ("shop.vault.localhost:8443", "vault.localhost:8443"),
    ],
)
def test_vaults_are_below_each_host_name(host: str, domain: str) -> None:
    origin = _ORIGINS.match(host)
    assert origin is not None
    assert (origin.vault, origin.vault_domain) == ("shop", domain)


def test_an_address_s_vaults_are_the_public_name_s() -> None:
    origin = _ORIGINS.match("10.0.0.5")
    assert origin is not None
    assert origin.vault_domain == "vault.id.example.com"


def test_of_an_installation_without_a_name_the_vaults_are_the_machine_s_own() -> None:
    origin = Origins.public("https://10.0.0.5:8443", port=8443).match("10.0.0.5:8443")
    assert origin is not None
    assert origin.vault_domain == "vault.localhost:8443"


def test_the_certificate_is_for_every_host_and_its_vaults() -> None:
    assert set(_ORIGINS.tls_names) == {
        "localhost",
        "127.0.0.1",
        "::1",
        "id.example.com",
        "id-1.example.com",
        "10.0.0.5",
        "2001:db8::1",
        "2001:db8::2",
        "*.vault.localhost",
        "*.vault.id.example.com",
        "*.vault.id-1.example.com",
    }
