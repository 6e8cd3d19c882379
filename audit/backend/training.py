"""What ``audit train`` asks of a backend that trains: one leg, from a step to a step, over one data file.

A batch is one data file; it is trained as one leg, or as several if it was interrupted. The core decides what is
trained from where to where; the backend does it. Everything here is plain values, so that a leg can run in a process
of its own and send its progress through a pipe.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from audit.errors import AuditError

T = TypeVar("T")


class LegData(NamedTuple):
    """The examples of one leg.

    ``path``: the file, one example a row (docs/data.md). ``order``: text that the order is drawn from, None for the
    order of the file. The file is read ``epochs`` times, each time in another order: rows x epochs examples, of which
    the leg takes those from number ``first`` on (counted from 0). ``options``: the table ``[data]`` of
    the configuration: "format", "max_length", "loss_on", and so on.
    """

    path: str
    order: str | None = None
    epochs: int = 1
    first: int = 0
    options: Mapping[str, Any] = {}


class LegRequest(NamedTuple):
    """One leg of training in the directory ``run``: after ``first_step``, up to and including ``last_step``.

    ``resume_from``: path of the checkpoint of ``first_step``, None for a fresh start. ``last_step`` None: the backend
    stops at the end of the data. ``settings``: the backend's own tables of the configuration. ``horizon``: the step in
    which the learning-rate schedule ends, None for one without an end; ``decay_steps``: how many steps before it the
    rate begins to fall (warmup-stable-decay). ``changes``: values, by the names of
    :meth:`PlanningBackend.changeable`, that replace those of the checkpoint before the first step. ``best``: step and
    value of the best checkpoint so far by the metric ``settings["guard"]["best"]``, None if there is none to keep.
    ``name``: what a tracker may call the run, the same for all its legs and no other run's; "" if nothing is logged.
    ``processes``: how many train it together.
    """

    run: str
    resume_from: str | None
    first_step: int
    last_step: int | None
    data: LegData
    settings: Mapping[str, Any] = {}
    seed: int = 0
    horizon: int | None = None
    decay_steps: int | None = None
    changes: Mapping[str, float] = {}
    best: tuple[int, float] | None = None
    name: str = ""
    processes: int = 1


class LegResult(NamedTuple):
    """What one leg did: steps before and after, and the losses it logged, one (step, loss) each.

    ``stopped_by`` is the signal (SIGINT, SIGTERM) after which the leg saved and ended early, else None.
    """

    first_step: int
    last_step: int
    losses: tuple[tuple[int, float], ...]
    stopped_by: int | None = None


class Step(NamedTuple):
    """Step ``step`` is done; told again with the values that are logged of it. `audit train` fills in ``file``."""

    step: int
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    eval_loss: float | None = None
    file: str | None = None


class Phase(NamedTuple):
    """What the backend does before the first step: "loading the model". `audit train` fills in ``file``."""

    text: str
    file: str | None = None


class Note(NamedTuple):
    """Something worth knowing, in one sentence. `audit train` fills in ``file``."""

    text: str
    file: str | None = None


Progress = Step | Phase | Note
"""What a backend tells during a leg."""
Tell = Callable[[Progress], None]
"""Called by a backend with what happens during a leg."""


class BadData(AuditError):
    """A row of a data file that cannot be trained: the file is set aside untouched. ``row`` counts from 1."""

    def __init__(self, path: str, row: int | None, reason: str) -> None:
        self.path, self.row, self.reason = path, row, reason
        super().__init__(f"{path}{f':{row}' if row is not None else ''}: {reason}")


class LegFailed(AuditError):
    """Training itself failed: out of memory, a full disk, a crash.

    ``kind`` is "out-of-memory", "disk-full", "killed", "exit", "timeout", "no-progress" (it ended well without
    a new checkpoint) or "error"; ``step`` the last one that is known. ``stopped_by`` is the signal that asked the leg
    to end before it failed; `audit train` fills it in.
    """

    def __init__(self, reason: str, kind: str = "error", step: int | None = None) -> None:
        self.reason, self.kind, self.step = reason, kind, step
        self.stopped_by: int | None = None
        super().__init__(reason)


class Team(Protocol):
    """The processes that train together. Process 0 decides for all."""

    rank: int
    size: int

    def share(self, decide: Callable[[], T]) -> T:
        """Call ``decide`` on process 0 and return its value on every process.

        Values are plain; an AuditError that it raises is raised on every process.
        """
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def share(self, decide: Callable[[], T]) -> T:
        """Call it."""
        return decide()


class TrainingBackend(Protocol):
    """A trainer that ``audit train`` can run legs with; registered by the hook ``audit_training_backends``."""

    name: str
    title: str
    reads_rows: bool
    """Whether rows must have one of the documented formats; otherwise only the backend reads the data file."""
    owns_order: bool
    """Whether a leg trains exactly the examples that it is asked for, in order: then every example is trained once."""

    def schema(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the backend's own tables of the configuration, a JSON Schema by the name of the table.

        A property of ``"format": "path"`` is relative to the configuration, and so is its "default"; settings hold it
        absolute. With ``"path-or-name"`` it may also be a name, if there is no such path. Where a part has a text
        "refuse", that is the message for a wrong value.
        """
        ...

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse what a schema cannot express. Raises ConfigError, beginning with the path of the key."""
        ...

    def examples_per_step(self, settings: Mapping[str, Any], processes: int) -> int | None:
        """Return how many examples one optimizer step takes over all processes; None if that is not known."""
        ...

    def team(self, settings: Mapping[str, Any]) -> AbstractContextManager[Team]:
        """Join the other processes, if a launcher started the program as one of several."""
        ...

    def train(self, request: LegRequest, tell: Tell) -> LegResult:
        """Train one leg and save a checkpoint at its end; on SIGINT or SIGTERM finish the step, save and return.

        Raises BadData for rows that cannot be trained, ConfigError for settings that the trainer refuses, LegFailed
        if it fails, AuditError with the extra to install if the trainer is not installed.
        """
        ...


class LastingBackend(Protocol):
    """What a training backend may add that trains several legs in one process."""

    def one_process(self, settings: Mapping[str, Any]) -> bool:
        """Return whether :meth:`TrainingBackend.train` may be called again in the process that trained the leg before.

        It then has to load the checkpoint as a new process would, and end in the same bits. Without the method, each
        leg has a new process.
        """
        ...


class Judged(NamedTuple):
    """What the verification after a leg has found, for the tracker that the leg has logged to.

    ``errors`` and ``warnings`` are counts of the whole run; ``resumable_step`` is that of the checkpoint to resume
    from, -1 if there is none; ``worst`` the worst finding in words, "" if there is none.
    """

    step: int
    verdict: str
    errors: int
    warnings: int
    resumable_step: int
    worst: str = ""


class OpenTrackers(NamedTuple):
    """The trackers of a leg, open again.

    ``writers`` have an attribute ``tb_writer``, or ``mlflow_run``, the id of a run; the others are their library's.
    ``failed``: why one could not be opened or closed, by its name.
    """

    writers: Sequence[Any]
    failed: dict[str, str]


class TrackingBackend(Protocol):
    """What a training backend may add whose legs log to an experiment tracker.

    What `audit train` finds after a leg is then logged there, too, in the process that has trained it.
    """

    def tracks(self, settings: Mapping[str, Any]) -> bool:
        """Return whether legs with these settings log to a tracker. Their process then waits until they are judged."""
        ...

    def trackers(self, without: Collection[str]) -> AbstractContextManager[OpenTrackers]:
        """Open the runs again that the last leg in this process has logged to, all but those of trackers ``without``.

        Called in a thread for what is found at a save while the leg is trained: what is open then stays so. Raises
        nothing.
        """
        ...


class Size(NamedTuple):
    """Bytes and inodes (files and directories) of one checkpoint."""

    bytes: int
    inodes: int


class PlanningBackend(Protocol):
    """What a training backend may add for `audit plan`; each method is optional.

    Arguments have the names and meanings of Trainer's ``TrainingArguments``; a backend for another trainer returns
    those that it has a counterpart for.
    """

    def arguments(self, request: LegRequest) -> Mapping[str, Any] | None:
        """Return the training arguments of a leg. Without the method: the table [arguments], if any."""
        ...

    def adapter(self, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the adapter as ``adapter_config.json`` would hold it, None if the whole model is trained."""
        ...

    def base_model(self, settings: Mapping[str, Any]) -> str | None:
        """Return the name or the path of the model that training starts from, None for random weights."""
        ...

    def base_identity(self, settings: Mapping[str, Any], seed: int) -> Mapping[str, str] | None:
        """Return what tells the base model from another one under the same name or path, as texts by name.

        "config", "tensors" and "weights" are digests, "commit" is that of the Hub; what is not known is missing.
        Anything else is a setting of the model that must stay ("dtype", "seed" of random weights). Returns quickly, and
        downloads nothing. The ledger keeps it with each leg, and plan/base-changed compares it.
        """
        ...

    def base_directory(self, settings: Mapping[str, Any]) -> str | None:
        """Return the directory that the model would be loaded from, None if it is not on this machine.

        Downloads nothing. `audit merge` asks for the base that an adapter names.
        """
        ...

    def tried(self, request: LegRequest) -> str | None:
        """Build what the leg would be trained with, as far as that needs neither weights nor a device.

        Returns what could not be tried, and why; None if nothing. Raises ConfigError, beginning with the path of the
        key, for what the libraries refuse, and for a model that a resume would not load: `audit train` would fail.
        """
        ...

    def row_trial(
        self, settings: Mapping[str, Any]
    ) -> Callable[[Iterable[tuple[int, Mapping[str, Any], str]], LegData], str | None]:
        """Return the function that makes the examples of a leg's rows, as `audit train` does before its first step.

        It is given checked rows (number, content, format) and the data of the leg: all rows, or the first ones of a
        long file. It keeps nothing. It returns what could not be tried, and why; None if nothing. Raises as
        :meth:`TrainingBackend.train` does: BadData for a row that cannot be trained, ConfigError for settings that do
        not go with the rows.
        """
        ...

    def changeable(self, settings: Mapping[str, Any]) -> Mapping[str, float]:
        """Return the values of the configuration that a leg can put into effect on a resume, by name.

        Those are settings that a trainer otherwise takes from the checkpoint. Without the method: none.
        """
        ...

    def checkpoint_size(self, settings: Mapping[str, Any]) -> Size | None:
        """Estimate a checkpoint without training, None if that is not possible."""
        ...

    def largest_checkpoint(self, settings: Mapping[str, Any]) -> Size | None:
        """Return a size that no checkpoint exceeds, quickly, None if there is none.

        If there is room for ten times as much, `audit train` does not ask for an estimate.
        """
        ...


class ReadExample(NamedTuple):
    """A row as it would be trained: its ``length`` in tokens, and how many of them are ``learned``.

    ``cut``: whether it is longer than an example may be; then both numbers are those of what is left. ``pieces``
    returns its text, in pieces, each with whether it is trained on.
    """

    length: int
    learned: int
    cut: bool
    pieces: Callable[[], tuple[tuple[str, bool], ...]]


class ReadingBackend(Protocol):
    """What a training backend that reads rows may add for `audit data`."""

    def reader(
        self, data: LegData, settings: Mapping[str, Any]
    ) -> Callable[[int, Mapping[str, Any], str], ReadExample] | None:
        """Return the function from the number, the content and the format of a checked row to its example.

        None if the configured trainer makes the examples itself.

        It raises BadData for a row that cannot be trained. Both raise ConfigError if tokenizer, model and options do
        not go with the format of the rows.
        """
        ...


class StartingBackend(Protocol):
    """What a training backend may add for `audit init`."""

    def starting_tables(self, model: str, whole_model: bool) -> str:
        """Return the backend's tables of a first configuration as TOML: each key with its meaning in a comment.

        ``model`` is a path relative to the configuration, or a name, written as a string of TOML; ``whole_model``: no
        adapter is trained.
        """
        ...
