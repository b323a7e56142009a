"""Paths name instances, words behind them, and namespaces, whatever their slashes and case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.arm.paths import InstanceTarget, ProviderTarget, Target, WordTarget, parse_target
from idplane.model.failure import Failure
from idplane.model.ids import ROOT, ResourceId

_GROUP = "/subscriptions/s/resourceGroups/g"
_VM = f"{_GROUP}/providers/Microsoft.Compute/virtualMachines/v"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/subscriptions/s", InstanceTarget(id=ResourceId.parse("/subscriptions/s"))),
        ("/subscriptions/s/", InstanceTarget(id=ResourceId.parse("/subscriptions/s"))),
        ("/subscriptions/s/resourcegroups/g", InstanceTarget(id=ResourceId.parse(_GROUP))),
        (_VM.replace("Compute/", "Compute//"), InstanceTarget(id=ResourceId.parse(_VM))),
        (f"//{_VM}//", InstanceTarget(id=ResourceId.parse(_VM))),
        ("/subscriptions", WordTarget(id=ROOT, word="subscriptions")),
        ("/tenants", WordTarget(id=ROOT, word="tenants")),
        ("/subscriptions/s/resourceGroups", WordTarget(id=ResourceId.parse("/subscriptions/s"), word="resourceGroups")),
        (f"{_VM}/start", WordTarget(id=ResourceId.parse(_VM), word="start")),
        ("/providers", WordTarget(id=ROOT, word="providers")),
        ("/providers/Microsoft.Compute", ProviderTarget(scope=ROOT, namespace="Microsoft.Compute", word=None)),
        (
            f"{_GROUP}/PROVIDERS/Microsoft.Compute/virtualMachines",
            ProviderTarget(scope=ResourceId.parse(_GROUP), namespace="Microsoft.Compute", word="virtualMachines"),
        ),
        (
            f"{_GROUP}/deployments/d/operations",
            WordTarget(id=ResourceId.parse(f"{_GROUP}/providers/Microsoft.Resources/deployments/d"), word="operations"),
        ),
        (
            f"{_VM}/providers/Microsoft.Authorization/roleAssignments",
            ProviderTarget(scope=ResourceId.parse(_VM), namespace="Microsoft.Authorization", word="roleAssignments"),
        ),
    ],
)
def test_targets(path: str, target: Target) -> None:
    assert parse_target(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "///",
        "/a/b/c",
        "/subscriptions/s/a/b",
        f"{_GROUP}/a/b",
        f"{_VM}/a<b",
        "/providers/Micro<soft.x/y",
        "/x/providers/A.b/c",
    ],
)
def test_what_is_outside_the_grammar_is_refused(path: str) -> None:
    with pytest.raises(Failure):
        parse_target(path)


@given(
    st.lists(
        st.sampled_from(["subscriptions", "s", "resourceGroups", "providers", "A.b", "t", "n", "<", "..", ""]), max_size=12
    )
)
def test_any_path_has_a_target_or_a_failure(parts: list[str]) -> None:
    try:
        target = parse_target("/" + "/".join(parts))
    except Failure:
        return
    assert isinstance(target, InstanceTarget | WordTarget | ProviderTarget)
