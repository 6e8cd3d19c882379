"""rotation/wrong-victim."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from audit.plugin import FILE, Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import last_part, one_history, parent, plain, saved_files, trained_in_place


@rule(
    Severity.WARNING,
    remedy="Restore the time of the directory: `touch -r checkpoint-N/trainer_state.json checkpoint-N`.",
    explained_by=("rotation/foreign-best",),
)
def wrong_victim(
    run: Run, newest: Checkpoint, save_total_limit: int, *, slack_seconds: float = 2.0
) -> Iterator[Violation]:
    """The next rotation will delete the wrong checkpoint.

    Trainer from 4.53 sorts the directories by their modification time, not by step (``sort_checkpoints``). A file that
    is added, removed or renamed in an old ``checkpoint-N`` by a backup, an upload or a file manager makes it the
    newest, and a later one is deleted in its place (verified with 5.23). A time in the future makes the checkpoint that
    was just saved the oldest. The best checkpoint is protected by the text of its path: recorded as
    ``/data/run/checkpoint-10`` while the trainer writes to ``run``, it is deleted.

    Copies, downloads and unpacked archives have arbitrary times and are not reported. A directory counts as changed if
    its time is later than everything the trainer saved in it, by more than ``slack_seconds``, while a directory saved
    later still has its original time, and all trainer states are in the order of steps. Without ``save_total_limit``
    nothing is rotated; behind a URL neither, and the times there are not the trainer's.
    """
    trained_in_place(run)
    one_history(run)
    best = getattr(newest.optional("state"), "best_model_checkpoint", None) or ""
    slack = int(slack_seconds * 1e9)
    saves = [save for checkpoint in run.checkpoints if (save := _save(checkpoint))]
    if all(one.state_ns <= two.state_ns for one, two in pairwise(saves)):
        yield from _touched(run, saves, newest.best_recorded, slack)
    written = (newest.optional("arguments") or {}).get("output_dir")
    searching = newest.optional("state_document")
    if not best or not isinstance(written, str) or (searching and searching.document.get("is_hyper_param_search")):
        return
    if last_part(best) in run.entries and parent(best) != plain(written):
        yield Violation(
            f"the best checkpoint is recorded as {best}, but the trainer writes to {written}: rotation compares these "
            f"as text and does not protect {last_part(best)}",
            expected=f"{plain(written)}/{last_part(best)}",
            actual=best,
            remedy="Resume with the output_dir under which the best checkpoint was saved.",
        )


class _Save(NamedTuple):
    """Times of one checkpoint in nanoseconds: of its directory, of its trainer state, of the last file saved."""

    checkpoint: Checkpoint
    directory_ns: int
    state_ns: int
    saved_ns: int


def _save(checkpoint: Checkpoint) -> _Save | None:
    """Return the times of a complete checkpoint; one that lacks something or is damaged has its finding already."""
    layout = checkpoint.optional("layout")
    if layout is None or layout.missing or layout.missing_rng or layout.shadowing or checkpoint.damages:
        return None
    if any(entry.kind not in (FILE, "directory") for entry in checkpoint.entries.values()):
        return None
    times = [checkpoint.entries[path].mtime_ns for path in saved_files(checkpoint) if path in checkpoint.entries]
    state = checkpoint.entries[checkpoint.backend.state_file].mtime_ns
    return _Save(checkpoint, checkpoint.run.entry_of(checkpoint.name).mtime_ns, state, max([*times, state]))


def _touched(run: Run, saves: list[_Save], best: str | None, slack: int) -> Iterator[Violation]:
    if not saves:
        raise NotApplicable("no checkpoint is complete")
    own_time = [save for save in saves if save.directory_ns <= save.saved_ns + slack]
    for save in saves:
        name = save.checkpoint.name
        late = save.directory_ns - save.saved_ns
        if late <= slack or name == best:
            continue
        younger = [
            other
            for other in own_time
            if other.checkpoint.step > save.checkpoint.step
            and other.directory_ns < save.directory_ns
            and other.checkpoint.name != best
        ]
        if younger:
            victim = min(younger, key=lambda other: other.directory_ns).checkpoint.name
            yield Violation(
                f"rotation will delete {victim} before the older {name}: something was changed in {name} "
                f"{_duration(late)} after it was saved, and rotation sorts by the time of the directory",
                checkpoint=name,
                expected=name,
                actual=victim,
            )
        elif save.directory_ns > run.clock.now_ns + slack:
            yield Violation(
                f"rotation will treat {name} as newer than future checkpoints: the time of its directory is "
                f"{_duration(save.directory_ns - run.clock.now_ns)} in the future",
                checkpoint=name,
            )


def _duration(nanoseconds: int) -> str:
    seconds = nanoseconds / 1e9
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
