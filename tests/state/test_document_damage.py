"""What of a document is not as it was written is refused, with its name; nothing is skipped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qflow.errors import VerificationError
from qflow.state import States, _document_live
from qflow.state._document_store import added_blocks
from qflow.storage import Database, SqliteBlocks
from qflow.storage._blocks import text_of
from tests.state.documents import NAME, NEVER, SUBNET, Place

pytestmark = pytest.mark.anyio
SIGNATURE_AT = 24
"""Of the only change of a pack: behind five bytes of form, the id of the document, three counts."""


async def a_document(place: Place) -> list[bytes]:
    """One with a snapshot and some blocks behind it; the CIDs of all its blocks."""
    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        for number in range(3):
            await cart.set(f"/a/{number}", "x" * 100)
        await cart.compact()
        for number in range(3):
            await cart.set(f"/b/{number}", "y" * 100)
        await (await documents.open("sound")).set("/a", 1)
        listed = "SELECT cid FROM document_block WHERE document = 1 ORDER BY number"
        found = place.database.read(lambda db: db.execute(listed).fetchall())
        base = found[0][0]
        parts = [cid for cid, _ in place.blocks.walk([base])]
        return [*parts, *(cid for (cid,) in found[1:])]


def one(place: Place, query: str, *values: object) -> Any:
    """The first column of the only row."""
    return place.database.read(lambda db: db.execute(query, values).fetchone())[0]


def do(place: Place, statement: str, *values: object) -> None:
    place.database.write(lambda db: db.execute(statement, values))


SPOILS = [
    "UPDATE block_data SET data = zeroblob(length(data)) WHERE place = ?",
    "UPDATE block_data SET data = substr(data, 1, 40) WHERE place = ?",
    "DELETE FROM block_data WHERE place = ?",
]


@pytest.mark.holds("S14", "C7")
async def test_a_damaged_or_missing_block_keeps_the_document_closed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    cids = await a_document(place)
    assert len(cids) == 6
    for cid in cids:
        for spoil in SPOILS:
            async with place.opened(limits=NEVER) as documents:
                at = one(place, "SELECT place FROM block WHERE cid = ?", cid)
                block = cid, one(place, "SELECT data FROM block_data WHERE place = ?", at)
                do(place, spoil, at)
                with pytest.raises(VerificationError, match=f"{NAME}.*{text_of(cid)}"):
                    await documents.open(NAME)
                (finding,) = await documents.verify()
                assert text_of(cid) in finding.what
                assert (await documents.open("sound")).get() == {"a": 1}
                mend = partial(place.blocks.mend_blocks, blocks=[block])
                place.database.write(mend)
                assert len((await documents.open(NAME)).get()) == 2
                assert await documents.verify() == []


@pytest.mark.holds("S14")
async def test_blocks_left_out_or_exchanged_are_found(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await a_document(place)
    spoils = [
        "DELETE FROM document_block WHERE document = 1 AND number = (SELECT max(number)"
        " FROM document_block WHERE document = 1)",
        "DELETE FROM document_block WHERE document = 1 AND number = (SELECT min(number)"
        " FROM document_block WHERE document = 1) + 2",
        "DELETE FROM document_block WHERE document = 1 AND number = (SELECT min(number)"
        " FROM document_block WHERE document = 1)",
        "UPDATE document_block SET cid = (SELECT head FROM document WHERE number = 2)"
        " WHERE document = 1 AND number = (SELECT min(number) FROM document_block"
        " WHERE document = 1) + 1",
        "UPDATE document SET head = (SELECT head FROM document WHERE number = 2) WHERE number = 1",
        "UPDATE document SET name = 'shop/other' WHERE number = 1",
    ]
    for spoil in spoils:
        async with place.opened(limits=NEVER) as documents:
            blocks = place.database.read(
                lambda db: db.execute("SELECT * FROM document_block").fetchall()
            )
            head = one(place, "SELECT head FROM document WHERE number = 1")
            do(place, spoil)
            with pytest.raises(VerificationError, match=r"document shop/"):
                await documents.open(NAME)
            assert len(await documents.verify()) == 1
            do(place, "DELETE FROM document_block")
            for block in blocks:
                do(place, "INSERT INTO document_block VALUES (?, ?, ?, ?, ?)", *block)
            do(place, "UPDATE document SET head = ?, name = ? WHERE number = 1", head, NAME)
            assert len((await documents.open(NAME)).get()) == 2


@pytest.mark.holds("S14")
async def test_a_document_sealed_with_another_key_stays_closed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await a_document(place)
    place.keys.made[1], place.keys.made[2] = place.keys.made[2], place.keys.made[1]
    async with place.opened() as documents:
        with pytest.raises(VerificationError, match=NAME):
            await documents.open(NAME)
        assert len(await documents.verify()) == 2


@pytest.mark.holds("S14")
async def test_verifying_the_states_of_a_home_finds_a_damaged_document(tmp_path: Path) -> None:
    place = Place(tmp_path)
    cids = await a_document(place)
    with Database(place.path) as database:
        states = States(
            SqliteBlocks(database), subnet=SUBNET, keys=place.keys, signer=None, signers=None
        )
        assert states.verify().findings == []
        find = "SELECT place FROM block WHERE cid = ?"
        (at,) = database.read(lambda db: db.execute(find, (cids[-2],)).fetchone())
        spoil = "UPDATE block_data SET data = zeroblob(length(data)) WHERE place = ?"
        database.write(lambda db: db.execute(spoil, (at,)))
        (finding,) = states.verify().findings
        assert text_of(cids[-2]) in finding.what
        assert NAME in finding.what


@pytest.mark.holds("C10")
async def test_a_sealed_block_whose_change_is_not_signed_keeps_the_document_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the key that seals is not for that one who may write."""
    place = Place(tmp_path)

    def forged(owner: Any, number: int, head: bytes, packs: list[tuple[bytes, int]]) -> Any:
        ((pack, operations),) = packs
        bad = bytearray(pack)
        bad[SIGNATURE_AT] ^= 1
        return added_blocks(owner, number, head, [(bytes(bad), operations)])

    async with place.opened(limits=NEVER) as documents:
        cart = await documents.open(NAME)
        await cart.set("/a", 1)
        with monkeypatch.context() as patched:
            patched.setattr(_document_live, "added_blocks", forged)
            await cart.set("/b", 2)
    async with place.opened(limits=NEVER) as documents:
        with pytest.raises(VerificationError, match=f"{NAME}.*signature is not good"):
            await documents.open(NAME)
        (finding,) = await documents.verify()
        assert "signature is not good" in finding.what
