"""Every error that Qflow raises, drawn as a tree.

QflowError
├── ConfigError            a setting is unknown, malformed or missing; nothing was started
├── FlowError              a flow was refused when it was loaded; nothing was started
├── ExpressionError        a runtime expression does not compile, or failed or overran its bounds
├── EventError             an event is not CloudEvents 1.0, or not what its type says; refused
├── StepError              an attempt failed; carries the problem that a flow can catch
├── ExecutionError         about one execution
│   ├── ExecutionNotFoundError
│   ├── ExecutionStateError    the execution cannot do that in its present status
│   │   └── HeldError          a legal hold is on it; nothing was erased
│   ├── ErasedError            its payloads were erased; what it held cannot be read any more
│   └── ExecutionFailedError   it faulted or was aborted; carries its problem
├── LogError               about the durable log
│   ├── LockedError            another process holds the node's files; nothing was touched
│   ├── PoisonedError          a durable write failed; nothing more is written until restart
│   ├── BusyError              the bounded queue is full; nothing was taken; a retry is safe
│   └── CorruptError           the files are not what was written; refused, nothing was changed
├── BlockNotFoundError     the store has no such block
├── DocumentNotFoundError  no document has this name; nothing was made
├── StaleError             somebody else wrote first; nothing was changed
├── TypeMismatchError      a document has something of another type there; nothing was written
├── VerificationError      what was to be proven is not so; says where
├── ReplayError            the chain does not follow from the decisions; the execution stays shut
├── SigningKeyError        the node's key is missing, weak or readable by others
└── UnavailableError       a part that is asked for is not there; fails closed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class QflowError(Exception):
    """The root of everything that Qflow raises on purpose."""


class ConfigError(QflowError):
    """A setting is unknown, malformed or missing. Nothing was started."""


class FlowError(QflowError):
    """A flow was refused when it was loaded. Nothing was stored or started.

    `problems` has one entry a finding, in the order of the lines of the file.
    """

    def __init__(self, message: str, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ExpressionError(QflowError):
    """A runtime expression does not compile, failed, or went over one of its bounds."""


class EventError(QflowError):
    """An event is malformed, too large, or not what its type says. Nothing was published."""


class StepError(QflowError):
    """An attempt of a step failed. `problem` is the RFC 7807 object that a flow can catch.

    The attempt may have had effects outside; whether a retry is safe is for the flow to say.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("title") or problem.get("type")))
        self.problem = dict(problem)


class ExecutionError(QflowError):
    """About one execution."""


class ExecutionNotFoundError(ExecutionError):
    """No execution has this id, or more than one has this prefix."""


class ExecutionStateError(ExecutionError):
    """The execution cannot do that in its present status. Nothing was changed."""


class HeldError(ExecutionStateError):
    """A legal hold is on the execution. Nothing was erased; release the hold first."""


class ErasedError(ExecutionError):
    """The key of the execution was destroyed on purpose. Its records still verify."""


class ExecutionFailedError(ExecutionError):
    """The execution ended without success. Its history is durable; a retry is a new execution."""

    def __init__(self, execution: str, status: str, problem: Mapping[str, Any] | None) -> None:
        title = (problem or {}).get("title") or (problem or {}).get("type") or status
        super().__init__(f"execution {execution} {status}: {title}")
        self.execution = execution
        self.status = status
        self.problem = dict(problem or {})


class LogError(QflowError):
    """About the durable log."""


class LockedError(LogError):
    """Another process holds the node's files. Nothing was touched; retry when it has stopped."""


class PoisonedError(LogError):
    """A durable write failed. Nothing more is written; what was acknowledged is safe. Restart."""


class BusyError(LogError):
    """The bounded queue of the log is full. Nothing was taken; a retry is safe."""


class CorruptError(LogError):
    """The files are not what was written. Refused; nothing was changed."""


class BlockNotFoundError(QflowError):
    """The store has no such block. Nothing was changed."""


class DocumentNotFoundError(QflowError):
    """No document has this name here. Nothing was made."""


class StaleError(QflowError):
    """Somebody else wrote first. Nothing was changed; look again before a retry."""


class TypeMismatchError(QflowError, ValueError):
    """A document has something of another type in that place. Nothing was written.

    Raised only to who writes, about what that replica sees; never for a change that arrives.
    """


class VerificationError(QflowError):
    """What was to be proven is not so. The message says where."""


class ReplayError(QflowError):
    """A chain does not follow from its decisions. The execution stays shut."""


class SigningKeyError(QflowError):
    """The node's key is missing, weak, or readable by others. Nothing is signed."""


class UnavailableError(QflowError):
    """A part that is asked for is not there. The caller's request counts as refused."""
