from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId, is_guid, normalize_location

SUB = "/subscriptions/11111111-1111-1111-1111-111111111111"
GROUP = f"{SUB}/resourceGroups/Shop"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Stock"
SLOT = f"{GROUP}/providers/Microsoft.Web/sites/Front/slots/Blue"
ASSIGNMENT = f"{VM}/providers/Microsoft.Authorization/roleAssignments/abc"
MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/top"

# Names that could be taken for the grammar's words are the interesting ones.
NAMES = st.one_of(
    st.sampled_from(
        ["providers", "Providers", "subscriptions", "resourceGroups", "Microsoft.Web", "a.b", "...", "x y", "(1)_-", "É"]
    ),
    st.text(st.sampled_from("abcXYZ019-_.()"), min_size=1, max_size=12).filter(lambda text: text not in {".", ".."}),
)
TYPES = st.one_of(
    st.sampled_from(["providers", "sites", "resourceGroups"]), st.text(st.sampled_from("abcXYZ"), min_size=1, max_size=8)
)
NAMESPACES = st.builds("{}.{}".format, TYPES, TYPES)


@st.composite
def resource_ids(draw: st.DrawFn) -> list[str]:
    """Segments of an id, by the grammar in the module's docstring."""
    parts: list[str] = []
    if draw(st.booleans()):
        parts += ["subscriptions", draw(NAMES)]
        if draw(st.booleans()):
            parts += ["resourceGroups", draw(NAMES)]
    for _ in range(draw(st.integers(0, 3))):
        parts += ["providers", draw(NAMESPACES), draw(TYPES), draw(NAMES)]
        for _ in range(draw(st.integers(0, 2))):
            # A child type `providers` with a dotted name reads as the next provider part; no such type exists.
            parts += [draw(TYPES.filter(lambda text: text.lower() != "providers")), draw(NAMES)]
    return parts


def path(parts: list[str]) -> str:
    return "/" + "/".join(parts)


def swapped(text: str) -> str:
    """Other ASCII case."""
    return "".join(letter.swapcase() if letter.isascii() else letter for letter in text)


def refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        ResourceId.parse(text)
    assert caught.value.kind is FailureKind.INVALID_RESOURCE_ID


@given(resource_ids())
def test_what_was_written_comes_back(parts: list[str]) -> None:
    parsed = ResourceId.parse(path(parts))
    assert str(parsed) == path(parts)
    assert ResourceId.parse(str(parsed)) == parsed
    assert ResourceId.parse(parsed.key) == parsed
    assert ResourceId.parse(parsed.key).key == parsed.key


@given(resource_ids())
def test_case_makes_no_difference_and_the_grammars_words_are_canonical(parts: list[str]) -> None:
    parsed, other = ResourceId.parse(path(parts)), ResourceId.parse(swapped(path(parts)))
    assert (parsed, hash(parsed), parsed.key) == (other, hash(other), other.key)
    assert other.segments[:1] == parsed.segments[:1]
    assert (other.subscription, (other.resource_group or "").lower()) == (
        parsed.subscription,
        (parsed.resource_group or "").lower(),
    )
    assert other.type.lower() == parsed.type.lower()


@given(resource_ids(), st.integers(1, 3))
def test_repeated_and_final_slashes_collapse(parts: list[str], count: int) -> None:
    slashes = "/" * count
    assert ResourceId.parse(slashes + slashes.join(parts) + slashes) == ResourceId.parse(path(parts))


@given(resource_ids())
def test_every_property_answers_for_every_id(parts: list[str]) -> None:
    parsed = ResourceId.parse(path(parts))
    assert parsed.name == (parts[-1] if parts else "")
    assert (parsed.namespace is None) == (parsed.scope == parsed)
    assert parsed.is_within(parsed.scope)
    assert parsed.type.count("/") >= 1
    assert parsed.subscription == (parts[1].lower() if parts[:1] == ["subscriptions"] else None)
    assert parsed.resource_group == (
        parts[3] if len(parts) > 3 and parts[2] == "resourceGroups" and parsed.subscription else None
    )


@given(resource_ids())
def test_the_lineage_goes_up_to_the_tenant_by_valid_ids(parts: list[str]) -> None:
    parsed = ResourceId.parse(path(parts))
    lineage = list(parsed.lineage())
    assert parsed.lineage_keys == tuple(one.key for one in lineage)
    assert str(lineage[0]) == path(parts)
    assert lineage[-1] == ROOT
    assert ROOT.parent is None
    for lower, higher in pairwise(lineage):
        assert lower.parent == higher
        assert len(higher.segments) < len(lower.segments)
        assert ResourceId.parse(str(higher)) == higher
        assert lower.is_within(higher)
        assert not higher.is_within(lower)


