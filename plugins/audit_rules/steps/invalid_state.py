"""steps/invalid-state."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule, shortened
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import StateDocument


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; do not repair the file by hand, its numbers control the resume.",
)
def invalid_state(checkpoint: Checkpoint, state_document: "StateDocument") -> Iterator[Violation]:
    """The trainer state has wrong keys or types.

    Trainer 5.23, ``TrainerState.load_from_json``, calls ``cls(**json)``, so a missing ``global_step`` silently becomes
    0 (the whole run is trained again on trained weights), a wrong type crashes later, and a key that this version of
    transformers does not know is a TypeError. Older versions wrote fewer keys, which is fine.

    An unknown key in every checkpoint of the run was written by a newer transformers and is an info; in only some of
    them it is a warning. A bad log entry is reported only for the first checkpoint that has it.
    """
    file = checkpoint.backend.state_file
    base = state_document.history.base if state_document.history is not None else None
    inherited = frozenset(base.problems) if base is not None else frozenset()
    problems = [problem for problem in state_document.problems if problem not in inherited]
    if problems:
        more = and_more(problems, " (and {} more)", 5)
        yield Violation(f"{file} is not a trainer state: {_sentence(problems[:5])}{more}", file=file)
    elif state_document.problems:
        raise NotApplicable("its bad log entry is reported for an earlier checkpoint")
    if state_document.unknown_keys:
        yield _unknown(checkpoint, state_document.unknown_keys)


def _unknown(checkpoint: Checkpoint, keys: tuple[str, ...]) -> Violation:
    documents = [item.optional("state_document") for item in checkpoint.run.checkpoints]
    carried = [document.unknown_keys for document in documents if document is not None]
    everywhere = all(set(keys) <= set(other) for other in carried)
    named = ", ".join(map(shortened, keys[:5])) + and_more(keys, " and {} more", 5)
    where = "as do all checkpoints of this run" if everywhere else "others of this run do not"
    return Violation(
        f"The trainer state has keys that no known version writes ({named}), {where}: "
        "a version of transformers that does not know them raises a TypeError on resume",
        file=checkpoint.backend.state_file,
        severity=Severity.INFO if everywhere else Severity.WARNING,
        blocks_resume=False,
        remedy="Resume with the transformers version that wrote it, or upgrade checkpoint-audit if that is newer.",
    )


def _sentence(problems: list[str]) -> str:
    return "; ".join(problem.rstrip(".") for problem in problems)
