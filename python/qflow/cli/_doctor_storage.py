"""The doctor's check of the Kubo endpoints: whether they answer, and what they are owed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from qflow.cli._finding import FAIL, GOOD, WARN, Finding
from qflow.cli._output import moment, plural
from qflow.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from qflow.cli._session import Session
    from qflow.storage import EndpointStatus, Kubo

STATE_FILE: Final = "state.db"
TIMEOUT_S_MAX: Final = 5.0
"""Nobody waits longer for a doctor, whatever the settings say."""


def storage(session: Session, _: list[Path]) -> Finding:
    """Every endpoint of the settings answers, and has what it is to have."""
    from qflow.clock import SystemClock
    from qflow.storage import Kubo, check_quorum

    settings = session.config.storage
    if not settings.kubo and settings.quorum == 1:
        found = "states are kept in this home alone"
        return Finding("storage", GOOD, found, "optional: storage.kubo names IPFS nodes")
    try:
        check_quorum(settings.quorum, len(settings.kubo))
        timeout_s = min(settings.timeout_s, TIMEOUT_S_MAX)
        endpoints = [Kubo(url, timeout_s=timeout_s) for url in settings.kubo]
    except ConfigError as error:
        return Finding("storage", FAIL, str(error), "correct the settings")
    noted = {status.url: status for status in _noted(session.home / STATE_FILE)}
    answers = session.run(_ask, endpoints)
    now_ms = SystemClock().now_ms()
    findings = [_said(url, answers[url], noted.get(url), now_ms) for url in answers]
    what = "; ".join(what for what, _ in findings)
    fixes = [fix for _, fix in findings if fix]
    return Finding("storage", WARN if fixes else GOOD, what, "; ".join(fixes) or None)


def _noted(path: Path) -> list[EndpointStatus]:
    """What the node wrote down about them."""
    from qflow.storage import endpoint_statuses

    return endpoint_statuses(path) if path.exists() else []


async def _ask(endpoints: list[Kubo]) -> dict[str, str | UnavailableError]:
    """Of each the version of its program, or why it does not tell."""
    answers: dict[str, str | UnavailableError] = {}

    async def ask(kubo: Kubo) -> None:
        try:
            async with kubo:
                answers[kubo.url] = (await kubo.identity()).version
        except UnavailableError as error:
            answers[kubo.url] = error

    async with anyio.create_task_group() as tasks:
        for kubo in endpoints:
            tasks.start_soon(partial(ask, kubo))
    return {kubo.url: answers[kubo.url] for kubo in endpoints}


def _said(
    url: str, answer: str | UnavailableError, noted: EndpointStatus | None, now_ms: int
) -> tuple[str, str | None]:
    """What there is to say of one endpoint, and what to do about it."""
    from qflow.storage import is_private

    what, fix = f"{url}: {_owed(noted)}", None
    if isinstance(answer, UnavailableError):
        why = str(answer).removeprefix(f"{url}: ")
        since = noted.problem_since_ms if noted is not None else None
        lost = "" if since is None else f", not since {moment(since)}"
        return f"{what}, {why}{lost}", f"start what should answer at {url}"
    what = f"{what}, Kubo {answer}"
    if noted is not None and noted.bad_until_ms > now_ms:
        what += f", it gave other bytes: not used before {moment(noted.bad_until_ms)}"
        fix = f"ipfs repo verify at {url}; see docs/guides/ipfs.md"
    elif noted is not None and noted.stuck is not None:
        what, fix = f"{what}, {noted.stuck}", "qflow state sync tries again"
    elif noted is not None and noted.pins + noted.releases:
        fix = "qflow serve, or qflow state sync, tells it"
    if not is_private(url):
        what += ", in the clear"
        fix = fix or f"reach {url} by https or a tunnel: whoever is on the way can give it orders"
    return what, fix


def _owed(noted: EndpointStatus | None) -> str:
    if noted is None:
        return "never told anything"
    owed = [
        (noted.pins, plural(noted.pins, "pin")),
        (noted.releases, plural(noted.releases, "release")),
    ]
    named = " and ".join(text for count, text in owed if count)
    if not named or noted.owed_since_ms is None:
        return "owed nothing"
    return f"owed {named} since {moment(noted.owed_since_ms)}"
