"""Authentication policies of the specification, as headers: basic, bearer, digest."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from qflow.model import ErrorKind
from qflow.steps._scope import Scope, failed

_UNSUPPORTED: Final = frozenset({"oauth2", "oidc", "certificate"})


def authenticate(
    policy: Mapping[str, Any] | None, scope: Scope, headers: dict[str, str]
) -> httpx2.Auth | None:
    """Put what `policy` asks for into `headers`; an object when it takes a second request.

    What it uses is noted as sensitive, so that no problem shows it. Raises StepError for a policy
    that is unknown, unsupported or incomplete.
    """
    name, settings = _named(policy, scope)
    if name is None:
        return None
    if name == "bearer":
        (token,) = _texts(name, settings, "token")
        headers["authorization"] = _noted(scope, f"Bearer {token}", token)
        return None
    username, password = _texts(name, settings, "username", "password")
    if name == "digest":
        _noted(scope, password)
        return httpx2.DigestAuth(username, password)
    coded = base64.b64encode(f"{username}:{password}".encode()).decode()
    headers["authorization"] = _noted(scope, f"Basic {coded}", coded, password)
    return None


def _named(policy: Mapping[str, Any] | None, scope: Scope) -> tuple[str | None, Mapping[str, Any]]:
    """The kind of a policy and its settings; a reference is followed, a secret filled in."""
    if policy and "use" in policy:
        known = scope.attempt.use.get("authentications") or {}
        if policy["use"] not in known:
            detail = f"{policy['use']!r} is not listed under use.authentications"
            raise failed(ErrorKind.CONFIGURATION, "The authentication is not known", detail)
        policy = known[policy["use"]]
    if not policy:
        return None, {}
    name, settings = next(iter(policy.items()))
    if name in _UNSUPPORTED:
        raise failed(ErrorKind.CONFIGURATION, f"{name} authentication is not supported")
    if name not in ("basic", "bearer", "digest") or not isinstance(settings, Mapping):
        raise failed(ErrorKind.CONFIGURATION, "The authentication is not known", str(name))
    if "use" in settings:
        value = scope.secret(settings["use"])
        settings = {"token": value} if isinstance(value, str) and name == "bearer" else value
    else:
        settings = scope.resolve(settings)
    if not isinstance(settings, Mapping):
        raise failed(
            ErrorKind.CONFIGURATION, f"The secret for {name} authentication is not an object"
        )
    return name, settings


def _texts(name: str, settings: Mapping[str, Any], *wanted: str) -> list[str]:
    for member in wanted:
        if not isinstance(settings.get(member), str):
            detail = f"{member} is missing or not a text"
            raise failed(
                ErrorKind.AUTHENTICATION, f"The {name} authentication is incomplete", detail
            )
    return [settings[member] for member in wanted]


def _noted(scope: Scope, shown: str, *parts: str) -> str:
    scope.sensitive.extend((shown, *parts))
    return shown
