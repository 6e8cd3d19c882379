"""rotation/no-survivor."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import is_broken, one_history, trained_in_place


@rule(
    Severity.WARNING,
    remedy="Move the broken checkpoint out of the run (`audit quarantine`) before you continue training.",
)
def no_survivor(run: Run, newest: Checkpoint, save_total_limit: int) -> Iterator[Violation]:
    """The next rotation would delete every checkpoint that can be resumed from, and keep a broken one.

    Trainer 5.23, ``rotate_checkpoints``, does not look into a directory: a broken one counts as kept. If the newest
    checkpoint is broken and ``save_total_limit`` is small, the next save deletes the last sound ones, and if that save
    is interrupted, too, nothing is left. Checked by simulating one more save, in the order of steps, with the best
    protected. Not checked behind a URL, where no trainer rotates.
    """
    trained_in_place(run)
    one_history(run)
    everything = list(run.checkpoints)
    for checkpoint in everything:
        completeness = checkpoint.optional("completeness")
        if completeness is None or completeness.state.moving:
            raise NotApplicable(f"{checkpoint.name} is being written, or cannot be listed")
    last = everything[-1]
    sound = [checkpoint for checkpoint in everything if not is_broken(checkpoint)]
    if not sound:
        raise NotApplicable("no checkpoint can be resumed from")
    best = newest.best_recorded
    surplus = len(everything) + 1 - save_total_limit
    victims = [checkpoint for checkpoint in everything if checkpoint.name != best][: max(0, surplus)]
    if last is not sound[-1] and all(checkpoint in victims for checkpoint in sound):
        names = ", ".join(checkpoint.name for checkpoint in sound)
        whole = "the only one" if len(sound) == 1 else "all"
        yield Violation(
            f"the next save deletes {names}, {whole} that can be resumed from: save_total_limit is "
            f"{save_total_limit}, and the broken {last.name} counts",
            actual=names,
        )