@given(resource_ids(), resource_ids())
def test_within_means_in_the_lineage(one: list[str], two: list[str]) -> None:
    low, high = ResourceId.parse(path(one)), ResourceId.parse(path(two))
    assert low.is_within(high) == (high in set(low.lineage()))


@given(resource_ids(), st.data())
def test_a_prefix_that_cuts_a_segment_is_no_scope(parts: list[str], data: st.DataObject) -> None:
    text = path(parts)
    cut = data.draw(st.integers(1, len(text)))
    try:
        prefix = ResourceId.parse(text[:cut])
    except Failure:
        return
    whole = text[cut : cut + 1] in {"", "/"} or text[cut - 1] == "/"
    assert ResourceId.parse(text).is_within(prefix) == whole


def test_names_that_begin_alike_are_different_scopes() -> None:
    shop, shop2 = ResourceId.parse(GROUP), ResourceId.parse(f"{GROUP}2")
    assert not shop2.is_within(shop)
    assert not shop.is_within(shop2)
    assert not ResourceId.parse(f"{GROUP}2/providers/A.B/t/n").is_within(shop)


@pytest.mark.parametrize(
    ("text", "type_", "name", "scope", "parent"),
    [
        ("/", "Microsoft.Resources/tenants", "", "/", None),
        (SUB, "Microsoft.Resources/subscriptions", SUB.split("/")[2], SUB, "/"),
        (GROUP, "Microsoft.Resources/resourceGroups", "Shop", GROUP, SUB),
        (VM, "Microsoft.Compute/virtualMachines", "Stock", GROUP, GROUP),
        (SLOT, "Microsoft.Web/sites/slots", "Blue", GROUP, SLOT.removesuffix("/slots/Blue")),
        (ASSIGNMENT, "Microsoft.Authorization/roleAssignments", "abc", VM, VM),
        (MANAGEMENT_GROUP, "Microsoft.Management/managementGroups", "top", "/", "/"),
        (f"{SUB}/providers/A.B/t/n", "A.B/t", "n", SUB, SUB),
        # Things that are named like the grammar's words
        (f"{SUB}/resourceGroups/providers", "Microsoft.Resources/resourceGroups", "providers", f"{SUB}/resourceGroups/providers", SUB),
        (f"{SUB}/resourceGroups/providers/providers/A.B/t/n", "A.B/t", "n", f"{SUB}/resourceGroups/providers", f"{SUB}/resourceGroups/providers"),
        (f"{SUB}/providers/A.B/sites/providers", "A.B/sites", "providers", SUB, SUB),
        (f"{SUB}/providers/A.B/sites/providers/C.D/x/e/f", "A.B/sites/C.D/e", "f", SUB, f"{SUB}/providers/A.B/sites/providers/C.D/x"),
        (f"{SUB}/providers/A.B/resourceGroups/g", "A.B/resourceGroups", "g", SUB, SUB),
    ],
)  # fmt: skip
def test_ids_come_apart_as_the_grammar_says(text: str, type_: str, name: str, scope: str, parent: str | None) -> None:
    parsed = ResourceId.parse(text)
    assert (parsed.type, parsed.name, str(parsed.scope)) == (type_, name, scope)
    assert parsed.parent == (None if parent is None else ResourceId.parse(parent))


def test_the_users_casing_is_kept_and_the_keywords_are_not() -> None:
    written = (
        VM.replace("resourceGroups", "RESOURCEGROUPS")
        .replace("providers", "Providers")
        .replace("subscriptions", "Subscriptions")
    )
    assert str(ResourceId.parse(written)) == VM
    assert ResourceId.parse(VM).key == VM.lower()


