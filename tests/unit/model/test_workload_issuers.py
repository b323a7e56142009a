"""Every host's own issuer: written, read back, and never another's."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import Trust
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.workload_issuers import EXCHANGE_AUDIENCE, issuer_named, issuer_of, subject_of

TENANT = "11111111-1111-4111-8111-111111111111"
GROUP = "/subscriptions/33333333-3333-4333-8333-333333333333/resourceGroups"
VM = "Microsoft.Compute/virtualMachines"
AKS = "Microsoft.ContainerService/managedClusters"
START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.text(st.sampled_from("abcXYZ019-_.()é ~'&;+=@!$,*"), min_size=1, max_size=20)


def host(
    name: str = "vm", kind: str = VM, *, location: str | None = "westeurope", at: datetime = START, **more: object
) -> Resource:
    try:
        identifier = ResourceId.parse(f"{GROUP}/g/providers/{kind}/{name}")
    except Failure:
        assume(False)
        raise
    return Resource(id=identifier, type=kind, created_at=at, changed_at=at, location=location, properties=more)


@given(NAMES, st.sampled_from([None, "westeurope", "West Europe", "on-prem/7", "ümlaut", "a.b"]))
def test_an_issuer_is_read_back_and_can_be_trusted(name: str, location: str | None) -> None:
    resource = host(name, location=location)
    issuer = issuer_of(resource, TENANT)
    assert issuer is not None
    named = issuer_named(issuer)
    assert named is not None
    assert (named.tenant_id, named.resource, str(named.resource)) == (TENANT, resource.id, str(resource.id))
    Trust(issuer=issuer, audiences=(EXCHANGE_AUDIENCE,), subject="s").check()


def test_nobody_else_has_it() -> None:
    resources = (
        host(),
        host("vm2"),
        host(at=START + timedelta(microseconds=1)),
        host(kind="Microsoft.HybridCompute/machines"),
        host(location="northeurope"),
    )
    issuers = {issuer_of(one, tenant) for one in resources for tenant in (TENANT, TENANT.replace("1", "2"))}
    assert len(issuers) == 2 * len(resources)


def test_clusters_of_aks_are_called_as_there_and_can_be_without() -> None:
    enabled = issuer_of(host(kind=AKS, oidcIssuerProfile={"enabled": True}), TENANT)
    assert enabled is not None
    assert enabled.startswith(f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/")
    assert enabled.endswith("/managedClusters/vm/")
    profiles: tuple[object, ...] = ({}, {"enabled": False}, {"enabled": "true"}, [], None)
    for profile in profiles:
        assert issuer_of(host(kind=AKS, oidcIssuerProfile=profile), TENANT) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://westeurope.oic.prod-aks.azure.com/",
        f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/{TENANT}/",
        f"http://westeurope.oic.prod-aks.azure.com/{TENANT}/{TENANT}{GROUP}/g/providers/{VM}/vm/",
        f"https://oic.prod-aks.azure.com/{TENANT}/{TENANT}{GROUP}/g/providers/{VM}/vm/",
        f"https://a.b.oic.prod-aks.azure.com/{TENANT}/{TENANT}{GROUP}/g/providers/{VM}/vm/",
        f"https://westeurope.oic.prod-aks.azure.com.example/{TENANT}/{TENANT}{GROUP}/g/providers/{VM}/vm/",
        f"https://westeurope.oic.prod-aks.azure.com/common/{TENANT}{GROUP}/g/providers/{VM}/vm/",
        f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/1{GROUP}/g/providers/{VM}/vm/",
        f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/{TENANT}{GROUP}/g/providers/{VM}/../vm/",
    ],
)
def test_what_is_no_issuer_of_a_host(text: str) -> None:
    """A real cluster's issuer is among them: it is an outside one."""
    assert issuer_named(text) is None


@given(st.text(max_size=60))
def test_any_text_is_read_or_not(text: str) -> None:
    for prefix in ("", "https://", f"https://x.oic.prod-arc.azure.com/{TENANT}/{TENANT}/"):
        issuer_named(prefix + text)


@pytest.mark.parametrize("kind", [AKS, "Microsoft.Kubernetes/connectedClusters"])
def test_subjects_on_clusters(kind: str) -> None:
    cluster = host(kind=kind).id
    assert subject_of(cluster, None) == "system:serviceaccount:default:default"
    assert subject_of(cluster, "shop/cart.v2") == "system:serviceaccount:shop:cart.v2"


def test_subjects_elsewhere_are_the_resource() -> None:
    machine = host("Stock-VM").id
    assert subject_of(machine, None) == str(machine)
    with pytest.raises(Failure) as caught:
        subject_of(machine, "default/default")
    assert caught.value.kind is FailureKind.INVALID_PARAMETER


@given(st.text(st.sampled_from("aA0-._:/ "), max_size=12))
def test_no_service_account_speaks_for_another(account: str) -> None:
    """One subject for each account, and no way to write one that reads as another."""
    try:
        subject = subject_of(host(kind=AKS).id, account or "a/b")
    except Failure:
        return
    assert subject.split(":") == ["system", "serviceaccount", *(account or "a/b").split("/")]
