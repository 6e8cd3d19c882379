"""files/leftover."""

from collections.abc import Iterator

from audit.plugin import DIRECTORY, FILE, Run, Severity, Violation, checkpoint_name, rule


@rule(
    Severity.WARNING,
    remedy="Move it out of the run's directory, or rename it so that its name does not begin with checkpoint-.",
)
def leftover(run: Run) -> Iterator[Violation]:
    """Something named like a checkpoint that is none: a copy, a temporary directory, a file.

    Trainer 5.23, ``rotate_checkpoints``: every directory matching ``checkpoint-*`` counts for ``save_total_limit`` and
    is deleted in its turn, so ``checkpoint-best`` or ``checkpoint-10-backup`` disappears, or takes the place of a
    checkpoint that was to be kept. ``get_last_checkpoint`` does not see them, so ``checkpoint-400-final`` is training
    that a resume repeats. ``tmp-checkpoint-*`` is what an older Trainer left when it was killed. Orphan ``.tmp*``
    files inside a checkpoint (safetensors, killed between write and rename) only cost space: an info.

    A link named ``checkpoint-N`` that leads to a directory is security/escaping-path.
    """
    for name, entry in run.entries.items():
        step = run.backend.checkpoint_step(name)
        if name.startswith("tmp-checkpoint-"):
            yield Violation(f"{name} is what a killed save left behind", file=name, remedy="Delete it.")
        elif not name.startswith("checkpoint-"):
            continue
        elif step is not None and entry.kind == DIRECTORY and name != checkpoint_name(step):
            yield Violation(
                f"{name} has a number with leading zeros; Trainer writes {checkpoint_name(step)}", file=name
            )
        elif step is not None and entry.kind == FILE:  # links and devices: security/escaping-path, special-file
            yield Violation(f"{name} is a file, not a directory; no resume sees it", file=name)
        elif step is None and entry.kind == DIRECTORY:
            yield Violation(f"{name} is no checkpoint to a resume, but rotation counts and deletes it", file=name)
    for checkpoint in run.judged:
        for path, entry in checkpoint.entries.items():
            if entry.kind == DIRECTORY and "/" not in path and run.backend.checkpoint_step(path) is not None:
                yield Violation(
                    f"{path} lies inside {checkpoint.name}, where no resume sees it",
                    checkpoint=checkpoint.name,
                    file=path,
                    remedy="Move it into the run's directory if it is missing there, or away if it is a copy.",
                )
        orphans = [path for path in checkpoint.entries if path.rpartition("/")[2].startswith(".tmp")]
        if orphans and checkpoint.complete:
            yield Violation(
                f"{orphans[0]} is a temporary file of a killed save",
                checkpoint=checkpoint.name,
                file=orphans[0],
                severity=Severity.INFO,
                remedy="It only costs space; leave it, since a change inside a checkpoint can mislead rotation.",
            )
