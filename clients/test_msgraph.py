"""msgraph-sdk as it comes, pointed at a plane: applications, service principals, roles and sign-ins (control-plane.md section 8)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from azure.core.credentials import AccessToken
from azure.identity import ClientSecretCredential, ManagedIdentityCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.headers_collection import HeadersCollection
from kiota_abstractions.method import Method
from kiota_abstractions.request_information import RequestInformation
from msgraph import GraphServiceClient
from msgraph.generated.applications.applications_request_builder import ApplicationsRequestBuilder
from msgraph.generated.applications.item.add_password.add_password_post_request_body import AddPasswordPostRequestBody
from msgraph.generated.applications.item.remove_password.remove_password_post_request_body import RemovePasswordPostRequestBody
from msgraph.generated.models.api_application import ApiApplication
from msgraph.generated.models.app_role import AppRole
from msgraph.generated.models.app_role_assignment import AppRoleAssignment
from msgraph.generated.models.application import Application
from msgraph.generated.models.federated_identity_credential import FederatedIdentityCredential
from msgraph.generated.models.key_credential import KeyCredential
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.password_credential import PasswordCredential
from msgraph.generated.models.service_principal import ServicePrincipal
from msgraph.generated.service_principals.service_principals_request_builder import ServicePrincipalsRequestBuilder
from tests.unit.sts.sts_world import rsa_pair

from idplane.testing.local import LocalPlane

GRAPH = "00000003-0000-0000-c000-000000000000"
NOBODY = "11111111-2222-4333-8444-555555555555"
ROLE = UUID("aaaaaaaa-0000-4000-8000-000000000001")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The SDK's own event loop."""
    return "asyncio"


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    """One plane for the module; its certificate is trusted as a user would trust it."""
    made = LocalPlane()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(made.ca_file))
        patch.setenv("REQUESTS_CA_BUNDLE", str(made.ca_file))
        yield made
    made.close()


@pytest.fixture
async def graph(plane: LocalPlane) -> AsyncIterator[GraphServiceClient]:
    """The owner's client."""
    async with client_of(plane, _Owner(plane)) as client:
        yield client


class _Owner:
    """The owner's credential, in the very type that the SDK's authentication looks for."""

    def __init__(self, plane: LocalPlane) -> None:
        self._credential = plane.credential

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(*self._credential.get_token(*scopes))


@asynccontextmanager
async def client_of(plane: LocalPlane, credential: Any) -> AsyncIterator[GraphServiceClient]:
    client = GraphServiceClient(credentials=credential, scopes=["https://graph.microsoft.com/.default"])
    client.request_adapter.base_url = f"{plane.url}/v1.0"
    try:
        yield client
    finally:
        # The SDK's transport does not pass the closing on to the one that it wraps.
        await client.request_adapter._http_client._transport.transport.aclose()  # noqa: SLF001 - there is no public way to it


def asking(builder: Any, **options: Any) -> Any:
    """A request's options, as the SDK's builders take them."""
    kind = next(value for name, value in vars(builder).items() if name.endswith("GetQueryParameters"))
    headers = HeadersCollection()
    headers.add("ConsistencyLevel", "eventual")
    return RequestConfiguration(query_parameters=kind(**options), headers=headers)


def refusal(caught: pytest.ExceptionInfo[ODataError]) -> tuple[int | None, str | None]:
    error = caught.value.error
    return caught.value.response_status_code, error.code if error else None


async def everything(builder: Any, first: Any) -> tuple[list[Any], int]:
    """All entities on all pages, and how many pages there were."""
    found, pages, page = list(first.value), 1, first
    while page.odata_next_link:
        page = await builder.with_url(page.odata_next_link).get()
        found, pages = found + page.value, pages + 1
    return found, pages


async def made_app(graph: GraphServiceClient, name: str, **members: Any) -> Application:
    made = await graph.applications.post(Application(display_name=name, **members))
    assert made is not None
    return made


