"""What is to be done, as values that travel as JSON: a run to audit, a batch of them, and how to judge."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.findings import Acceptance, Severity
from audit.options import Options

SECONDS = 300.0
"""Time for one run, by default."""

BYTES_A_SECOND = 20_000_000
"""At full depth a run has a second more for so many bytes: a slow disk, or a busy one."""

MEMORY = 4 << 30
"""Bytes of data that a worker may have; a run takes less than a tenth of it."""


class Task(NamedTuple):
    """One run to audit at ``depth``; ``reread``: every byte of it, whatever is remembered. Else as in RunRow."""

    run: str
    root: str
    owner: str
    depth: str
    reread: bool
    listing: str
    bytes: int
    saved_ns: int
    settled: bool
    number: int


class Batch(NamedTuple):
    """Tasks that one worker does one after the other; the rows become the part of this ``number``."""

    number: int
    tasks: tuple[Task, ...]

    def document(self) -> list[Any]:
        """Return what :meth:`read` takes, as JSON has it."""
        return [self.number, [list(task) for task in self.tasks]]

    @classmethod
    def read(cls, document: Any) -> "Batch":
        """Make one of what :meth:`document` returned. Raises TypeError and ValueError for anything else."""
        number, tasks = document
        return cls(number, tuple(Task(*task) for task in tasks))


class Order(NamedTuple):
    """How every run of a pass is judged; ``basis`` is a digest of it and of the program. ``seconds``: for one run."""

    options: Options
    basis: str
    seconds: float = SECONDS
    memory: int = MEMORY

    def limit(self, task: Task) -> float:
        """Return the seconds that a run may take."""
        return self.seconds + (task.bytes / BYTES_A_SECOND if task.depth == "full" else 0.0)

    def document(self) -> dict[str, Any]:
        """Return what :meth:`read` takes, as JSON has it."""
        return {**self._asdict(), "options": options_document(self.options)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Order":
        """Make one of what :meth:`document` returned. Raises TypeError and ValueError for anything else."""
        return cls(**{**document, "options": _options(document["options"])})


def options_document(options: Options) -> dict[str, Any]:
    """Return options as JSON has them."""
    rules = {name: dict(thresholds) for name, thresholds in options.rules.items()}
    return {**options._asdict(), "rules": rules, "accept": [list(item) for item in options.accept]}


def _options(document: Mapping[str, Any]) -> Options:
    fields = dict(document)
    fail_on = fields["fail_on"]
    return Options(
        **{
            **fields,
            "select": tuple(fields["select"]),
            "ignore": tuple(fields["ignore"]),
            "fail_on": None if fail_on is None else Severity(fail_on),
            "severity": {name: Severity(level) for name, level in fields["severity"].items()},
            "accept": tuple(Acceptance(*item) for item in fields["accept"]),
        }
    )
