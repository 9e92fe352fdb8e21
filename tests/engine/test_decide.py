"""What the decisions of a flow are: one test a rule, in virtual time, without a node."""

from __future__ import annotations

from typing import Any

import pytest

from qflow.engine._state import Status
from tests.engine.world import START_MS, Failed, World

HEAD = """\
document: {dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0'}
"""


def flow(body: str) -> str:
    return HEAD + body


def output(body: str, value: Any = None, **options: Any) -> Any:
    world = World(flow(body), **options).run(value)
    assert world.state.status == Status.COMPLETED, world.state.problem
    return world.state.output


def test_steps_run_in_order_and_pass_their_output_on() -> None:
    body = """
do:
- one: {set: {n: '${ .n + 1 }'}}
- two: {set: {n: '${ .n * 10 }'}}
"""
    assert output(body, {"n": 1}) == {"n": 20}


def test_a_step_costs_one_batch_its_start_rides_with_the_commit_before() -> None:
    world = World(flow("do: [{a: {call: one}}, {b: {call: two}}]")).run({})
    assert world.facts() == ["created", "step_completed", "step_completed", "completed"]


def test_input_and_output_are_transformed_and_the_context_is_exported() -> None:
    body = """
input: {from: .outer}
do:
- one:
    input: {from: .inner}
    set: {got: '${ . }'}
    output: {as: .got}
    export: {as: '{ kept: . }'}
- two: {set: {sum: '${ $context.kept + . }'}}
output: {as: .sum}
"""
    assert output(body, {"outer": {"inner": 2}}) == 4


def test_if_false_skips_a_step() -> None:
    body = "do: [{a: {if: .go, set: {x: 1}}}]"
    assert output(body, {"go": False}) == {"go": False}


def test_then_jumps_backwards_and_each_visit_is_another_step() -> None:
    body = """
do:
- poll: {call: poll}
- check:
    switch:
    - again: {when: .n < 3, then: poll}
    - enough: {then: end}
"""
    world = World(flow(body), lambda step, number, value, _: {"n": value["n"] + 1}).run({"n": 0})
    assert world.state.output == {"n": 3}
    assert len({step for step, _ in world.calls}) == 3


def test_exit_leaves_the_list_and_end_the_flow() -> None:
    body = """
do:
- inner:
    do:
    - a: {set: {x: 1}, then: exit}
    - b: {set: {x: 2}}
- c: {set: {y: '${ .x }'}, then: end}
- d: {set: {y: 9}}
"""
    assert output(body) == {"y": 1}


def test_a_loop_feeds_each_iteration_with_the_one_before() -> None:
    body = """
do:
- loop:
    for: {each: n, in: .items, at: i}
    while: $i < 3
    do: [{add: {set: {items: '${ .items }', sum: '${ (.sum // 0) + $n }'}}}]
"""
    assert output(body, {"items": [1, 2, 3, 100]})["sum"] == 6


def test_a_concurrent_loop_keeps_the_order_of_its_items() -> None:
    body = """
do:
- loop:
    metadata: {qflow: {concurrency: 3}}
    for: {each: n, in: .items}
    do: [{work: {call: work, with: {n: '${ $n }'}}}]
"""
    world = World(flow(body), lambda *a: a[3]["n"] * 2).start({"items": [1, 2, 3, 4, 5]})
    assert sum(command.kind == "attempt" for command in world._asked) == 3
    assert world.settle().state.output == [2, 4, 6, 8, 10]


def test_fork_gives_all_outputs_in_order_and_compete_the_first() -> None:
    body = """
do:
- both:
    fork:
      compete: %s
      branches: [{a: {call: a}}, {b: {call: b}}]
"""
    act = lambda step, *_: step[-1]  # noqa: E731
    assert output(body % "false", act=act) == ["a", "b"]
    assert output(body % "true", act=act) == "a"