async def made_principal(graph: GraphServiceClient, app: Application) -> ServicePrincipal:
    made = await graph.service_principals.post(ServicePrincipal(app_id=app.app_id))
    assert made is not None
    return made


class TestApplications:
    async def test_life(self, graph: GraphServiceClient) -> None:
        made = await made_app(
            graph, "life", identifier_uris=["api://life"], api=ApiApplication(requested_access_token_version=2)
        )
        one = graph.applications.by_application_id(made.id)
        await one.patch(Application(display_name="lives", tags=["a"], is_fallback_public_client=True))
        shown = await one.get()
        assert (shown.display_name, shown.tags, shown.is_fallback_public_client) == ("lives", ["a"], True)
        assert (shown.password_credentials, shown.key_credentials) == ([], [])
        assert shown.api.requested_access_token_version == 2
        assert (await graph.applications_with_app_id(made.app_id).get()).id == made.id
        await one.delete()
        with pytest.raises(ODataError) as caught:
            await one.get()
        assert refusal(caught) == (404, "Request_ResourceNotFound")
        assert made.id in caught.value.error.message
        assert caught.value.error.inner_error.request_id

    async def test_pages(self, graph: GraphServiceClient) -> None:
        for number in range(7):
            await made_app(graph, f"page-{number}")
        options = asking(
            ApplicationsRequestBuilder, top=2, filter="startswith(displayName,'PAGE-')", orderby=["displayName"], count=True
        )
        first = await graph.applications.get(options)
        assert first.odata_count == 7
        found, pages = await everything(graph.applications, first)
        assert ([one.display_name for one in found], pages) == ([f"page-{number}" for number in range(7)], 4)
        unsorted = asking(ApplicationsRequestBuilder, top=3, select=["displayName"])
        found, pages = await everything(graph.applications, await graph.applications.get(unsorted))
        assert pages >= 3
        assert {f"page-{number}" for number in range(7)} <= {one.display_name for one in found}
        assert all(one.id is None for one in found)
        assert await graph.applications.count.get() == len(found)

    async def test_secrets(self, plane: LocalPlane, graph: GraphServiceClient) -> None:
        made = await made_app(graph, "secrets")
        principal = await made_principal(graph, made)
        one = graph.applications.by_application_id(made.id)
        ends = datetime.now(UTC) + timedelta(days=30)
        wanted = PasswordCredential(display_name="job", end_date_time=ends)
        secret = await one.add_password.post(AddPasswordPostRequestBody(password_credential=wanted))
        assert secret.secret_text.startswith("idp_")
        assert [(it.display_name, it.secret_text) for it in (await one.get()).password_credentials] == [("job", None)]
        job = ClientSecretCredential(
            plane.tenant_id, made.app_id, secret.secret_text, authority=plane.url, disable_instance_discovery=True
        )
        async with client_of(plane, job) as mine:
            assert (await mine.service_principals.by_service_principal_id(principal.id).get()).app_id == made.app_id
            with pytest.raises(ODataError) as caught:
                await mine.applications.get()
        assert refusal(caught) == (403, "Authorization_RequestDenied")
        await one.remove_password.post(RemovePasswordPostRequestBody(key_id=secret.key_id))
        assert (await one.get()).password_credentials == []

    async def test_certificates(self, graph: GraphServiceClient) -> None:
        key = KeyCredential(type="AsymmetricX509Cert", usage="Verify", key=base64.b64encode(rsa_pair().certificate))
        made = await made_app(graph, "certificates", key_credentials=[key])
        assert [it.usage for it in made.key_credentials] == ["Verify"]
        one = graph.applications.by_application_id(made.id)
        await one.patch(Application(key_credentials=[]))
        assert (await one.get()).key_credentials == []

    async def test_federated_credentials(self, graph: GraphServiceClient) -> None:
        made = await made_app(graph, "federated")
        all_of_them = graph.applications.by_application_id(made.id).federated_identity_credentials
        wanted = FederatedIdentityCredential(
            name="main", issuer="https://issuer.example", subject="s", audiences=["api://AzureADTokenExchange"]
        )
        trust = await all_of_them.post(wanted)
        one = all_of_them.by_federated_identity_credential_id(trust.id)
        await one.patch(FederatedIdentityCredential(subject="t"))
        assert (await all_of_them.by_federated_identity_credential_id("main").get()).subject == "t"
        with pytest.raises(ODataError) as caught:
            await all_of_them.post(wanted)
        assert refusal(caught) == (409, "Request_MultipleObjectsWithSameKeyValue")
        with pytest.raises(ODataError) as caught:
            await all_of_them.post(FederatedIdentityCredential(name="two", issuer="nowhere", subject="s", audiences=["a"]))
        assert refusal(caught) == (400, "Request_BadRequest")
        await one.delete()
        assert (await all_of_them.get()).value == []

    async def test_documented_errors(self, graph: GraphServiceClient) -> None:
        first = await made_app(graph, "first", identifier_uris=["api://first"])
        refused: Sequence[tuple[Application, tuple[int, str]]] = (
            (Application(), (400, "Request_BadRequest")),
            (Application(display_name="x", sign_in_audience="Nobody"), (400, "Request_BadRequest")),
            (
                Application(display_name="x", identifier_uris=["api://first"]),
                (409, "Request_MultipleObjectsWithSameKeyValue"),
            ),
        )
        for body, expected in refused:
            with pytest.raises(ODataError) as caught:
                await graph.applications.post(body)
            assert refusal(caught) == expected
        with pytest.raises(ODataError) as caught:
            await graph.applications.get(asking(ApplicationsRequestBuilder, filter="colour eq 'red'"))
        assert refusal(caught) == (400, "BadRequest")
        await graph.applications.by_application_id(first.id).delete()


