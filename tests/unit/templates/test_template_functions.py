from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.templates.template_world import GROUP, SUB, evaluator, value

from idplane.templates.context_functions import CONTEXTUAL
from idplane.templates.facts import NOWHERE, Locals
from idplane.templates.library import LIBRARY
from idplane.templates.limits import Budget
from idplane.templates.problems import TemplateProblem


@pytest.mark.parametrize(
    ("expression", "means"),
    [
        # Strings
        ("concat('a', 1, true())", "a1True"),
        ("concat(createArray(1), createArray(2, 3))", [1, 2, 3]),
        ("base64('hello')", "aGVsbG8="),
        ("base64ToString('aGVsbG8=')", "hello"),
        ("base64ToJson('eyJhIjoxfQ==')", {"a": 1}),
        ("dataUriToString(dataUri('x y'))", "x y"),
        ("contains('OneTwo', 'eT')", True),
        ("contains('OneTwo', 'et')", False),
        ("contains(createObject('One', 1), 'one')", True),
        ("contains(createArray('a', 1), 1)", True),
        ("contains(createArray('1'), 1)", False),
        ("endsWith('abcdef', 'EF')", True),
        ("startsWith('abcdef', 'AB')", True),
        ("format('{0}, {1} {{x}}', 'Hello', 5)", "Hello, 5 {x}"),
        ("format('{0:N0}|{0:D6}|{0,8}|{0,-6}|{0:000}', 1234)", "1,234|001234|    1234|1234  |1234"),
        ("indexOf('test', 'T')", 0),
        ("lastIndexOf('test', 'T')", 3),
        ("indexOf(createArray('a', 'b'), 'b')", 1),
        ("join(createArray('a', 1, 'c'), '-')", "a-1-c"),
        ("json('{\"a\": [1, null, 1.5]}').a", [1, None, 1.5]),
        ("json('.25')", 0.25),
        ("json('-.5')", -0.5),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope')", ["1"]),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope', 2, 1)", ["2", "3"]),
        ("padLeft('123', 6, '0')", "000123"),
        ("padLeft(7, 3)", "  7"),
        ("replace('a-b-c', '-', '')", "abc"),
        ("split('a,b;c', createArray(',', ';'))", ["a", "b", "c"]),
        ("split('a,b', ',')", ["a", "b"]),
        ("string(createObject('a', createArray(1, true())))", '{"a":[1,true]}'),
        ("substring('abcdef', 2, 3)", "cde"),
        ("substring('abcdef', 2)", "cdef"),
        ("toUpper(toLower('aBc'))", "ABC"),
        ("trim('  a ')", "a"),
        ("uri('https://x.test/a/', 'b/c')", "https://x.test/a/b/c"),
        ("uriComponentToString(uriComponent('a b/c'))", "a b/c"),
        ("guid('a', 'b')", str(uuid.uuid5(uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830"), "a-b"))),
        # Arrays and objects
        ("array('a')", ["a"]),
        ("array(createArray('a'))", ["a"]),
        ("createObject('a', null()).a", None),
        ("empty('')", True),
        ("empty(createObject())", True),
        ("empty(null())", True),
        ("first('abc')", "a"),
        ("last(createArray(1, 2))", 2),
        ("first(createArray())", None),
        ("flatten(createArray(createArray(1), createArray(2, 3)))", [1, 2, 3]),
        ("intersection(createArray(1, 2, 3), createArray(3, 2))", [2, 3]),
        ("intersection(createObject('a', 1, 'b', 2), createObject('a', 1, 'b', 3))", {"a": 1}),
        ("union(createArray(1, 2), createArray(2, 3))", [1, 2, 3]),
        ('union(json(\'{"a":{"x":1}}\'), json(\'{"a":{"y":2},"b":3}\'))', {"a": {"x": 1, "y": 2}, "b": 3}),
        ("items(createObject('b', 1, 'a', 2))", [{"key": "a", "value": 2}, {"key": "b", "value": 1}]),
        ("objectKeys(createObject('b', 1, 'a', 2))", ["a", "b"]),
        ("shallowMerge(createArray(createObject('a', 1), createObject('a', 2)))", {"a": 2}),
        ("length(createObject('a', 1))", 1),
        ("length('abc')", 3),
        ("range(3, 3)", [3, 4, 5]),
        ("skip('hello', 2)", "llo"),
        ("take(createArray(1, 2, 3), 2)", [1, 2]),
        ("take('hello', 99)", "hello"),
        ("tryGet(createObject('a', createObject('b', 1)), 'a', 'b')", 1),
        ("tryGet(createObject('a', 1), 'x', 'y')", None),
        ("tryGet(createArray(1), 1)", None),
        ("indexFromEnd(createArray(1, 2, 3), 1)", 3),
        # Numbers, logic, comparison
        ("add(1, sub(5, mul(2, 2)))", 2),
        ("div(-7, 2)", -3),
        ("mod(-7, 2)", -1),
        ("int('42')", 42),
        ("float('1.5')", 1.5),
        ("max(createArray(1, 5, 3))", 5),
        ("min(4, 2)", 2),
        ("bool('TRUE')", True),
        ("bool(0)", False),
        ("and(true(), not(false()))", True),
        ("or(false(), false())", False),
        ("equals(createObject('a', createArray(1)), createObject('a', createArray(1)))", True),
        ("equals('a', 'A')", False),
        ("equals(1, true())", False),
        ("greater('b', 'a')", True),
        ("lessOrEquals(2, 2)", True),
        ("coalesce(null(), 'x')", "x"),
        ("if(true(), 'a', json('not json'))", "a"),
        # Dates
        ("dateTimeAdd('2026-01-31T00:00:00Z', 'P1M', 'yyyy-MM-dd')", "2026-02-28"),
        ("dateTimeAdd('2026-03-01 10:00:00Z', '-PT90M')", "2026-03-01 08:30:00Z"),
        ("dateTimeToEpoch('2026-01-01T00:00:00Z')", 1767225600),
        ("dateTimeFromEpoch(0)", "1970-01-01T00:00:00Z"),
        # Networks
        ("cidrSubnet('10.144.0.0/20', 24, 1)", "10.144.1.0/24"),
        ("cidrHost('10.0.0.0/24', 0)", "10.0.0.1"),
        ("parseCidr('10.144.0.0/20').broadcast", "10.144.15.255"),
        # Lambdas
        ("map(createArray(1, 2), lambda('x', mul(lambdaVariables('x'), 2)))", [2, 4]),
        ("map(createArray('a'), lambda('x', 'i', concat(lambdaVariables('x'), lambdaVariables('i'))))", ["a0"]),
        ("filter(range(0, 6), lambda('x', equals(mod(lambdaVariables('x'), 2), 0)))", [0, 2, 4]),
        ("sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))", [1, 2, 3]),
        ("reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))", 10),
        ("toObject(createArray('a', 'b'), lambda('x', lambdaVariables('x')), lambda('x', 1))", {"a": 1, "b": 1}),
        ("groupBy(createArray('a1', 'b1', 'a2'), lambda('x', first(lambdaVariables('x'))))", {"a": ["a1", "a2"], "b": ["b1"]}),
        ("mapValues(createObject('a', 1), lambda('v', add(lambdaVariables('v'), 1)))", {"a": 2}),
        # Members and indexes
        ("createObject('aB', createArray(5, 6)).Ab[1]", 6),
        ("createObject('a b', 1)['a b']", 1),
        ("createObject('a', 1).?b", None),
        ("createArray(1)[?5]", None),
        ("null().?a", None),
    ],
)
def test_functions(expression: str, means: object) -> None:
    found = value(expression)
    assert found == means
    assert type(found) is type(means)


@pytest.mark.parametrize(
    ("expression", "means"),
    [
        ("resourceId('Microsoft.Web/sites', 'a')", f"{GROUP}/providers/Microsoft.Web/sites/a"),
        ("resourceId('Microsoft.Web/sites/slots', 'a', 'b')", f"{GROUP}/providers/Microsoft.Web/sites/a/slots/b"),
        ("resourceId('Microsoft.Web/sites/slots', 'a/b')", f"{GROUP}/providers/Microsoft.Web/sites/a/slots/b"),
        ("resourceId('other', 'Microsoft.Web/sites', 'a')", f"{SUB}/resourceGroups/other/providers/Microsoft.Web/sites/a"),
        ("resourceId('s', 'g', 'A.B/c', 'd')", "/subscriptions/s/resourceGroups/g/providers/A.B/c/d"),
        ("subscriptionResourceId('A.B/c', 'd')", f"{SUB}/providers/A.B/c/d"),
        ("subscriptionResourceId('s', 'A.B/c', 'd')", "/subscriptions/s/providers/A.B/c/d"),
        ("tenantResourceId('A.B/c', 'd')", "/providers/A.B/c/d"),
        ("extensionResourceId(resourceGroup().id, 'A.B/c', 'd')", f"{GROUP}/providers/A.B/c/d"),
        (
            "managementGroupResourceId('m', 'A.B/c', 'd')",
            "/providers/Microsoft.Management/managementGroups/m/providers/A.B/c/d",
        ),
        ("resourceGroup().location", "westeurope"),
        ("tenant().tenantId", "t"),
        ("deployment().name", "main"),
    ],
)
def test_functions_that_know_where_they_are(expression: str, means: str) -> None:
    assert value(expression) == means


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("concat(createArray(1), 'a')", "must all be arrays"),
        ("substring('abc', 2, 5)", "The length of the string is '3'"),
        ("createObject('a')", "even number"),
        ("div(1, 0)", "the divisor is zero"),
        ("add(9223372036854775807, 1)", "beyond 64 bits"),
        ("int('x')", "cannot be converted"),
        ("split(1, ',')", "The template language function 'split' expects its first parameter to be of type 'String'"),
        ("toLower()", "function requires 1 argument(s) while 0 were provided"),
        (
            "createObject('a', 1, 'b', 2).c",
            "The language expression property 'c' doesn't exist, available properties are 'a, b'",
        ),
        ("createArray(1)[1]", "The language expression property array index '1' is out of bounds"),
        ("null().a", "can't be evaluated"),
        ("parameters('x')", "The template parameter 'x' is not found"),
        ("variables('x')", "The template variable 'x' is not found"),
        ("copyIndex()", "The template function 'copyIndex' is not expected at this location"),
        ("utcNow()", "The template function 'utcNow' is not expected at this location"),
        ("newGuid()", "is not expected at this location"),
        ("reference('x')", "The template function 'reference' is not expected at this location"),
        ("listKeys('x', '2020-01-01')", "is not expected at this location"),
        ("resourceId('Microsoft.Web/sites', 'a', 'b')", "requires '1' resource name argument(s)"),
        ("resourceId('sites', 'a')", "fully qualified resource type"),
        ("range(0, 10001)", "the count must be 0 to 10000"),
        ("format('{1}', 'a')", "names an argument that is not there"),
        ("map(createArray(1), 'x')", "must be a lambda function"),
        ("json('{')", "is not valid JSON"),
        ("json('NaN')", "is not valid JSON"),
        ("json('.')", "is not valid JSON"),
        ("json('1.')", "is not valid JSON"),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope', 4)", "3 zones"),
        ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope', 0)", "3 zones"),
        ("providers('Nobody.Knows', 'things')", "is not known to this plane"),
        ("dateTimeAdd('yesterday', 'P1D')", "is not a date and time"),
        ("dateTimeAdd('2026-01-01T00:00:00Z', 'soon')", "is not an ISO 8601 duration"),
        ("dateTimeAdd('9999-12-31T00:00:00Z', 'P999999D')", "no date"),
        ("cidrSubnet('10.0.0.0/24', 8, 0)", "no such subnet"),
        ("fail('because')", "because"),
    ],
)
def test_functions_that_refuse(expression: str, words: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        value(expression)
    assert words in refused.value.plain


def test_time_and_fresh_guids_are_for_defaults_alone() -> None:
    local = Locals(default=True)
    assert value("utcNow()", local) == "20260304T050607Z"
    assert value("utcNow('d')", local) == "03/04/2026"
    assert value("utcNow('yyyy-MM-dd HH:mm:ss.fff tt ddd MMMM')", local) == "2026-03-04 05:06:07.000 AM Wed March"
    assert value("newGuid()", local) == "00000000-0000-4000-8000-000000000001"


def test_unique_strings_stay_as_they_are() -> None:
    """Names of resources are made of them: another release must give the same."""
    assert value("uniqueString('a')") == "2xs33nizsiapj"
    assert len({value("uniqueString('a', 'b')"), value("uniqueString('ab')"), value("uniqueString('b', 'a')")}) == 3


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_unique_strings_can_be_names(texts: list[str]) -> None:
    written = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
    found = value(f"uniqueString({written})")
    assert len(found) == 13
    assert found.islower() or found.isdigit()
    assert found.isascii()
    assert found.isalnum()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda it: st.lists(it) | st.dictionaries(st.text(), it),
)


