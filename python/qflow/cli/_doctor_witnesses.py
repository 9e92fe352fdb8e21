"""The doctor's checks of the witnesses of this log, and of this node as a witness of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qflow.cli._finding import FAIL, GOOD, WARN, Finding
from qflow.cli._output import moment, plural
from qflow.errors import UnavailableError, VerificationError

if TYPE_CHECKING:
    from qflow._core import Policy
    from qflow.cli._session import Session


def witnesses(session: Session, _: list[Path]) -> Finding:
    """Enough witnesses of the policy have cosigned the log, and lately."""
    from qflow.audit import doubts_about, load_policy

    settings = session.config.witness
    if settings.policy is None:
        found = "none are asked: rollbacks and rewritten logs are not found"
        return Finding("witnesses", GOOD, found, "optional: witness.policy names witnesses")
    policy = load_policy(settings.policy)
    vkey = (session.home / "node.pub").read_text().strip()
    if doubts := list(doubts_about(policy, vkey)):
        return Finding("witnesses", WARN, doubts[0], f"correct {settings.policy}")
    running = _running(session)
    return _of_files(session, policy) if running is None else _of_status(running)


def _running(session: Session) -> dict[str, Any] | None:
    from qflow.cli._doctor_files import node_status

    try:
        found = session.run(node_status, session.home).get("witnesses")
    except UnavailableError:
        return None
    return found if isinstance(found, dict) else None


def _of_status(status: dict[str, Any]) -> Finding:
    """What the running node says."""
    whole = len(status["witnesses"])
    what = f"{status['cosignatures']} of {plural(whole, 'witness', 'witnesses')} cosigned the head"
    what += f" of {plural(status['size'], 'record')}"
    if status["met"]:
        return Finding("witnesses", GOOD, what)
    since = status["unmet_since_ms"]
    what += f", quorum {status['quorum']} not met"
    what += "" if since is None else f" since {moment(since)}"
    problems = [f"{one['name']}: {one['problem']}" for one in status["witnesses"] if one["problem"]]
    forked = any(one["is_fork"] for one in status["witnesses"])
    if forked:
        fix = "this history is not the one that was witnessed: do not go on before you know why"
        return Finding("witnesses", FAIL, "; ".join([what, *problems]), fix)
    return Finding("witnesses", WARN, "; ".join([what, *problems]), "see that they answer")


def _of_files(session: Session, policy: Policy) -> Finding:
    """What lies beside the log while no node runs."""
    from qflow import _core

    path = session.home / "log" / "witnessed"
    if not path.exists():
        fix = "qflow serve asks them"
        return Finding("witnesses", WARN, "no head has been cosigned yet", fix)
    note = path.read_bytes()
    try:
        count, met = len(policy.cosignatures(note)), policy.is_met(note)
        _, size, _ = _core.peek_checkpoint(note)
    except (VerificationError, ValueError) as error:
        return Finding("witnesses", FAIL, f"{path}: {error}", "qflow audit verify says more")
    whole = plural(len(policy.witnesses), "witness", "witnesses")
    what = f"{count} of {whole} cosigned the head of {plural(size, 'record')}"
    if met:
        return Finding("witnesses", GOOD, what)
    return Finding("witnesses", WARN, f"{what}, quorum {policy.quorum} not met", "qflow serve asks")


def witness(session: Session, _: list[Path]) -> Finding:
    """None of the logs that this node cosigns was caught lying."""
    from qflow.cli._witness import opened
    from qflow.node import WITNESS_FILE

    if not (session.home / WITNESS_FILE).exists():
        return Finding("witness", GOOD, "of no other log")
    with opened(session) as found:
        logs, proofs = found.logs(), found.equivocations()
    if proofs:
        origins = ", ".join(sorted({proof.origin for proof in proofs}))
        fix = "qflow witness list prints the proofs: show them to whoever relies on that log"
        return Finding("witness", WARN, f"two heads of one size were signed by {origins}", fix)
    return Finding("witness", GOOD, f"of {plural(len(logs), 'log')}")
