"""The conformance kit of the specification, scenario by scenario, on a real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility import kit, outside
from tests.compatibility.gherkin import Scenario, Step, read_file, read_folder

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "guides" / "conformance.md"
# Named here, so that each is a test of its own, and none can get lost with a file.
SCENARIOS = (
    "branch.feature: Fork Task With Competing Concurrent Sub Tasks",
    "call.feature: Call HTTP With Content Output",
    "call.feature: Call HTTP With Response Output",
    "call.feature: Call HTTP Using Basic Authentication",
    "call.feature: Call OpenAPI With Content Output",
    "call.feature: Call OpenAPI With Response Output",
    "data-flow.feature: Input Filtering",
    "data-flow.feature: Output Filtering",
    "data-flow.feature: Use Non-object Output",
    "do.feature: Task With Sequential Sub Tasks",
    "emit.feature: Emit Task",
    "flow.feature: Implicit Sequence Flow",
    "flow.feature: Explicit Sequence Flow",
    "for.feature: For Task",
    "raise.feature: Raise task with inline error",
    "set.feature: Set Task",
    "switch.feature: Switch task with matching case",
    "switch.feature: Switch task with implicit default case",
    "switch.feature: Switch task with explicit default case",
    "try.feature: Try Handle Caught Error",
    "try.feature: Try Raise Uncaught Error",
)


@pytest.fixture(scope="module")
def scenarios(shared: Path) -> dict[str, Scenario]:
    return {str(scenario): scenario for scenario in read_folder(shared / "ows-ctk")}


@pytest.fixture
def server() -> Iterator[outside.Outside]:
    with outside.serve() as running:
        yield running


def called(scenario: Scenario) -> set[str]:
    """The outside services that the scenario's flow calls."""
    flow = scenario.steps[0].document or ""
    return {host for host in outside.HOSTS if f"https://{host}/" in flow}


@pytest.mark.anyio
@pytest.mark.parametrize("name", SCENARIOS)
async def test_scenario(
    name: str, scenarios: dict[str, Scenario], tmp_path: Path, server: outside.Outside
) -> None:
    scenario = scenarios[name]
    await kit.play(scenario, tmp_path / "home", server.routes)
    assert {host for host, _ in server.seen} == called(scenario)


def test_the_kit_has_these_scenarios_and_no_others(scenarios: dict[str, Scenario]) -> None:
    assert tuple(scenarios) == SCENARIOS


def test_every_scenario_asserts_something(scenarios: dict[str, Scenario]) -> None:
    for scenario in scenarios.values():
        assert kit.assertions(scenario) > 0
        assert [kit.meaning(step) for step in scenario.steps]


def test_the_page_of_the_guide_is_true(shared: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == kit.page(shared / "ows-ctk")


# -- an assertion that does not hold fails its scenario ------------------------------------

FLOW = Step(
    "a workflow with definition:",
    "document: {dsl: 1.0.3, namespace: test, name: abc, version: 1.0.0}\n"
    "do: [{one: {set: {a: {b: [1, 2]}}}}, {two: {set: '${ . }'}}]\n",
)
EXECUTED = Step("the workflow is executed")
WRONG = [
    Step("the workflow should complete with output:", "a: {b: [1, 2.0]}"),
    Step("the workflow should complete with output:", "a: {b: [2, 1]}"),
    Step("the workflow should fault"),
    Step("the workflow should fault with error:", "status: 400"),
    Step("the workflow output should have properties 'a', 'a.c'"),
    Step("the workflow output should have properties 'a.b.c'"),
    Step("the workflow output should have a 'a.b' property with value:", "[1]"),
    Step("the workflow output should have a 'a.b' property containing 1 items"),
    Step("the workflow output should have a 'a' property containing 1 items"),
    Step("two should run first"),
    Step("one should run last"),
    Step("one should run after two"),
    Step("two should run after three"),
]
RIGHT = [
    Step("the workflow should complete"),
    Step("the workflow should complete with output:", "a: {b: [1, 2]}"),
    Step("the workflow output should have properties 'a', 'a.b'"),
    Step("the workflow output should have a 'a.b' property with value:", "[1, 2]"),
    Step("the workflow output should have a 'a.b' property containing 2 items"),
    Step("one should run first"),
    Step("two should run last"),
    Step("two should run after one"),
]


@pytest.mark.anyio
async def test_an_assertion_that_does_not_hold_is_noticed(tmp_path: Path) -> None:
    await kit.play(Scenario("own", "right", (FLOW, EXECUTED, *RIGHT)), tmp_path / "right", {})
    for number, wrong in enumerate(WRONG):
        scenario = Scenario("own", "wrong", (FLOW, EXECUTED, wrong))
        with pytest.raises(AssertionError):
            await kit.play(scenario, tmp_path / str(number), {})


@pytest.mark.anyio
async def test_a_flow_that_completes_or_faults_otherwise_is_noticed(tmp_path: Path) -> None:
    fails = Step(
        "a workflow with definition:",
        "document: {dsl: 1.0.3, namespace: test, name: abc, version: 1.0.0}\n"
        "do: [{no: {raise: {error: {type: 'https://example.com/no', status: 418}}}}]\n",
    )
    for number, wrong in enumerate(
        [
            Step("the workflow should complete"),
            Step("the workflow should fault with error:", "status: 418"),
        ]
    ):
        with pytest.raises(AssertionError):
            await kit.play(
                Scenario("own", "wrong", (fails, EXECUTED, wrong)), tmp_path / str(number), {}
            )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Scenario: no feature\n", "not understood"),
        ("Feature: a\nScenario: b\nwhat is this\n", "not understood"),
        ("Feature: a\nScenario: b\n| a | table |\n", "not understood"),
        ('Feature: a\nScenario: b\nGiven c\n"""\nno end\n', "without an end"),
        ('Feature: a\nScenario: b\nGiven c\n"""\n"""\n"""\n"""\n', "a second"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.feature"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_file(path)


def test_doc_strings_lose_the_indentation_of_their_fence(tmp_path: Path) -> None:
    path = tmp_path / "x.feature"
    path.write_text(
        "Feature: a\n  As whoever\n  # no\n\n  Scenario: b\n    Given c\n"
        '    """yaml\n    d:\n      # kept\n   e\n\n    """\n    And f\n'
    )
    (scenario,) = read_file(path)
    assert scenario.steps == (Step("c", "d:\n  # kept\ne\n\n"), Step("f"))
