"""Claims about one document, small enough to be read."""

from __future__ import annotations

import pytest

from qflow import _core
from tests.crdt.replicas import DOC, HASH_KEY, Author

ONE, TWO = Author(1), Author(2)


def document(author: Author = ONE) -> _core.CrdtDocument:
    return _core.CrdtDocument(DOC, replica=author.key, hash_key=HASH_KEY)


def write(document: _core.CrdtDocument, author: Author, path: str, value: object) -> bytes:
    draft = document.begin()
    draft.set(path, value)
    checked = draft.close(author.seed)
    document.apply(checked)
    return checked.pack()


def receive(document: _core.CrdtDocument, pack: bytes) -> None:
    document.apply(_core.check_changes(pack, doc=DOC, members=None))


@pytest.mark.holds("C1")
def test_reads_change_nothing() -> None:
    one = document()
    write(one, ONE, "/k", [1, 2])
    before = one.clock(), one.state_bytes(), one.delta()
    one.get("")
    one.siblings("/k")
    one.conflicts(10)
    one.history("/k")
    one.at(one.clock())
    one.stable([ONE.key])
    one.begin().get("/k")
    assert (one.clock(), one.state_bytes(), one.delta()) == before


@pytest.mark.holds("C2")
def test_the_same_pack_again_is_nothing() -> None:
    one, two = document(), document(TWO)
    pack = write(one, ONE, "/k", 1)
    receive(two, pack)
    before = two.state_bytes(), two.stats()
    receive(two, pack)
    receive(two, one.delta())
    assert (two.state_bytes(), two.stats()) == before


@pytest.mark.holds("C5")
def test_a_write_after_a_merge_wins() -> None:
    one, two = document(), document(TWO)
    for _ in range(9):
        write(two, TWO, "/k", "two")
    receive(one, two.delta())
    write(one, ONE, "/k", "one")
    receive(two, one.delta(two.clock()))
    assert one.get("/k") == two.get("/k") == "one"
    assert not two.conflicts(10)


@pytest.mark.holds("C6")
@pytest.mark.holds("C7")
def test_the_value_is_the_winner_of_the_conflict_that_is_told() -> None:
    one, two = document(), document(TWO)
    write(one, ONE, "/k", "one")
    write(two, TWO, "/k", "two")
    receive(one, two.delta())
    receive(two, one.delta())
    (conflict,) = one.conflicts(10)
    assert [conflict] == two.conflicts(10)
    siblings = one.siblings("/k")
    operations = sorted(bytes(sibling["operation"]) for sibling in siblings)
    assert sorted(map(bytes, conflict["operations"])) == operations
    winner = max(siblings, key=lambda sibling: (sibling["lamport"], sibling["replica"]))
    assert one.get("/k") == two.get("/k") == winner["value"]


@pytest.mark.holds("C11")
def test_what_was_not_saved_is_not_there() -> None:
    one = document()
    write(one, ONE, "/k", 1)
    before = one.clock(), one.state_bytes(), one.stats()
    draft = one.begin()
    draft.set("/k", 2)
    draft.increment("/n", 1)
    draft.close(ONE.seed, b"operation")
    one.abandon()
    assert (one.clock(), one.state_bytes(), one.stats()) == before
    assert not one.knows_operation(b"operation")


@pytest.mark.holds("C11")
def test_an_operation_id_is_known_wherever_its_change_is() -> None:
    one, two = document(), document(TWO)
    draft = one.begin()
    draft.increment("/n", 1)
    one.apply(draft.close(ONE.seed, b"operation"))
    receive(two, one.delta())
    assert one.knows_operation(b"operation")
    assert two.knows_operation(b"operation")
    assert not two.knows_operation(b"another")


@pytest.mark.holds("C3")
@pytest.mark.holds("C12")
def test_compaction_at_the_stable_cut_loses_nothing() -> None:
    """A change that did not see the cut, though its author's last one did."""
    one, two, three = document(), document(TWO), document(Author(3))
    write(one, ONE, "/k", 1)
    write(two, TWO, "/l", 2)
    receive(three, one.delta())
    write(three, Author(3), "/m", 3)
    receive(two, three.delta())
    write(two, TWO, "/n", 4)
    before = two.state_bytes()
    two.compact(two.stable([ONE.key, TWO.key, Author(3).key]))
    assert two.state_bytes() == before
