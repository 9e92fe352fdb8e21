"""Documents in flows: what an expression sees of them was read before, and is a fact."""

from __future__ import annotations

from typing import Any

import pytest

from qflow.engine._replay import replay
from qflow.engine._state import Status
from qflow.errors import ReplayError
from tests.engine.flows import head_with, problem, problems
from tests.engine.world import KEY, Failed, World

HEAD = head_with("""{documents: {cart: '${ "shop/cart/" + .customer }', stock: shop/stock}}""")
CART = {"items": {"tea": 2, "milk": 1}, "total": 7, "tags": ["a"]}
ADA = {"customer": "ada"}


def shop(tasks: str, **options: Any) -> World:
    world = World(f"{HEAD}do:\n{tasks}\n", **options)
    world.documents = {"shop/cart/ada": CART, "shop/stock": {"tea": 5, "milk": 0}}
    return world


def test_an_expression_reads_a_document_whose_name_follows_from_the_input() -> None:
    world = shop("- a: {set: '${ {sum: $documents.cart.total} }'}").run(ADA)
    assert world.state.output == {"sum": 7}
    assert world.read == [("shop/cart/ada", [["total"]])]
    assert world.facts() == ["created", "documents_read", "step_completed", "completed"]


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("$documents.cart.total", [["total"]]),
        ("$documents.cart.items.tea + $documents.cart.total", [["items", "tea"], ["total"]]),
        ("$documents.cart.items.tea, $documents.cart.items", [["items"]]),
        ("$documents.cart.items | keys", [["items"]]),
        ('$documents.cart["items"]["tea"]', [["items", "tea"]]),
        ("$documents.cart.tags[0]", [["tags"]]),
        ("$documents.cart.items[.customer]", [["items"]]),
        ("$documents.cart as $c | $c.total", [[]]),
        ("$documents.cart", [[]]),
    ],
)
def test_only_what_an_expression_spells_out_is_read(
    expression: str, parts: list[list[str]]
) -> None:
    world = shop(f"- a: {{set: {{x: '${{ {expression} }}'}}}}").run(ADA)
    assert world.state.status == Status.COMPLETED, world.state.problem
    assert world.read == [("shop/cart/ada", parts)]


def test_all_of_each_is_read_where_it_is_not_known_which() -> None:
    world = shop("- a: {set: {x: '${ $documents | keys }'}}").run(ADA)
    assert world.state.output == {"x": ["cart", "stock"]}
    assert world.read == [("shop/cart/ada", [[]]), ("shop/stock", [[]])]


def test_a_task_that_mentions_no_document_reads_none() -> None:
    world = shop("- a: {set: {x: 1}}\n- b: {call: work}").run(ADA)
    assert world.read == []
    assert "documents_read" not in world.facts()


def test_what_is_not_there_is_null() -> None:
    world = shop("- a: {set: {x: '${ $documents.cart.none.such }'}}").run(ADA)
    assert world.state.output == {"x": None}


def test_each_task_sees_the_document_as_it_stood_when_the_task_began() -> None:
    def act(step: str, number: int, value: Any, arguments: Any) -> Any:
        if step.endswith("/change"):
            world.documents["shop/stock"] = {"tea": 4}
        return arguments

    tasks = """\
- change: {call: change, with: {tea: '${ $documents.stock.tea }'}, output: {as:
    '${ [., $documents.stock.tea] }'}}
- after: {set: {before: '${ . }', now: '${ $documents.stock.tea }'}}"""
    world = shop(tasks, act=act)
    world.run(ADA)
    assert world.state.output == {"before": [{"tea": 5}, 5], "now": 4}


def test_the_tasks_of_a_loop_read_for_themselves() -> None:
    def act(step: str, number: int, value: Any, arguments: Any) -> Any:
        world.documents["shop/stock"]["tea"] -= 1
        return arguments["tea"]

    tasks = """\
- each:
    if: $documents.stock.tea > 0
    for: {each: n, in: '[range($documents.stock.tea)]'}
    do: [{sell: {call: sell, with: {tea: '${ $documents.stock.tea }'}}}]"""
    world = shop(tasks, act=act)
    world.run(ADA)
    assert world.state.output == 1
    assert len(world.read) == 1 + 5


