"""The pytest plugin as its users meet it: whole test runs in processes of their own, and the plane's one-line verbs."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import ServiceRequestError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from idplane.agent.host import Dialect
from idplane.directory.first_party import FIRST_PARTY
from idplane.ports.collections import PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS, SECRETS
from idplane.testing.local import LocalPlane, VirtualMachine

pytest_plugins = "pytester"

ARM = "https://management.azure.com/.default"
_QUIET = ("-q", "-p", "no:cacheprovider")


def who(token: str) -> str:
    payload = token.split(".")[1]
    oid: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"]
    return oid


# Whole runs


def test_runs_that_do_not_ask_for_a_plane_import_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_was_loaded():
            assert not {"idplane.testing.local", "cryptography", "uvicorn", "msgspec"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess(*_QUIET).assert_outcomes(passed=1)


def test_fixtures_describe_themselves(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    shown.stdout.fnmatch_lines(["*idplane_server*", "*idplane --*", "*run_as --*"])


def test_workers_have_planes_of_their_own(pytester: pytest.Pytester) -> None:
    """Tests that would collide on one plane: the same names in each, and a clock that only one of them moves."""
    pytester.makepyfile(
        """
        import datetime, os, pathlib, pytest
        from azure.identity import ManagedIdentityCredential

        @pytest.mark.parametrize("number", range(8))
        def test_the_same_names(idplane, run_as, number):
            machine = idplane.virtual_machine("vm")
            idplane.vault("stock", password=str(number))
            run_as(machine)
            assert ManagedIdentityCredential().get_token("https://management.azure.com/.default")
            if number % 2:
                idplane.advance(datetime.timedelta(days=1))
            seen = [event.resource_id for event in idplane.activity() if event.operation.endswith("virtualMachines/write")]
            assert len(seen) == 1
            worker = os.environ["PYTEST_XDIST_WORKER"]
            pathlib.Path(__file__).with_name(f"{worker}-{number}.txt").write_text(idplane.url + " " + idplane.tenant_id)
        """
    )
    pytester.runpytest_subprocess(*_QUIET, "-n", "2", timeout=120).assert_outcomes(passed=8)
    planes: dict[str, set[str]] = {}
    for file in pytester.path.glob("gw*-*.txt"):
        planes.setdefault(file.name.partition("-")[0], set()).add(file.read_text())
    assert len(planes) == 2
    assert all(len(of_worker) == 1 for of_worker in planes.values())
    assert not set.intersection(*planes.values())


def test_a_test_that_fails_leaves_nothing_behind(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import datetime, os, socket
        from azure.identity import ManagedIdentityCredential

        real = socket.getaddrinfo
        kept = {}

        def test_fails_in_the_middle(idplane, run_as):
            machine = idplane.virtual_machine("vm")
            idplane.grant(machine.identity, "Owner", idplane.resource_group())
            run_as(machine)
            kept["endpoint"] = os.environ["IDENTITY_ENDPOINT"]
            idplane.advance(datetime.timedelta(days=400))
            idplane.call("DELETE", "/subscriptions/nowhere/resourceGroups/x")

        def test_starts_afresh(idplane):
            assert "IDENTITY_ENDPOINT" not in os.environ
            assert abs(idplane.clock.now() - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
            assert idplane.sign_ins() == idplane.activity() == ()
            groups = idplane.call("GET", f"/subscriptions/{idplane.subscription_id}/resourceGroups").body["value"]
            assert groups == []
            port = int(kept["endpoint"].split(":")[2].split("/")[0])
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

        def test_names_are_as_they_were():
            assert socket.getaddrinfo is real
        """
    )
    result = pytester.runpytest_subprocess(*_QUIET)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: DELETE /subscriptions/nowhere/resourceGroups/x?api-version=* was refused with *"]
    )