RETRY = """
do:
- outer:
    try: [{call: {call: work}}]
    catch:
      errors: {with: {status: 503}}
      retry:
        delay: {seconds: 2}
        backoff: {exponential: {}}
        limit: {attempt: {count: 4}}
"""


def test_retries_back_off_and_count_up() -> None:
    def act(step: str, number: int, *_: Any) -> Any:
        if number < 4:
            raise Failed()
        return "done"

    world = World(flow(RETRY), act).run()
    assert world.state.output == "done"
    assert [number for _, number in world.calls] == [1, 2, 3, 4]
    assert world.now - START_MS == (2 + 4 + 8) * 1000


def test_used_up_retries_let_the_error_through() -> None:
    def act(*_: Any) -> Any:
        raise Failed()

    world = World(flow(RETRY), act).run()
    assert world.state.status == Status.FAULTED
    assert world.state.problem["instance"] == "/do/0/outer/try/0/call"
    assert len(world.calls) == 4


def test_an_error_that_the_filter_does_not_name_is_not_caught() -> None:
    def act(*_: Any) -> Any:
        raise Failed(404)

    world = World(flow(RETRY), act).run()
    assert (world.state.status, len(world.calls)) == (Status.FAULTED, 1)


def test_attempt_numbers_never_repeat_in_nested_tries() -> None:
    body = """
do:
- outer:
    try:
    - inner:
        try: [{work: {call: work}}]
        catch: {errors: {with: {status: 503}}, retry: {limit: {attempt: {count: 2}}}}
    catch: {errors: {with: {status: 503}}, retry: {limit: {attempt: {count: 3}}}}
"""

    def act(*_: Any) -> Any:
        raise Failed()

    world = World(flow(body), act).run()
    numbers = [number for _, number in world.calls]
    assert len(numbers) == 6 == len(set(numbers))


def test_catch_do_sees_the_error_under_its_name() -> None:
    body = """
do:
- attempt:
    try: [{bad: {raise: {error: {type: 'https://e.com/x', status: 418, title: Tea}}}}]
    catch: {as: err, do: [{keep: {set: {title: '${ $err.title }'}}}]}
"""
    assert output(body) == {"title": "Tea"}


def test_a_step_that_is_too_slow_times_out_and_can_be_caught() -> None:
    body = """
do:
- guard:
    try: [{slow: {wait: PT1H, timeout: {after: PT1S}}}]
    catch: {as: e, do: [{keep: {set: {status: '${ $e.status }'}}}]}
"""
    assert output(body) == {"status": 408}


def test_the_flow_itself_times_out() -> None:
    world = World(flow("timeout: {after: PT5S}\ndo: [{w: {wait: PT1H}}]")).run()
    assert world.state.status == Status.FAULTED
    assert world.now - START_MS == 5000


def test_wait_passes_its_input_on() -> None:
    world = World(flow("do: [{w: {wait: {minutes: 2}}}]")).run({"x": 1})
    assert (world.state.output, world.now - START_MS) == ({"x": 1}, 120_000)


def test_a_function_of_the_flow_runs_below_its_caller() -> None:
    body = """
use: {functions: {double: {set: {n: '${ .n * 2 }'}}}}
do: [{a: {call: double, with: {n: '${ .k }'}}}]
"""
    assert output(body, {"k": 4}) == {"n": 8}


def event(kind: str, data: Any = None) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "urn:t", "type": kind, "data": data}


def test_listen_takes_what_matches_and_nothing_else() -> None:
    body = """
do: [{l: {listen: {to: {one: {with: {type: a.b, data: '${ .n == $input.n }'}}}}}}]
"""
    world = World(flow(body)).run({"n": 2})
    assert world.state.status == Status.WAITING
    assert not world.post("event_received", value=event("a.c", {"n": 2}))
    assert not world.post("event_received", value=event("a.b", {"n": 1}))
    assert not world.post("event_received", value=event("a.b", "no object"))
    assert world.post("event_received", value=event("a.b", {"n": 2}))
    assert world.settle().state.output == [{"n": 2}]