@pytest.mark.holds("E2", "E3")
@pytest.mark.parametrize("at", range(14))
def test_a_crash_anywhere_leaves_what_was_read(at: int) -> None:
    tasks = """\
- a: {set: {x: '${ $documents.stock.tea }'}}
- b: {call: work, with: {tea: '${ $documents.stock.tea }'}}
- c: {if: $documents.stock.tea == 3, set: {a: '${ . }', c: '${ $documents.cart.total }'}}"""
    world = shop(tasks, act=lambda step, number, value, arguments: arguments).start(ADA)
    for _ in range(at):
        world.step()
    seen = [fact for fact in world.facts() if fact == "documents_read"]
    if world.state.status not in (Status.COMPLETED, Status.FAULTED):
        world.documents["shop/stock"] = {"tea": 3}
        world.crash().settle()
    assert world.state.status == Status.COMPLETED, world.state.problem
    # What had been read was not read again.
    assert world.facts().count("documents_read") == 3
    first = next(e.payload for e in world.entries(0) if "documents_read" in e.record["type"])
    assert first["stock"]["value"]["tea"] == (5 if seen else 3)


@pytest.mark.holds("E3")
def test_a_chain_that_says_it_read_something_else_is_refused() -> None:
    world = shop("- a: {set: {x: '${ $documents.stock.tea }'}}").run(ADA)
    chain = list(world.entries())
    (at,) = [i for i, e in enumerate(chain) if "documents_read" in e.record["type"]]
    found = chain[at].payload
    found["stock"]["value"]["tea"] = 6
    with pytest.raises(ReplayError):
        replay(world.flow, world.live.id, chain, KEY)


def test_a_replay_needs_no_document() -> None:
    world = shop("- a: {set: {x: '${ $documents.stock.tea }'}}\n- w: {wait: PT1S}").start(ADA)
    world.step()
    world.documents = {}
    world.crash().settle()
    assert world.state.output == {"x": 5}
    assert len(world.read) == 1


def test_a_pause_holds_the_step_whose_documents_were_read() -> None:
    world = shop("- a: {set: {x: '${ $documents.stock.tea }'}}").start(ADA)
    world.post("paused")
    world.settle()
    assert world.state.status == Status.PAUSED
    assert "documents_read" in world.facts()
    world.crash()
    world.post("resumed")
    assert world.settle().state.output == {"x": 5}
    assert len(world.read) == 1


def test_a_reading_that_fails_can_be_caught() -> None:
    tasks = """\
- t:
    try: [{a: {set: {x: '${ $documents.cart.total }'}}}]
    catch: {as: e, do: [{b: {set: {why: '${ $e.title }'}}}]}"""
    head = HEAD.replace("""'${ "shop/cart/" + .customer }'""", "broken")
    world = World(f"{head}do:\n{tasks}\n").run(ADA)
    assert world.state.output == {"why": "It is broken"}


def test_a_name_that_is_no_text_fails_the_step_that_needs_it() -> None:
    tasks = "- fine: {set: {x: 1}}\n- a: {set: {x: '${ $documents.cart.total }'}}"
    head = HEAD.replace("""'${ "shop/cart/" + .customer }'""", "'${ .customer }'")
    world = World(f"{head}do:\n{tasks}\n").run({"customer": 3})
    assert world.state.problem["title"] == "Not the name of a document"
    assert world.state.problem["instance"] == "/do/1/a"


def test_an_interrupted_reading_is_made_again_even_where_attempts_are_reported() -> None:
    tasks = """\
- a:
    metadata: {qflow: {interrupted: report}}
    call: work
    with: {tea: '${ $documents.stock.tea }'}"""
    world = shop(tasks, act=lambda step, number, value, arguments: arguments).start(ADA)
    assert world.crash().settle().state.output == {"tea": 5}


