"""The rules that a history is held to: what each kind asks, as data."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from qflow.audit._patterns import ANY

Severity = Literal["error", "warning", "notice"]
SEVERITIES: Final = ("error", "warning", "notice")

CREATED: Final = "exec.created"

Text = Annotated[str, Meta(min_length=1, max_length=1000)]
Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=1000)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every rule has."""

    id: Id
    text: Text
    """The rule in words, for whoever reads the report. Decides nothing."""
    severity: Severity = "error"
    flow: Text = ANY
    """The flows that it is about: `namespace/name/version`, `namespace/name` or `name`; a `*`
    stands for any characters within a part, and alone for every flow."""

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return str(self.__struct_config__.tag)


class SeparationOfDuties(Rule, frozen=True, tag="separation-of-duties"):
    """Within an execution, nobody is the actor of both a `first` and a `second` record."""

    first: Texts = (CREATED,)
    second: Texts = ("exec.resumed", "exec.event_received")
    exempt: tuple[Text, ...] = ()
    """Actors that may do both: patterns."""


class ConsentPresent(Rule, frozen=True, tag="consent-present"):
    """Each execution was admitted with a consent that was granted."""

    required: bool = True
    """Whether an execution without a word on consent is a finding; otherwise it is not judged."""
    by: tuple[Text, ...] = ()
    """Who may have decided: patterns. Empty: anybody."""


class ApprovedNodes(Rule, frozen=True, tag="approved-nodes"):
    """Each record was written by one of these nodes."""

    nodes: Texts


class Retention(Rule, frozen=True, tag="retention"):
    """Payloads are erased so many days after their execution ended, and never under a hold."""

    days: Annotated[float, Meta(ge=0, le=36_525)]


class RiskAdmitted(Rule, frozen=True, tag="risk-admitted"):
    """Each execution was admitted with a risk that is not over the threshold."""

    threshold: Percent | None = None
    """Of 100, whatever the scale of the score. None: the one that it was admitted with."""
    required: bool = True
    """Whether an execution without a word on risk is a finding; otherwise it is not judged."""


class ActorMissing(Rule, frozen=True, tag="actor-missing"):
    """Each record says on whose behalf it is."""

    types: Texts = ("exec.*",)
    nobody: tuple[Text, ...] = ()
    """Names that say as little as an empty one: patterns, such as `anonymous`."""


class ClockRegression(Rule, frozen=True, tag="clock-regression"):
    """No clock was set, and no time of a record is before that of the one it follows."""

    moves: Annotated[
        tuple[Literal["backwards", "ahead"], ...], Meta(min_length=1, max_length=2)
    ] = ("backwards", "ahead")
    over_ms: Annotated[int, Meta(ge=0)] = 0
    """Smaller moves are none."""


class ForbiddenFlow(Rule, frozen=True, tag="forbidden-flow"):
    """No execution of these flows began."""

    flow: Text


class RequiredStep(Rule, frozen=True, tag="required-step"):
    """Each execution that completed has completed such a step."""

    step: Text
    """A pattern of the step's path, such as `*/approve`."""


AnyRule = (
    SeparationOfDuties
    | ConsentPresent
    | ApprovedNodes
    | Retention
    | RiskAdmitted
    | ActorMissing
    | ClockRegression
    | ForbiddenFlow
    | RequiredStep
)
KINDS: Final[dict[str, type[Rule]]] = {
    str(kind.__struct_config__.tag): kind for kind in Rule.__subclasses__()
}
