"""Three real witnesses of a log: the state machine that a node runs, asked without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from qflow import _core
from qflow.audit._witness_store import Witness
from qflow.errors import QflowError
from qflow.testing import ManualClock

OK, CONFLICT = 200, 409


class Name:
    """The key of a witness, under its name."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.origin, self.seed = name, seed
        self.vkey = _core.generate_witness_vkey(name, seed)


class Cosigners:
    """The witnesses of one log."""

    def __init__(self, folder: Path, vkey: str, seeds: list[bytes]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.vkey = folder, vkey
        self.names = [Name(f"w{n}.example", seed) for n, seed in enumerate(seeds, 1)]
        self.clock = ManualClock()
        self._witnesses = [self._open(name, self._file(name)) for name in self.names]
        self._sizes = 0

    def _file(self, name: Name, moment: str = "") -> Path:
        return self.folder / f"{name.origin}{moment}"

    def _open(self, name: Name, file: Path) -> Witness:
        return Witness(file, name, self.clock, [self.vkey])

    def publish(self, log: _core.Log, path: Path) -> bytes:
        """Publish the head, have all witnesses cosign it, and keep that; gives the head."""
        log.publish()
        head = (path / "checkpoint").read_bytes()
        size, _ = _core.parse_checkpoint(head, self.vkey)
        note = head
        for witness in self._witnesses:
            answer = witness.add_checkpoint(request(path, self._sizes, head, self.vkey))
            assert answer.status == OK, answer
            note += answer.body
        self._sizes = size
        log.save_witnessed(note.decode())
        return head

    def keep(self, moment: str) -> None:
        """Keep the third one's state as it is now, under a name."""
        self._witnesses[2].close()
        third = self.names[2]
        shutil.copy(self._file(third), self._file(third, f"-{moment}"))
        self._witnesses[2] = self._open(third, self._file(third))

    def close(self) -> None:
        for witness in self._witnesses:
            witness.close()
        self.keep_last()

    def keep_last(self) -> None:
        third = self.names[2]
        shutil.copy(self._file(third), self._file(third, "-closed"))

    def policy_text(self, quorum: int, names: int = 3) -> str:
        """The policy of an auditor: so many of them must have cosigned."""
        known = self.names[:names]
        lines = [f"log {self.vkey}"]
        lines += [f"witness {name.origin} {name.vkey}" for name in known]
        members = " ".join(name.origin for name in known)
        return "\n".join([*lines, f"group all {quorum} {members}", "quorum all", ""])

    def objection(self, path: Path, folder: Path, moment: str) -> str:
        """What the third witness says to what is published in `path`; empty when it cosigns.

        As an auditor asks it: with an old size of zero, to which a conflict answers the size that
        it knows, and then with the proof that what it knows is a part of this. It is a copy in
        `folder` that is asked, so that the next attack meets the same witness.
        """
        third = self.names[2]
        file = folder / "asked"
        shutil.copy(self._file(third, f"-{moment}"), file)
        witness = self._open(third, file)
        try:
            return self._ask(witness, path)
        finally:
            witness.close()

    def _ask(self, witness: Witness, path: Path) -> str:
        head = (path / "checkpoint").read_bytes()
        answer = witness.add_checkpoint(_core.format_add_checkpoint(0, [], head))
        if answer.status == CONFLICT:
            known = int(answer.body)
            try:
                body = request(path, known, head, self.vkey)
            except (QflowError, ValueError) as error:
                return f"it knows {known} records: {error}"
            answer = witness.add_checkpoint(body)
        return "" if answer.status == OK else f"{answer.status} {answer.body.decode()}"


def request(path: Path, old: int, head: bytes, vkey: str) -> bytes:
    """The body of `add-checkpoint`, from the files of a log."""
    size, _ = _core.parse_checkpoint(head, vkey)
    proof = _core.consistency_proof(str(path), old, size) if old else []
    return _core.format_add_checkpoint(old, proof, head)