def test_a_retry_reads_again() -> None:
    def act(step: str, number: int, value: Any, arguments: Any) -> Any:
        if number == 1:
            world.documents["shop/stock"] = {"tea": 4}
            raise Failed()
        return arguments

    tasks = """\
- t:
    try: [{a: {call: work, with: {tea: '${ $documents.stock.tea }'}}}]
    catch: {retry: {limit: {attempt: {count: 2}}}}"""
    world = shop(tasks, act=act)
    world.run(ADA)
    assert world.state.output == {"tea": 4}


# -- loading -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ("[]", "", "must be an object"),
        ("[1]", "", "must be an object"),
        ("text", "", "must be an object"),
        ("{document: {}}", "/document", "unknown option 'document'"),
        ("{documents: [a]}", "/documents", "must be an object"),
        ("{documents: {a-b: x}}", "/documents/a-b", "no name for a document"),
        ("{documents: {a: 3}}", "/documents/a", "must be a text"),
        ("{documents: {a: ''}}", "/documents/a", "must be a text"),
        (f"{{documents: {{a: {'x' * 201}}}}}", "/documents/a", "at most 200"),
        ("{documents: {a: '${ .x | }'}}", "/documents/a", ""),
        ("{documents: {a: '${ $context }'}}", "/documents/a", ""),
    ],
)
def test_what_a_flow_says_of_its_documents_is_checked(
    options: str, path: str, message: str
) -> None:
    found = problem(f"{head_with(options)}do: [{{a: {{set: {{x: 1}}}}}}]\n")
    assert found.path == f"/document/metadata/qflow{path}"
    assert message in found.message


def test_a_document_that_the_flow_does_not_name_is_refused_with_the_one_that_was_meant() -> None:
    found = problem(f"{HEAD}do:\n- a: {{if: $documents.card.total > 1, set: {{x: 1}}}}\n")
    assert found.path == "/do/0/a/if"
    assert "'card'" in found.message
    assert "cart" in (found.fix or "")


def test_documents_are_not_in_scope_where_nothing_is_read() -> None:
    found = problem(f"{HEAD}output: {{as: $documents.cart}}\ndo: [{{a: {{set: {{x: 1}}}}}}]\n")
    assert found.path == "/output/as"
    assert "tasks" in (found.fix or "")


def test_no_variable_of_a_task_hides_the_documents() -> None:
    tasks = "- a: {for: {each: documents, in: '[1]'}, do: [{b: {set: {x: 1}}}]}"
    found = problems(f"{HEAD}do:\n{tasks}\n")
    assert {item.message for item in found} == {"$documents is taken by the flow's documents"}


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ("{set: {/a: 1}}", "/document", "must be a name"),
        ("{document: card, set: {/a: 1}}", "/document", "must be a name"),
        ("{document: [1], set: {/a: 1}}", "/document", "must be a name"),
        ("{document: cart}", "", "changes nothing"),
        ("{document: cart, put: {/a: 1}}", "/put", "unknown field"),
        ("{document: cart, set: [1]}", "/set", "must be an object"),
        ("{document: cart, delete: {/a: 1}}", "/delete", "must be a list"),
    ],
)
def test_a_call_that_writes_is_checked(arguments: str, path: str, message: str) -> None:
    found = problems(f"{HEAD}do:\n- w: {{call: document, with: {arguments}}}\n")
    assert (f"/do/0/w/with{path}", True) in [(item.path, message in item.message) for item in found]


def test_a_call_that_writes_knows_the_whole_name() -> None:
    world = shop("- w: {call: document, with: {document: cart, delete: [/a]}}").start(ADA)
    (frame,) = [frame for frame in world.state.frames.values() if frame.kind == "call"]
    assert frame.data["document"] == "shop/cart/ada"


def test_a_function_of_the_flow_may_have_the_name_of_the_call() -> None:
    functions = "use: {functions: {document: {set: {mine: true}}}}\n"
    world = World(f"{HEAD}{functions}do:\n- w: {{call: document, with: {{}}}}\n").run(ADA)
    assert world.state.output == {"mine": True}
