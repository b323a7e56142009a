"""The `identity` member, exactly (control-plane.md section 1 points 6 to 8, section 7.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import AssignedIdentity, Identity, IdentityType
from idplane.providers.identity_block import WantedIdentity, identity_members, wanted_identity

_BASE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
ONE, TWO, THREE = f"{_BASE}/One", f"{_BASE}/Two", f"{_BASE}/Three"


def _old(kind: IdentityType, *ids: str) -> Identity:
    assigned = tuple(AssignedIdentity(id=ResourceId.parse(one), principal_id=f"p-{one[-3:]}", client_id="c") for one in ids)
    system = {"principal_id": "sp", "client_id": "sc"} if kind.has_system else {}
    return Identity(type=kind, tenant_id="t", user_assigned=assigned, **system)


def _wanted(old: Identity | None, identity: object, *, patch: bool) -> tuple[str, tuple[str, ...]] | None:
    wanted = wanted_identity({"identity": identity}, old, patch=patch)
    return None if wanted is None else (wanted.type.value, tuple(str(one) for one in wanted.ids))


_BOTH, _USER, _SYSTEM = IdentityType.BOTH, IdentityType.USER, IdentityType.SYSTEM


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SystemAssigned", "SystemAssigned"),
        ("systemassigned", "SystemAssigned"),
        ("None", "None"),
        ("NONE", "None"),
        ("SystemAssigned,UserAssigned", "SystemAssigned, UserAssigned"),
        ("SystemAssigned, UserAssigned", "SystemAssigned, UserAssigned"),
        ("userassigned ,  SYSTEMASSIGNED", "SystemAssigned, UserAssigned"),
    ],
)
def test_types_are_read_tolerantly_and_have_one_spelling(text: str, kind: str) -> None:
    stated: dict[str, object] = {"type": text}
    if "user" in text.lower():
        stated["userAssignedIdentities"] = {ONE: {}}
    wanted = _wanted(None, stated, patch=False)
    assert wanted is not None
    assert wanted[0] == kind


@pytest.mark.parametrize(
    ("old", "identity", "kind", "ids"),
    [
        # added: new keys only, existing ones stay
        (_old(_USER, ONE), {"type": "UserAssigned", "userAssignedIdentities": {TWO: {}}}, "UserAssigned", (ONE, TWO)),
        (
            None,
            {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {ONE: {}}},
            "SystemAssigned, UserAssigned",
            (ONE,),
        ),
        # re-sent lower-cased: the same key, the stored casing
        (_old(_USER, ONE), {"type": "UserAssigned", "userAssignedIdentities": {ONE.lower(): {}}}, "UserAssigned", (ONE,)),
        # removed by null
        (
            _old(_USER, ONE, TWO),
            {"type": "UserAssigned", "userAssignedIdentities": {ONE.upper(): None}},
            "UserAssigned",
            (TWO,),
        ),
        (
            _old(_USER, ONE),
            {"type": "UserAssigned", "userAssignedIdentities": {ONE: None, TWO: {}, THREE: None}},
            "UserAssigned",
            (TWO,),
        ),
        # the CLI drops only the system-assigned identity: a null map keeps the rest
        (_old(_BOTH, ONE, TWO), {"type": "UserAssigned", "userAssignedIdentities": None}, "UserAssigned", (ONE, TWO)),
        (_old(_BOTH, ONE), {"type": "UserAssigned"}, "UserAssigned", (ONE,)),
        (_old(_USER, ONE), {"type": "SystemAssigned, UserAssigned"}, "SystemAssigned, UserAssigned", (ONE,)),
        # the documented warning: SystemAssigned alone removes all user-assigned ones
        (_old(_BOTH, ONE, TWO), {"type": "SystemAssigned"}, "SystemAssigned", ()),
        (_old(_BOTH, ONE), {"type": "SystemAssigned", "userAssignedIdentities": {ONE: None}}, "SystemAssigned", ()),
        (_old(_BOTH, ONE), {"type": "SystemAssigned", "userAssignedIdentities": None}, "SystemAssigned", ()),
        (_old(_BOTH, ONE), {"type": "None", "userAssignedIdentities": None}, "None", ()),
        # the type may be left to what it was
        (_old(_USER, ONE), {"userAssignedIdentities": {TWO: {}}}, "UserAssigned", (ONE, TWO)),
        # api-version 2017-12-01: an array stands for the whole
        (_old(_USER, ONE), {"type": "UserAssigned", "identityIds": [TWO]}, "UserAssigned", (TWO,)),
    ],
)
def test_patch_merges(old: Identity | None, identity: object, kind: str, ids: tuple[str, ...]) -> None:
    assert _wanted(old, identity, patch=True) == (kind, ids)


@pytest.mark.parametrize(
    ("old", "identity", "kind", "ids"),
    [
        (
            _old(_BOTH, ONE, TWO),
            {"type": "UserAssigned", "userAssignedIdentities": {TWO.lower(): {"clientId": "x"}}},
            "UserAssigned",
            (TWO,),
        ),
        (_old(_USER, ONE), {"type": "SystemAssigned"}, "SystemAssigned", ()),
        (_old(_USER, ONE), {"type": "None"}, "None", ()),
        (None, {"type": "UserAssigned", "userAssignedIdentities": {TWO: {}, ONE: {}}}, "UserAssigned", (TWO, ONE)),
        (_old(_USER, ONE), {"type": "UserAssigned", "userAssignedIdentities": {ONE: None, TWO: {}}}, "UserAssigned", (TWO,)),
    ],
)
def test_put_states(old: Identity | None, identity: object, kind: str, ids: tuple[str, ...]) -> None:
    assert _wanted(old, identity, patch=False) == (kind, ids)


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize("body", [{}, {"identity": None}])
def test_a_body_without_the_member_says_nothing_of_identity(body: dict[str, object], *, patch: bool) -> None:
    assert wanted_identity(body, _old(_BOTH, ONE), patch=patch) is None


@pytest.mark.parametrize("patch", [True, False])
@pytest.mark.parametrize(
    "identity",
    [
        5,
        "SystemAssigned",
        [],
        {},
        {"type": None},
        {"type": 5},
        {"type": ""},
        {"type": "Everything"},
        {"type": "SystemAssigned, None"},
        {"type": ["SystemAssigned"]},
        {"type": "SystemAssigned", "userAssignedIdentities": {ONE: {}}},
        {"type": "None", "userAssignedIdentities": {ONE: {}}},
        {"type": "SystemAssigned", "identityIds": [ONE]},
        {"type": "UserAssigned"},
        {"type": "UserAssigned", "userAssignedIdentities": {}},
        {"type": "UserAssigned", "userAssignedIdentities": None},
        {"type": "SystemAssigned, UserAssigned"},
        {"type": "UserAssigned", "userAssignedIdentities": []},
        {"type": "UserAssigned", "userAssignedIdentities": {ONE: "x"}},
        {"type": "UserAssigned", "userAssignedIdentities": {ONE: True}},
        {"type": "UserAssigned", "userAssignedIdentities": {"not an id": {}}},
        {"type": "UserAssigned", "userAssignedIdentities": {"": {}}},
        {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s": {}}},
        {
            "type": "UserAssigned",
            "userAssignedIdentities": {"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v": {}},
        },
        {"type": "UserAssigned", "userAssignedIdentities": {f"{ONE}/federatedIdentityCredentials/f": {}}},
        {
            "type": "UserAssigned",
            "userAssignedIdentities": {"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x": {}},
        },
        {"type": "UserAssigned", "identityIds": {}},
        {"type": "UserAssigned", "identityIds": [5]},
        {"type": "UserAssigned", "identityIds": []},
    ],
)
def test_what_cannot_be_meant_is_refused(identity: object, *, patch: bool) -> None:
    with pytest.raises(Failure) as refused:
        wanted_identity({"identity": identity}, None, patch=patch)
    assert refused.value.kind is FailureKind.INVALID_IDENTITY


def test_removing_the_last_one_needs_a_type_that_has_none() -> None:
    for kind in ("UserAssigned", "SystemAssigned, UserAssigned"):
        with pytest.raises(Failure):
            wanted_identity({"identity": {"type": kind, "userAssignedIdentities": {ONE: None}}}, _old(_BOTH, ONE), patch=True)


def test_words_of_malformed_ids() -> None:
    with pytest.raises(Failure) as refused:
        _wanted(None, {"type": "UserAssigned", "userAssignedIdentities": {"junk": {}}}, patch=True)
    assert refused.value.detail == "'junk' is not a valid reference to a Microsoft.ManagedIdentity identity"
    assert refused.value.data["target"] == "resourceIdentity.identityIds"


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (None, {}),
        (_old(IdentityType.NONE), {}),
        (_old(_SYSTEM), {"identity": {"type": "SystemAssigned", "principalId": "sp", "tenantId": "t"}}),
        (
            _old(_USER, ONE),
            {"identity": {"type": "UserAssigned", "userAssignedIdentities": {ONE: {"principalId": "p-One", "clientId": "c"}}}},
        ),
        (
            _old(_BOTH, ONE),
            {
                "identity": {
                    "type": "SystemAssigned, UserAssigned",
                    "principalId": "sp",
                    "tenantId": "t",
                    "userAssignedIdentities": {ONE: {"principalId": "p-One", "clientId": "c"}},
                }
            },
        ),
    ],
)
def test_what_is_shown(identity: Identity | None, shown: object) -> None:
    assert identity_members(identity) == shown


def test_old_versions_list_ids() -> None:
    assert identity_members(_old(_USER, ONE), as_list=True) == {"identity": {"type": "UserAssigned", "identityIds": [ONE]}}


_PRESENCES: list[dict[str, object] | None] = [None, {}]
_ENTRIES = st.dictionaries(st.sampled_from([ONE, TWO, THREE, ONE.lower()]), st.sampled_from(_PRESENCES), max_size=4)
_OLD = st.builds(lambda ids: _old(_BOTH, *ids), st.lists(st.sampled_from([ONE, TWO, THREE]), unique=True))


def _try(old: Identity, entries: object, *, patch: bool) -> WantedIdentity | None:
    try:
        return wanted_identity({"identity": {"type": "UserAssigned", "userAssignedIdentities": entries}}, old, patch=patch)
    except Failure:
        return None


@given(_OLD, _ENTRIES)
def test_patch_gives_the_old_ids_and_the_named_ones_less_those_with_null(old: Identity, entries: dict[str, object]) -> None:
    stated = {ResourceId.parse(name): value is not None for name, value in entries.items()}
    expected = {one.id for one in old.user_assigned if stated.get(one.id, True)} | {one for one, keep in stated.items() if keep}
    wanted = _try(old, entries, patch=True)
    assert (set(wanted.ids) if wanted else set()) == expected


@given(_OLD, _ENTRIES)
def test_put_does_not_depend_on_what_was_there(old: Identity, entries: dict[str, object]) -> None:
    fresh = _try(_old(IdentityType.NONE), entries, patch=False)
    stated = _try(old, entries, patch=False)
    assert (set(stated.ids) if stated else None) == (set(fresh.ids) if fresh else None)
