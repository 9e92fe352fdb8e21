"""Every query gives what reading the whole log would give, or an error: never less."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qflow import _core, model
from qflow.audit import History, Index, Query
from qflow.audit._query import full_type
from qflow.errors import CorruptError, ExecutionNotFoundError, UnavailableError
from tests.audit.chains import (
    NODE_CHAIN,
    Chain,
    MemorySource,
    begin,
    chain_id,
    put,
    some_of_each,
)
from tests.log.logs import frames, open_log
from tests.log.pruning import OWN, prune

FLOWS = ["shop/order/1.0.0", "shop/order/2.0.0", "shop/return/1.0.0", "bank/order/1.0.0"]
KINDS = ["step_completed", "step_failed", "continued", "q.qflow.checkpoint.created.v1"]
ACTORS = ["ann", "ANN", "bob@example.org", "", "*", "eve"]
NODES = ["node-1", "node-2"]
SUBNETS = ["default", "other"]
NOTES = ["charged 5", "Straße", "東京", 'a "quoted" word', "a=b", "x" * 70 + "y", "x" * 70 + "z"]
AT = 1_700_000_000_000


class Chance:
    """The same choices for the same seed, on every machine."""

    def __init__(self, seed: int) -> None:
        self.seed, self.count = seed, 0

    def below(self, end: int) -> int:
        self.count += 1
        digest = hashlib.sha256(b"%d %d" % (self.seed, self.count)).digest()
        return int.from_bytes(digest[:8], "big") % end

    def choice(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def happens(self, percent: int) -> bool:
        return self.below(100) < percent


class Life:
    """One execution of a random log."""

    def __init__(self, number: int, chance: Chance) -> None:
        self.chain, self.chance = chain_id(number), chance
        self.flow = FLOWS[number % len(FLOWS)]
        self.seq, self.prev, self.ended = 0, bytes(32), False

    def frame(self, at: int, rare: bool) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        kinds = ["q.qflow.exec.created.v1"] if self.seq == 0 else []
        for _ in range(1 + self.chance.below(12)):
            kind = self.chance.choice(KINDS)
            kinds.append(kind if kind.startswith("q.") else f"q.qflow.exec.{kind}.v1")
        if self.chance.happens(20):
            self.ended = True
            kinds.append("q.qflow.exec.completed.v1")
        facts = [(kind, self._step(), 1, ({"n": self.seq},), self._meta(rare)) for kind in kinds]
        records, blocks, self.prev = _core.encode_records(
            self.chain,
            self.seq,
            self.prev,
            self.flow,
            # Clocks go backwards, too.
            at - 500 + self.chance.below(1000),
            "rare" if rare else self.chance.choice(ACTORS),
            self.chance.choice(NODES),
            self.chance.choice(SUBNETS),
            0,
            facts,
        )
        self.seq += len(records)
        return records, blocks

    def _step(self) -> str | None:
        return (None, "/do/0/charge", "/do/1/refund")[self.chance.below(3)]

    def _meta(self, rare: bool) -> dict[str, Any]:
        note = "needle" if rare else self.chance.choice(NOTES)
        return ({}, {"note": note}, {"deep": [{"in": note}, 5]})[self.chance.below(3)]


def commits(seed: int) -> Iterator[tuple[list[bytes], list[tuple[bytes, bytes]]]]:
    """Several executions at once, until there are some hundred records or none."""
    chance = Chance(seed)
    wanted = [0, 20, 256, 900, 1800][seed % 5]
    lives: list[Life] = []
    made = number = 0
    while made < wanted:
        if len(lives) < 5:
            number += 1
            lives.append(Life(number, chance))
        life = chance.choice(lives)
        frame = life.frame(AT + made * 10, rare=chance.happens(1))
        made += len(frame[0])
        if life.ended:
            lives.remove(life)
        yield frame


@cache
def asked_of(seed: int) -> tuple[MemorySource, History, list[dict[str, Any]]]:
    """A random log, indexed in pieces with restarts between, and its records as they are."""
    source, chance = MemorySource(), Chance(seed)
    # The file goes with the process: it is only looked at.
    path = Path(tempfile.mkdtemp(prefix="qflow-query-")) / "index.db"
    index = Index(path)
    for records, blocks in commits(seed):
        source.append(records, blocks)
        if chance.happens(10):
            index.catch_up(source)
        if chance.happens(5):
            index.close()
            index = Index(path)
    index.catch_up(source)
    return source, History(index, source), decoded(source)


def decoded(source: MemorySource) -> list[dict[str, Any]]:
    return [_core.decode_record(data) for found, _ in source.frames for _, _, data in found]


# -- what is to be found, by the words of the documentation ------------------------------------


def is_like(pattern: str, name: str, rest: str = ".*") -> bool:
    parts = re.split(r"(\[\*\]|\*)", pattern)
    expression = "".join({"*": rest, "[*]": r"\*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, name, re.DOTALL) is not None


def is_of_flow(pattern: str, key: str) -> bool:
    asked, parts = pattern.split("/"), key.split("/")
    if len(asked) == 1:
        parts = parts[1:2]
    elif len(asked) == 2:
        parts = parts[:2]
    return len(asked) == len(parts) and all(map(is_like, asked, parts))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def is_asked(query: Query, record: dict[str, Any]) -> bool:
    said = {word for name in ("flow", "type", "actor", "node") for word in words(record[name])}
    said |= {
        word for text in (*texts(record["meta"]), record.get("step", "")) for word in words(text)
    }
    return (
        (query.chain is None or query.chain == record["chain"])
        and (query.flow is None or is_of_flow(query.flow, record["flow"]))
        and (query.type is None or is_like(full_type(query.type), record["type"]))
        and (query.actor is None or is_like(query.actor, record["actor"]))
        and (query.node is None or is_like(query.node, record["node"]))
        and (query.subnet is None or is_like(query.subnet, record["subnet"]))
        and (query.since is None or record["at"] >= query.since)
        and (query.until is None or record["at"] < query.until)
        and (query.text is None or words(query.text) <= said)
    )


def expected(query: Query, records: list[dict[str, Any]]) -> list[int]:
    found = [index for index, record in enumerate(records) if is_asked(query, record)]
    return (found[::-1] if query.reverse else found)[: query.limit]


def paged(history: History, query: Query, size: int) -> list[int]:
    """All pages of an answer, `size` records at most in each."""
    found: list[int] = []
    while True:
        page = history.query(replace(query, limit=size))
        found += [entry.index for entry in page.records]
        if page.next is None:
            return found
        query = replace(query, after=page.next)


times = st.integers(AT - 1000, AT + 20_000)
queries = st.builds(
    Query,
    flow=st.sampled_from([None, *FLOWS, "order", "shop/order", "shop/*", "*", "ban*/order", "no"]),
    type=st.sampled_from([None, "exec.*", "exec.created", "exec.step_completed", "*failed*", "no"]),
    actor=st.sampled_from([None, *ACTORS, "[*]", "*@*", "rare", "nobody"]),
    node=st.sampled_from([None, None, *NODES, "node-*"]),
    subnet=st.sampled_from([None, None, *SUBNETS]),
    since=st.one_of(st.none(), times),
    text=st.sampled_from(
        [
            None,
            None,
            "charge",
            "CHARGED 5",
            "straße",
            "東京",
            "quoted",
            "a b",
            "needle",
            "x" * 70 + "y",
        ]
    ),
    reverse=st.booleans(),
)


@pytest.mark.holds("H15")
@pytest.mark.holds("H20")
@given(st.integers(0, 19), queries, st.one_of(st.none(), st.integers(1, 5000)), st.data())
def test_a_query_gives_what_a_scan_of_the_log_gives(
    seed: int, query: Query, span: int | None, data: st.DataObject
) -> None:
    _, history, records = asked_of(seed)
    if span is not None:
        query = replace(query, until=(query.since or AT) + span)
    if records and data.draw(st.sampled_from([False, True])):
        chains = sorted({record["chain"] for record in records})
        chain: bytes = data.draw(st.sampled_from(chains))
        query = replace(query, execution=model.id_text(chain))
    want = expected(query, records)
    assert [entry.index for entry in history.search(query)] == want
    size = data.draw(st.integers(1, 50))
    assert paged(history, query, size) == want
    limit = data.draw(st.integers(1, 50))
    assert [entry.index for entry in history.search(replace(query, limit=limit))] == want[:limit]


def test_what_is_given_is_the_record(source: MemorySource, history: History) -> None:
    some_of_each(source)
    page = history.query(Query(type="exec.faulted"))
    (entry,) = page.records
    data = source.read_many([address for frame, _ in source.frames for _, address, _ in frame])
    assert entry.data == data[entry.index]
    assert entry.record == _core.decode_record(entry.data)
    assert (entry.seq, entry.hash) == (entry.record["seq"], _core.record_hash(entry.data))
    assert (page.next, page.size, page.ended) == (None, source.size, None)


@pytest.mark.holds("H10")
def test_every_record_is_found_by_its_flow() -> None:
    _, history, records = asked_of(4)
    found = [entry.index for flow in FLOWS for entry in history.search(Query(flow=flow))]
    assert sorted(found) == list(range(len(records)))


@pytest.mark.holds("H11")
def test_as_many_failures_are_found_as_are_counted(
    source: MemorySource, index: Index, history: History
) -> None:
    for number in range(1, 400):
        broken = number % 7 == 0
        end: Any = ("faulted", {}, {"title": "Broken"}) if broken else ("completed", {}, 1)
        begin(source, number, ("step_failed", {}, {"title": "Caught"}), end)
    found = list(history.search(Query(type="exec.faulted")))
    assert len(found) == index.counts()["faulted"] == 399 // 7


# -- cursors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [Query(), Query(type="exec.continued"), Query(text="continued")])
def test_a_cursor_stays_good_while_the_log_grows(
    source: MemorySource, history: History, query: Query
) -> None:
    chain = Chain(chain_id(1))
    put(source, chain, ("created", {}), *["continued"] * 300)
    found: list[int] = []
    while True:
        page = history.query(replace(query, limit=70))
        found += [entry.index for entry in page.records]
        if page.next is None:
            break
        query = replace(query, after=page.next)
        if source.size < 900:
            put(source, chain, *["continued"] * 100)
    begins = 0 if query.type is query.text is None else 1
    assert found == list(range(begins, source.size))


def test_a_cursor_of_another_query_is_refused(source: MemorySource, history: History) -> None:
    some_of_each(source)
    cursor = history.query(Query(limit=1)).next
    assert cursor is not None
    assert history.query(Query(limit=2, after=cursor)).records[0].index == 1
    for wrong in (cursor, "nonsense", "5", ".", "-1.abc", "999999999999"):
        with pytest.raises(ValueError, match="no cursor of this query"):
            Query(flow="other", after=wrong)
    beyond = Query(after=Query().cursor(10**12))
    assert history.query(beyond).records == []
    chain = Query(execution=model.id_text(chain_id(1)))
    assert history.query(replace(chain, after=chain.cursor(10**12))).records == []


def test_a_page_reads_no_more_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qflow.audit._answer.PAGE_CHUNKS_MAX", 2)
    _, history, records = asked_of(4)
    page = history.query(Query(actor="nobody*", since=0))
    assert (page.records, page.next is None) == ([], True)
    page = history.query(Query(type="exec.*", text="charge", actor="a*", limit=10_000))
    assert page.next is not None
    query = Query(type="exec.*", text="charge", actor="a*")
    for one in (query, replace(query, reverse=True)):
        assert [entry.index for entry in history.search(one)] == expected(one, records)


# -- one execution -----------------------------------------------------------------------------


@pytest.mark.holds("H20")
def test_an_answer_about_an_execution_says_whether_it_is_over(
    source: MemorySource, history: History
) -> None:
    running, over = begin(source, 1, "continued"), begin(source, 2, ("completed", {}, 1))
    assert history.query(Query(execution=running)).ended is False
    assert history.query(Query(execution=over)).ended is True
    assert history.query(Query(execution=over, type="exec.created")).ended is True
    assert history.query(Query(execution=over, limit=1)).ended is None
    put(source, Chain(NODE_CHAIN, "qflow/node"), "q.qflow.history.opened.v1")
    own = history.query(Query(execution=model.id_text(NODE_CHAIN)))
    assert (len(own.records), own.ended) == (1, False)
    with pytest.raises(ExecutionNotFoundError):
        history.query(Query(execution=model.id_text(chain_id(9))))


@pytest.mark.holds("H20")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_chain_is_read_from_both_ends(
    source: MemorySource, history: History, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    monkeypatch.setattr("qflow.audit._read.PAGE", 7)
    chain = Chain(chain_id(1))
    put(source, chain, ("created", {}))
    for _ in range(20):
        put(source, chain, *["continued"] * 3)
    query = Query(execution=model.id_text(chain.id), reverse=reverse)
    want = list(range(61))[:: -1 if reverse else 1]
    assert [entry.seq for entry in history.search(query)] == want
    assert paged(history, query, 10) == want


@pytest.mark.holds("H20")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_record_that_the_log_itself_lacks_is_an_error(
    source: MemorySource, reverse: bool, path: Path
) -> None:
    for number in range(1, 4):
        begin(source, number, *["continued"] * 5)
    index = Index(path)
    index.catch_up(source)
    _, address, _ = source.frames[1][0][3]
    source.bytes[address] = source.frames[0][0][3][2]
    history = History(index, source)
    query = Query(execution=model.id_text(chain_id(2)), reverse=reverse)
    # The scan and the address give a record of another chain.
    source.frames[1][0][3] = (*source.frames[1][0][3][:2], source.bytes[address])
    with pytest.raises(CorruptError):
        list(history.search(query))
    index.close()


# -- an index that lies ------------------------------------------------------------------------

LIES = [
    "DELETE FROM chunks WHERE number = 2",
    "UPDATE chunks SET addresses = (SELECT addresses FROM chunks WHERE number = 1)",
    "UPDATE chunks SET number = number + 100 WHERE number = 1",
    "DELETE FROM spans",
    "UPDATE spans SET times = zeroblob(9)",
    "UPDATE spans SET number = 5",
    "DELETE FROM terms",
    "UPDATE terms SET chunks = 0",
    "UPDATE terms SET digest = digest + 1",
    "UPDATE terms SET term = term || 'x'",
    "DELETE FROM names WHERE field = 'a'",
    "UPDATE names SET name = name || 'x'",
    "INSERT INTO words (words) VALUES ('delete-all')",
    "INSERT INTO words (rowid, terms) VALUES (0, 'rare needle')",
    "INSERT INTO words (rowid, terms) VALUES (70, 'needle')",
    "DELETE FROM words_data WHERE id > 10",
    "UPDATE words_data SET block = zeroblob(length(block)) WHERE id > 10",
    "DROP TABLE words",
    "DROP TABLE chunks",
]


@pytest.mark.holds("H15")
@pytest.mark.holds("H20")
@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_is_made_anew_before_the_answer(path: Path, lie: str) -> None:
    source, _, records = asked_of(4)
    index = Index(path)
    index.catch_up(source)
    asked = [
        Query(actor="rare"),
        Query(text="needle"),
        Query(actor="r*"),
        Query(text="needle", since=AT, until=AT + 12_000),
        Query(since=AT + 3000, until=AT + 3500),
        Query(reverse=True),
    ]
    for query in asked:
        index.rebuild(source)
        index._db.execute(lie)
        found = [entry.index for entry in History(index, source).search(query)]
        assert found == expected(query, records), query
    index.close()


flips = st.lists(st.tuples(st.integers(0, 2**24), st.integers(0, 255)), min_size=1, max_size=20)


@cache
def whole_file(seed: int) -> bytes:
    source, *_ = asked_of(seed)
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder) / "index.db")
        index.catch_up(source)
        index.close()
        return (Path(folder) / "index.db").read_bytes()


@pytest.mark.holds("H15")
@given(flips, queries)
def test_no_byte_of_the_file_shortens_an_answer(
    changes: list[tuple[int, int]], query: Query
) -> None:
    source, _, records = asked_of(3)
    data = bytearray(whole_file(3))
    for place, value in changes:
        data[place % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.db"
        path.write_bytes(data)
        index = Index(path)
        found = [entry.index for entry in History(index, source).search(query)]
        index.close()
    assert found == expected(query, records)


@pytest.mark.holds("H15")
def test_a_query_that_cannot_be_asked_is_an_error(path: Path) -> None:
    source, *_ = asked_of(1)
    index = Index(path)
    index.catch_up(source)
    reader = Index(path, read_only=True)
    reader.close()
    for query in (Query(), Query(actor="nobody"), Query(execution=model.id_text(chain_id(1)))):
        with pytest.raises(UnavailableError):
            History(reader, source).query(query)
    index.close()


# -- beside a running node ---------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reader_sees_what_the_node_has_not_indexed_yet(path: Path, reverse: bool) -> None:
    source, made = MemorySource(), list(commits(3))
    index = Index(path)
    for records, blocks in made[: len(made) // 2]:
        source.append(records, blocks)
    index.catch_up(source)
    for records, blocks in made[len(made) // 2 :]:
        source.append(records, blocks)
    before = index.size
    reader = Index(path, read_only=True)
    history = History(reader, source)
    every = decoded(source)
    chains = {record["chain"] for record in every}
    asked = [Query(), Query(text="charge"), Query(actor="rare"), Query(type="exec.completed")]
    asked += [Query(execution=model.id_text(chain)) for chain in chains]
    for query in asked:
        query = replace(query, reverse=reverse)
        want = expected(query, every)
        assert [entry.index for entry in history.search(query)] == want
        assert paged(history, query, 13) == want
        assert history.query(query).size == source.size
    assert index.size == before
    reader.close()
    index.close()


# -- a log that was pruned ---------------------------------------------------------------------


class Pruned(MemorySource):
    """The same log without its first frames."""

    def __init__(self, whole: MemorySource, frames: int) -> None:
        super().__init__()
        self.frames, self.bytes, self.size = whole.frames, dict(whole.bytes), whole.size
        self.begin, self.first = frames, whole.frames[frames][0][0][0]
        for records, blocks in whole.frames[:frames]:
            for _, address, _ in records:
                del self.bytes[address]
            for _, address, _ in blocks:
                del self.bytes[address]

    def scan(self, address: int, bytes_max: int) -> Any:
        return super().scan(max(address, self.begin), bytes_max)


@pytest.mark.parametrize("indexed_before", [False, True])
def test_a_pruned_log_is_indexed_from_its_first_record(path: Path, indexed_before: bool) -> None:
    whole, _, every = asked_of(3)
    source = Pruned(whole, len(whole.frames) // 3)
    first = source.first
    index = Index(path)
    if indexed_before:
        index.catch_up(whole)
        index.close()
        index = Index(path)
    history = History(index, source)
    for query in (Query(), Query(reverse=True), Query(actor="rare"), Query(text="charge")):
        want = [place for place in expected(query, every) if place >= first]
        assert [entry.index for entry in history.search(query)] == want
    assert index.first == first
    for chain in {record["chain"] for record in every[first:]}:
        query = Query(execution=model.id_text(chain))
        want = [place for place in expected(query, every) if place >= first]
        assert [entry.index for entry in history.search(query)] == want
        assert paged(history, query, 5) == want
        assert paged(history, replace(query, reverse=True), 5) == want[::-1]
    index.close()


@pytest.mark.holds("H20")
def test_an_index_follows_a_pruning_of_its_log(tmp_path: Path, path: Path) -> None:
    log, own = open_log(tmp_path / "log"), Chain(OWN)
    log.append_durable(own.frame("q.qflow.history.opened.v1")[0])
    for records, blocks in frames(900):
        log.append_durable(records, blocks)
    index = Index(path)
    history = History(index, log)
    asked = [Query(), Query(text="needle"), Query(type="history.*"), Query(actor="ann")]
    asked += [Query(execution=model.id_text(chain)) for chain, _, _ in log.survey(1)]
    before = [[entry.index for entry in history.search(query)] for query in asked]
    prune(log, own, log.segments[-2][0])
    index.catch_up(log)
    index.follow_pruning(log)
    assert (index.first, index.generation) == (log.first, 1)
    index.follow_pruning(log)
    assert index.generation == 1
    for query, known in zip(asked, before, strict=True):
        found = [entry.index for entry in history.search(query)]
        kept = [place for place in known if place >= log.first]
        assert found[: len(kept)] == kept
        # Only the record of the pruning came after.
        assert len(found) - len(kept) <= 1
    index.close()
    # One that was closed meanwhile, and one that only reads.
    index = Index(path)
    index.catch_up(log)
    reader = Index(path, read_only=True)
    for query in asked:
        found = [entry.index for entry in History(index, log).search(query)]
        assert [entry.index for entry in History(reader, log).search(query)] == found
    reader.close()
    index.close()
    log.close()


# -- proofs ------------------------------------------------------------------------------------


def test_each_result_can_carry_what_proves_it(tmp_path: Path, path: Path) -> None:
    log = _core.Log(str(tmp_path / "log"), origin="qflow.node/test", seed=bytes(range(32)))
    for records, blocks in commits(3):
        log.append_durable(records, blocks)
    log.publish()
    history = History(Index(path), log)
    page = history.query(
        Query(actor="rare"), prove=lambda index: _core.make_receipt(str(tmp_path / "log"), index)
    )
    assert page.records
    for entry in page.records:
        assert entry.receipt is not None
        checked = _core.check_receipt(entry.receipt, log.vkey, None)
        assert (checked["index"], checked["record"]) == (entry.index, entry.data)
    log.close()


# -- the question itself -----------------------------------------------------------------------


def test_a_short_type_stands_for_its_whole_name() -> None:
    assert full_type("exec.completed") == "q.qflow.exec.completed.v1"
    assert full_type("exec.completed.v2") == "q.qflow.exec.completed.v2"
    assert full_type("exec.*") == "q.qflow.exec.*"
    assert full_type("q.qflow.exec.completed.v1") == "q.qflow.exec.completed.v1"
    assert full_type("*") == "*"


def test_a_query_has_one_spelling() -> None:
    name = model.id_text(chain_id(1))
    one = Query(execution=name.upper(), type="exec.completed", text=" a  b ", limit=5)
    assert one.canonical() == {
        "execution": name,
        "limit": 5,
        "text": "a b",
        "type": "q.qflow.exec.completed.v1",
    }
    assert Query().canonical() == {}
    assert Query(actor="", reverse=True).canonical() == {"actor": "", "reverse": True}


@pytest.mark.parametrize(
    "wrong",
    [
        {"execution": "short"},
        {"flow": ""},
        {"type": ""},
        {"text": "--"},
        {"text": " ".join(map(str, range(40)))},
        {"actor": "x" * 1001},
        {"actor": "\ud800"},
        {"actor": 5},
        {"since": -1},
        {"since": 5, "until": 5},
        {"until": 2**63},
        {"limit": 0},
        {"limit": True},
    ],
)
def test_what_no_record_can_be_asked_for_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"since|[a-z]+:? |id of 26"):
        Query(**wrong).filter()