@pytest.mark.parametrize(
    "text",
    [
        "", "subscriptions/a", "a", " /", "https://host/subscriptions/a",
        "/subscriptions", "/a", "/a/b", "/resourceGroups/g", "/subscriptions/a/b", "/subscriptions/a/b/c",
        "/subscriptions/a/resourceGroups", "/subscriptions/a/resourceGroups/g/h", "/subscriptions/a/resourceGroups/g/h/i",
        "/subscriptions/a/subscriptions/b", "/subscriptions/a/resourceGroups/g/resourceGroups/h",
        "/providers", "/providers/A.B", "/providers/A.B/t", "/providers/A.B/t/n/t", "/providers/AB/t/n",
        "/subscriptions/s/providers/foo/bar/baz", "/subscriptions/s/providers/A.B", "/subscriptions/s/providers/A.B/t/n/providers/C.D",
        "/subscriptions/s/providers/A.B/t/n/providers/C.D/t", "/subscriptions/providers/A.B/t/n",
        "/subscriptions/.", "/subscriptions/..", "/subscriptions/a/../b", "/subscriptions/a/./resourceGroups/g",
    ],
)  # fmt: skip
def test_paths_outside_the_grammar_are_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "name",
    [
        "a<b", "a>b", "a%b", "%2f", "%2e%2e", "a&b", "a:b", "a\\b", "a?b", "a\x00", "\x1f", "a\nb", "a\tb", "\x7f", "\x85", "\x9f",
        " ", " a", "a ", "\u00a0a", "a\u2028", "\ud800", "a\udfff", "x" * 261,
    ],
)  # fmt: skip
def test_odd_names_are_refused_everywhere(name: str) -> None:
    refused(f"/subscriptions/{name}")
    refused(f"{SUB}/resourceGroups/{name}")
    refused(f"{SUB}/providers/A.B/t/{name}")
    refused(f"{SUB}/providers/A.B/{name}/n")
    refused(f"{SUB}/providers/{name}A.B{name}/t/n")
    with pytest.raises(Failure):
        ResourceId.parse(SUB).child("resourceGroups", name)


def test_length_is_bounded() -> None:
    fitting = "/providers/A.B/t/n" + "/t/" + "/t/".join("x" * 250 for _ in range(7))
    assert len(fitting) <= 2048
    ResourceId.parse(fitting)
    refused(fitting + "/t/" + "x" * 260)
    refused("/" * 2049)


def test_refusals_can_be_shown() -> None:
    with pytest.raises(Failure) as caught:
        ResourceId.parse("/\ud800" + "x" * 5000)
    assert len(caught.value.detail) < 300
    assert caught.value.detail.encode()


@given(st.text(max_size=80).map(lambda text: "/" + text) | st.text(st.sampled_from("/.ab provIDERS%"), max_size=60))
def test_any_text_is_an_id_or_is_refused(text: str) -> None:
    try:
        parsed = ResourceId.parse(text)
    except Failure:
        return
    assert ResourceId.parse(str(parsed)) == parsed
    assert list(parsed.lineage())[-1] == ROOT
    assert "/" in parsed.type
    assert parsed.key.encode()


def test_children_and_extensions_are_checked() -> None:
    group = ResourceId.parse(SUB).child("resourceGroups", "Shop")
    assert str(group) == GROUP
    vm = group.extension("Microsoft.Compute/virtualMachines", "Stock")
    assert str(vm) == VM
    assert str(vm.extension("Microsoft.Authorization/roleAssignments", "abc")) == ASSIGNMENT
    assert str(ROOT.extension("Microsoft.Management/managementGroups", "top")) == MANAGEMENT_GROUP
    for wrong in ("Microsoft.Compute", "Microsoft.Web/sites/slots", ""):
        with pytest.raises(ValueError, match="top-level"):
            group.extension(wrong, "x")


@pytest.mark.parametrize(
    "name", ["", "a/b", "a/", "/", "x/providers/Microsoft.Authorization/roleAssignments/y", "..", "a/../b"]
)
def test_a_name_is_one_segment(name: str) -> None:
    with pytest.raises(Failure) as caught:
        ResourceId.parse(GROUP).extension("Microsoft.Compute/virtualMachines", name)
    assert caught.value.kind is FailureKind.INVALID_RESOURCE_ID
    with pytest.raises(Failure):
        ResourceId.parse(VM).child("extensions", name)


def test_ids_compare_with_ids_only() -> None:
    assert ResourceId.parse(VM) != VM
    assert repr(ResourceId.parse(VM)) == f"ResourceId({VM!r})"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11111111-1111-1111-1111-111111111111", True),
        ("ABCDEF01-2345-6789-abcd-ef0123456789", True),
        ("11111111111111111111111111111111", False),
        ("{11111111-1111-1111-1111-111111111111}", False),
        ("11111111-1111-1111-1111-11111111111", False),
        ("11111111-1111-1111-1111-111111111111\n", False),
        ("g1111111-1111-1111-1111-111111111111", False),
        ("\u06611111111-1111-1111-1111-111111111111", False),
        ("", False),
    ],
)
def test_guids_have_one_form(text: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_guid(text) is expected


def test_places_compare_without_spaces_and_case() -> None:
    assert normalize_location("West Europe") == normalize_location("westeurope") == "westeurope"