@given(JSON)
def test_json_text_and_back(found: Any) -> None:
    assert value("json(string(createArray(parameters('x'))))", x=found) == [found]


@given(st.lists(st.integers()))
def test_sorting_orders(numbers: list[int]) -> None:
    assert value(
        "sort(parameters('x'), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))", x=numbers
    ) == sorted(numbers)


def test_work_is_bounded() -> None:
    """Each of these would be huge, from a few characters."""
    loops = "range(0, 1000)"
    nested = f"map({loops}, lambda('a', map({loops}, lambda('b', {loops}))))"
    growing = "reduce(range(0, 60), parameters('s'), lambda('a', 'b', concat(lambdaVariables('a'), lambdaVariables('a'))))"
    pairs = "reduce(range(0, 60), parameters('x'), lambda('a', 'b', createArray(lambdaVariables('a'), lambdaVariables('a'))))"
    for expression in (nested, growing, pairs):
        with pytest.raises(TemplateProblem):
            value(expression, x=[1], s="a" * 1000)


def test_the_budget_is_for_the_whole_template() -> None:
    found = evaluator(x=1)
    found.budget = Budget(50)
    with pytest.raises(TemplateProblem) as refused:
        found.evaluate(["[concat('a', 'b')]"] * 20, NOWHERE)
    assert refused.value.code == "TemplateTooExpensive"


def test_every_function_is_on_the_page_and_none_that_is_not_there() -> None:
    page = (
        (Path(__file__).parents[3] / "docs" / "compatibility.md")
        .read_text()
        .partition("## Templates")[2]
        .partition("## Api-versions")[0]
    )
    table = page.partition("| Functions |")[2].partition("Limits are")[0]
    named = set(re.findall(r"`([A-Za-z0-9*]+)`", table))
    assert {one.lower() for one in named} == {*LIBRARY, *CONTEXTUAL}
    assert {one.name for one in LIBRARY.values()} <= named