def test_a_developers_own_identity_is_not_used(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell says, and through a proxy of the shell's that leads nowhere."""
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD", "TOKEN_CREDENTIALS", "AUTHORITY_HOST"):
        monkeypatch.setenv(f"AZURE_{name}", "https://developer.example")
    for name in ("MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"):
        monkeypatch.setenv(name, "developer")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    pytester.makepyfile(
        """
        from azure.identity import DefaultAzureCredential
        from azure.keyvault.secrets import SecretClient

        def test_it_is_the_machines(idplane, run_as):
            machine = idplane.virtual_machine("vm")
            idplane.grant(machine.identity, "Key Vault Secrets User", idplane.vault("stock", password="hunter2"))
            run_as(machine)
            with SecretClient(idplane.vault_url("stock"), DefaultAzureCredential()) as vault:
                assert vault.get_secret("password").value == "hunter2"
        """
    )
    pytester.runpytest_subprocess(*_QUIET, timeout=60).assert_outcomes(passed=1)


# The fixtures in this run


def test_run_as_moves_from_machine_to_machine(
    idplane: LocalPlane, run_as: Callable[[VirtualMachine | str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (idplane.virtual_machine(name) for name in ("one", "two"))
    for machine in (one, two, one):
        assert machine.identity is not None
        run_as(machine)
        assert who(ManagedIdentityCredential().get_token(ARM).token) == machine.identity.principal_id
        assert who(DefaultAzureCredential().get_token(ARM).token) == machine.identity.principal_id
    run_as(one.id)
    assert one.identity is not None
    assert who(ManagedIdentityCredential().get_token(ARM).token) == one.identity.principal_id


def test_run_as_takes_its_variables_back(pytester: pytest.Pytester) -> None:
    assert "IDENTITY_ENDPOINT" not in os.environ


def test_each_environment_has_a_secret_and_port_of_its_own(idplane: LocalPlane) -> None:
    machine = idplane.virtual_machine("vm")
    first, second = idplane.environment(machine), idplane.environment(machine)
    assert first["IDENTITY_HEADER"] != second["IDENTITY_HEADER"]
    assert first["IDENTITY_ENDPOINT"] != second["IDENTITY_ENDPOINT"]
    url = f"{first['IDENTITY_ENDPOINT']}?api-version=2019-08-01&resource=https://management.azure.com/"
    request = urllib.request.Request(url, headers={"X-IDENTITY-HEADER": second["IDENTITY_HEADER"]})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    with refusal.value:
        assert 400 <= refusal.value.code < 500


def test_the_bundle_trusts_what_was_trusted_before(idplane: LocalPlane) -> None:
    variables = idplane.environment(idplane.virtual_machine("vm"), dialect=Dialect.IMDS)
    bundle = Path(variables["SSL_CERT_FILE"]).read_bytes()
    assert idplane.ca_file.read_bytes() in bundle
    assert variables["REQUESTS_CA_BUNDLE"] == variables["SSL_CERT_FILE"]


def test_reset_kills_tokens_and_forgets_everything(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = idplane.virtual_machine("vm")
    assert machine.identity is not None
    idplane.vault("stock", password="x")
    idplane.application("app")
    idplane.grant(machine.identity, "Reader", idplane.resource_group())
    for name, value in idplane.environment(machine).items():
        monkeypatch.setenv(name, value)
    token = ManagedIdentityCredential().get_token(ARM).token
    group = f"{idplane.url}/subscriptions/{idplane.subscription_id}/resourceGroups/tests?api-version=2024-11-01"
    assert status(idplane, group, token) == 200
    owner = idplane.operator_token("https://management.azure.com")["access_token"]

    idplane.reset()

    assert status(idplane, group, token) == 401
    assert status(idplane, group, owner) == 404
    with pytest.raises(ServiceRequestError, match="refused"):  # nothing listens at the old address
        ManagedIdentityCredential(retry_total=0).get_token(ARM)
    left = {one.name: len(idplane.run(idplane.store.all(one))) for one in (RESOURCES, SECRETS, PRINCIPALS, ROLE_ASSIGNMENTS)}
    assert left == {
        "resources": 0,
        "secrets": 0,
        "principals": 2 + len(FIRST_PARTY),
        "role_assignments": 2,
    }  # the owners and their roles


def status(plane: LocalPlane, url: str, token: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(plane.ca_file))) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def test_names_resolve_here_and_only_within(idplane: LocalPlane) -> None:
    def addresses(name: str | bytes) -> set[str]:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, 443, proto=socket.IPPROTO_TCP)}

    assert addresses("any.vault.localhost") == addresses(b"other.vault.localhost") == {"127.0.0.1"}
    assert addresses("127.0.0.2") == {"127.0.0.2"}


def test_the_clock_moves_both_ways(idplane: LocalPlane) -> None:
    def seconds_off(expected: datetime) -> float:
        return abs((idplane.clock.now() - expected).total_seconds())

    start = idplane.clock.now()
    idplane.advance(timedelta(days=3))
    assert seconds_off(start + timedelta(days=3)) < 10
    idplane.advance(-timedelta(days=5))
    assert seconds_off(start - timedelta(days=2)) < 10
    assert idplane.call("GET", f"/subscriptions/{idplane.subscription_id}").status == 200


def test_what_is_due_happens_while_the_clock_moves(idplane: LocalPlane) -> None:
    vault = idplane.vault("stock", password="x")
    token = idplane.operator_token("https://vault.azure.net")["access_token"]
    assert vault
    idplane._send(
        "DELETE",
        "/secrets/password?api-version=7.4",
        {"authorization": f"Bearer {token}"},
        None,
        host=f"stock.{idplane.vault_domain}",
    )
    assert idplane.run(idplane.store.all(SECRETS))
    idplane.advance(timedelta(days=91))
    assert not idplane.run(idplane.store.all(SECRETS))


def test_applications_show_their_secret_to_code_only(idplane: LocalPlane) -> None:
    app = idplane.application("job")
    assert app.secret
    assert app.secret not in repr(app)


def test_refusals_of_the_verbs_say_what_was_refused(idplane: LocalPlane) -> None:
    with pytest.raises(AssertionError, match=r"refused with 400.*InvalidResourceName"):
        idplane.vault("x")
    with pytest.raises(AssertionError, match="there is no built-in role named 'No Such Role'"):
        idplane.grant(idplane.subscription_id, "No Such Role", "/")