def test_listen_to_all_wants_each_once() -> None:
    body = "do: [{l: {listen: {to: {all: [{with: {type: a}}, {with: {type: b}}]}}}}]"
    world = World(flow(body)).run()
    assert world.post("event_received", value=event("b", 1))
    assert not world.post("event_received", value=event("b", 2))
    assert world.post("event_received", value=event("a", 3))
    assert world.settle().state.output == [1, 3]


def test_listen_until_another_event_runs_its_steps_for_each() -> None:
    body = """
do:
- l:
    listen: {to: {any: [{with: {type: a}}], until: {one: {with: {type: stop}}}}}
    foreach: {item: e, at: i, do: [{c: {call: c, with: {e: '${ $e }', i: '${ $i }'}}}]}
"""
    world = World(flow(body), lambda *a: [a[3]["e"], a[3]["i"]]).run()
    for n in (5, 6):
        assert world.post("event_received", value=event("a", n))
    assert world.post("event_received", value=event("stop"))
    assert world.settle().state.output == [[5, 0], [6, 1]]


def test_correlation_keeps_events_of_one_key_together() -> None:
    body = """
do:
- l:
    listen:
      to:
        all:
        - {with: {type: a}, correlate: {order: {from: .data.order}}}
        - {with: {type: b}, correlate: {order: {from: .data.order}}}
"""
    world = World(flow(body)).run()
    assert world.post("event_received", value=event("a", {"order": 1}))
    assert not world.post("event_received", value=event("b", {"order": 2}))
    assert world.post("event_received", value=event("b", {"order": 1}))


def test_emit_gives_a_whole_event() -> None:
    body = "do: [{e: {emit: {event: {with: {source: 'https://s.com', type: t, data: {a: 1}}}}}}]"
    world = World(flow(body)).run()
    assert world.state.output == world.emitted[0]
    assert {"id", "specversion", "time", "source", "type", "data"} <= world.emitted[0].keys()


@pytest.mark.holds("E5")
def test_pause_holds_at_the_next_step_and_resume_goes_on() -> None:
    world = World(flow("do: [{a: {call: a}}, {b: {call: b}}]")).start({})
    assert world.post("paused")
    world.settle()
    assert [step for step, _ in world.calls] == ["/do/0/a"]
    assert world.state.status == Status.PAUSED
    world.crash().settle()
    assert len(world.calls) == 1
    assert world.post("resumed")
    assert world.settle().state.status == Status.COMPLETED


@pytest.mark.holds("E5")
def test_timers_do_not_fire_while_paused_and_are_kept() -> None:
    world = World(flow("do: [{w: {wait: PT1S}}]")).start()
    world.post("paused")
    world.now += 5000
    assert not world.post("timer_fired", frame=2, value="wait")
    assert world.crash().state.status == Status.PAUSED
    world.post("resumed")
    assert world.settle().state.status == Status.COMPLETED


@pytest.mark.holds("E5")
def test_abort_ends_an_execution_for_good() -> None:
    world = World(flow("do: [{a: {call: a}}]")).start()
    assert world.post("aborted", meta={"reason": "enough"})
    assert world.state.status == Status.ABORTED
    assert not world.post("resumed")


def test_an_endless_loop_yields_between_its_turns() -> None:
    body = "do: [{a: {set: {n: 1}, then: a}}]"
    world = World(flow(body)).start()
    for _ in range(5):
        assert world.step()
    assert world.facts().count("continued") == 5


def test_an_interrupted_step_is_reported_when_the_flow_says_so() -> None:
    body = "do: [{a: {call: a, metadata: {qflow: {interrupted: report}}}}]"
    world = World(flow(body)).start()
    world.crash()
    assert world.state.status == Status.FAULTED
    assert world.state.problem["title"] == "Interrupted"
