"""Names everything that can go wrong, so that each failure has one owner.

The tree, with the command line's exit code::

    OpenCharacterError
    ├── ConfigError            2   the configuration, its files or the data they name are wrong
    ├── StoreVersionError      2   the storage root was written by another format version
    ├── TemplateRefused        1   a chat template does not render a conversation
    ├── DiskFull               1   no room where rows are kept; waiting does not make any
    ├── DamagedFile            1   a file of the store is not as it was written
    ├── RootBusy               1   another run writes below the root, and waiting was not wanted
    ├── RootLost               1   another run took the root over: this one's process stood still
    ├── YieldError             1   a stage accepted less than its ``min_yield``
    ├── ExportError            1   what training left is not a model (training.model.export_errors)
    ├── TrainingDiverged       1   the loss was no finite number any more (training.ranks.trainer)
    ├── GateFailed             1   a run is below a bound that it is held to (flows.look.gates)
    ├── RanksFailed            1   ranks were lost more often than allowed (infra.cluster.ray_train)
    ├── InterruptedRun       130   Ctrl-C or SIGTERM; everything committed is kept
    └── TransientError         1   may pass when tried again: Prefect retries it with backoff
        ├── StorageError       1   a read, write or listing failed after bounded retries
        ├── ClusterError       1   Ray could not be reached or could not place an actor
        └── EngineError        1   an engine did not start, or died more often than allowed
            └── RequestFailed  1   one request failed; the row stays pending
                └── PromptTooLong  1   its prompt does not fit the model's context, and never will

Model output that does not parse is data, not an exception: see :class:`Reject`.
"""

from __future__ import annotations

from dataclasses import dataclass


class OpenCharacterError(Exception):
    """Root of every error this project raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do next."""

    where: str
    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} → {self.todo}"


class ConfigError(OpenCharacterError):
    """Every problem of a configuration at once, told before anything expensive starts."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Problem, ...]]:
        return type(self), self.problems


class StoreVersionError(OpenCharacterError):
    """Refusal of a storage root whose format this version cannot read."""

    exit_code = 2


class TemplateRefused(OpenCharacterError):
    """Refusal of a model's chat template to render a conversation, in its own words."""


class DiskFull(OpenCharacterError):
    """Stop of a run whose storage has no room left, with the file that found none."""


class DamagedFile(OpenCharacterError):
    """Damage to a file of the store, which cannot be read as what it was written as.

    ``path`` is relative to the root, ``why`` completes a sentence that begins with the file.
    """

    def __init__(self, url: str, path: str, why: str) -> None:
        self.url, self.path, self.why = url, path, why
        super().__init__(
            f"{url} {why}. `opencharacter run` sets it aside and makes anew what it held, and "
            "nothing else; `opencharacter verify` looks at the whole store."
        )

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[str, str, str]]:
        return type(self), (self.url, self.path, self.why)


class RootBusy(OpenCharacterError):
    """Refusal to write below a root where another run writes, with who that is."""


class RootLost(OpenCharacterError):
    """End of a run whose root another one has taken over; nothing of that one is written over."""


class YieldError(OpenCharacterError):
    """Stop of a run whose stage accepted too few rows, with the commonest reasons."""


class InterruptedRun(OpenCharacterError):
    """End of a run on Ctrl-C or SIGTERM, after the finished chunks were committed."""

    exit_code = 130


class TransientError(OpenCharacterError):
    """Failure that may pass when the node is tried again."""


class StorageError(TransientError):
    """Failure of a storage operation after bounded retries."""


class ClusterError(TransientError):
    """Failure of a Ray cluster that cannot be joined or has no room for an actor."""


class EngineError(TransientError):
    """Failure of an engine that did not start, or died more often than allowed."""


class RequestFailed(EngineError):
    """Failure of one request for good; its row stays pending.

    ``fatal`` marks failures that every further request would share (a wrong key, an unknown
    model): the stage stops at once instead of failing row by row.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        self.message, self.fatal = message, fatal
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_request_failed, (type(self), self.message, self.fatal)


class PromptTooLong(RequestFailed):
    """Failure of a prompt that does not fit the model's context: asking again cannot help."""


def _rebuild_request_failed(kind: type[RequestFailed], message: str, fatal: bool) -> RequestFailed:
    return kind(message, fatal=fatal)


@dataclass(frozen=True, slots=True)
class Reject:
    """Verdict on a row or an output that cannot be used: a typed reason and a detail."""

    reason: str
    detail: str = ""