class TestServicePrincipals:
    async def test_managed_identities(self, plane: LocalPlane, graph: GraphServiceClient) -> None:
        identity = plane.user_assigned_identity("front-end")
        condition = "servicePrincipalType eq 'ManagedIdentity' and displayName eq 'front-end'"
        found = await graph.service_principals.get(asking(ServicePrincipalsRequestBuilder, filter=condition))
        (shown,) = found.value
        assert (shown.id, shown.app_id) == (identity.principal_id, identity.client_id)
        assert shown.alternative_names == ["isExplicit=True", identity.id]
        assert shown.service_principal_names[0] == identity.client_id
        one = graph.service_principals.by_service_principal_id(shown.id)
        for attempt in (one.delete(), one.patch(ServicePrincipal(account_enabled=False))):
            with pytest.raises(ODataError) as caught:
                await attempt
            assert refusal(caught) == (403, "Authorization_RequestDenied")

    async def test_life(self, graph: GraphServiceClient) -> None:
        app = await made_app(graph, "principal")
        made = await made_principal(graph, app)
        with pytest.raises(ODataError) as caught:
            await made_principal(graph, app)
        assert refusal(caught) == (409, "Request_MultipleObjectsWithSameKeyValue")
        one = graph.service_principals_with_app_id(app.app_id)
        await one.patch(ServicePrincipal(account_enabled=False))
        assert (await one.get()).account_enabled is False
        await graph.service_principals.by_service_principal_id(made.id).delete()
        with pytest.raises(ODataError) as caught:
            await graph.service_principals.by_service_principal_id(made.id).get()
        assert refusal(caught) == (404, "Request_ResourceNotFound")
        with pytest.raises(ODataError) as caught:
            await graph.service_principals.post(ServicePrincipal(app_id=NOBODY))
        assert refusal(caught) == (400, "Request_BadRequest")

    async def test_pages(self, graph: GraphServiceClient) -> None:
        options = asking(ServicePrincipalsRequestBuilder, top=5)
        found, pages = await everything(graph.service_principals, await graph.service_principals.get(options))
        assert pages >= 3
        assert len({one.id for one in found}) == len(found) == await graph.service_principals.count.get()


class TestRoles:
    async def test_of_graph_to_a_machine(self, plane: LocalPlane, graph: GraphServiceClient) -> None:
        machine = plane.virtual_machine("reader")
        assert machine.identity is not None
        resource = await graph.service_principals_with_app_id(GRAPH).get()
        role = next(one for one in resource.app_roles if one.value == "Application.Read.All")
        holder = graph.service_principals.by_service_principal_id(machine.identity.principal_id)
        wanted = AppRoleAssignment(
            principal_id=UUID(machine.identity.principal_id), resource_id=UUID(resource.id), app_role_id=role.id
        )
        made = await holder.app_role_assignments.post(wanted)
        assert made.resource_display_name == "Microsoft Graph"
        with pytest.raises(ODataError) as caught:
            await holder.app_role_assignments.post(wanted)
        assert refusal(caught) == (400, "Request_BadRequest")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in plane.environment(machine).items():
                patch.setenv(name, value)
            async with client_of(plane, ManagedIdentityCredential()) as mine:
                assert await mine.applications.count.get() is not None
                with pytest.raises(ODataError) as caught:
                    await mine.applications.post(Application(display_name="x"))
        assert refusal(caught) == (403, "Authorization_RequestDenied")
        await holder.app_role_assignments.by_app_role_assignment_id(made.id).delete()
        assert (await holder.app_role_assignments.get()).value == []

    async def test_of_an_application(self, plane: LocalPlane, graph: GraphServiceClient) -> None:
        role = AppRole(
            id=ROLE,
            value="Read",
            display_name="Read",
            description="Read",
            is_enabled=True,
            allowed_member_types=["Application"],
        )
        resource = await made_principal(graph, await made_app(graph, "resource", app_roles=[role]))
        given = graph.service_principals.by_service_principal_id(resource.id).app_role_assigned_to
        for number in range(5):
            identity = plane.user_assigned_identity(f"holder-{number}")
            wanted = AppRoleAssignment(
                principal_id=UUID(identity.principal_id), resource_id=UUID(resource.id), app_role_id=ROLE
            )
            await given.post(wanted)
        kind = type(given).AppRoleAssignedToRequestBuilderGetQueryParameters
        first = await given.get(RequestConfiguration(query_parameters=kind(top=2)))
        found, pages = await everything(given, first)
        assert ({one.principal_display_name for one in found}, pages) == ({f"holder-{number}" for number in range(5)}, 3)


class TestLogs:
    async def test_v1_0_has_users_only(self, graph: GraphServiceClient) -> None:
        found = await graph.audit_logs.sign_ins.get()
        assert found.value == []

    async def test_beta_has_managed_identities(self, plane: LocalPlane, graph: GraphServiceClient) -> None:
        machine = plane.virtual_machine("stock-vm")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in plane.environment(machine).items():
                patch.setenv(name, value)
            ManagedIdentityCredential().get_token("https://vault.azure.net/.default")
        request = RequestInformation(method=Method.GET)
        condition = "signInEventTypes/any(t:t eq 'managedIdentity') and servicePrincipalName eq 'stock-vm'"
        request.url = f"{plane.url}/beta/auditLogs/signIns?%24filter={condition.replace(' ', '%20')}"
        answer = await graph.request_adapter.send_primitive_async(request, "bytes", {})
        (shown,) = json.loads(answer)["value"]
        assert shown["signInEventTypes"] == ["managedIdentity"]
        assert shown["managedServiceIdentity"]["msiType"] == "systemAssigned"
        assert (shown["resourceDisplayName"], shown["ipAddress"], shown["status"]["errorCode"]) == ("Azure Key Vault", "", 0)

    async def test_directory_audits(self, graph: GraphServiceClient) -> None:
        made = await made_app(graph, "audited")
        found = await graph.audit_logs.directory_audits.get()
        newest = found.value[0]
        assert newest.activity_display_name == "Microsoft.Graph/applications/create"
        assert (newest.target_resources[0].id, newest.target_resources[0].display_name) == (made.id, "audited")
        assert newest.initiated_by.app.display_name == "idplane operator"
