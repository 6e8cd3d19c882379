"""files/leftover."""

from collections.abc import Iterator

from audit.plugin import DIRECTORY, FILE, Run, Severity, Violation, checkpoint_name, rule


@rule(
    Severity.WARNING,
    remedy="Move it out of the run's directory, or rename it so that its name does not begin with checkpoint-.",
)
def leftover(run: Run) -> Iterator[Violation]:
    """A name looks like a checkpoint, but it is a copy, a temporary directory or a file.

    Trainer 5.23, ``rotate_checkpoints``: every directory matching ``checkpoint-*`` counts towards ``save_total_limit``
    and is deleted in its turn, so ``checkpoint-best`` or ``checkpoint-10-backup`` disappears, or takes the place of a
    checkpoint that should stay. ``get_last_checkpoint`` ignores them, so the training in ``checkpoint-400-final`` is
    repeated by a resume. ``tmp-checkpoint-*`` is left by an older Trainer that was killed. Orphaned ``.tmp*`` files
    inside a checkpoint (safetensors, killed between write and rename) only take space: an info.

    A link named ``checkpoint-N`` to a directory is security/escaping-path.
    """
    for name, entry in run.entries.items():
        step = run.backend.checkpoint_step(name)
        if name.startswith("tmp-checkpoint-"):
            yield Violation(f"{name} was left behind by a killed save", file=name, remedy="Delete it.")
        elif not name.startswith("checkpoint-"):
            continue
        elif step is not None and entry.kind == DIRECTORY and name != checkpoint_name(step):
            yield Violation(
                f"{name} has a number with leading zeros; Trainer writes {checkpoint_name(step)}", file=name
            )
        elif step is not None and entry.kind == FILE:  # links and devices: security/escaping-path, special-file
            yield Violation(f"{name} is a file, not a directory; a resume ignores it", file=name)
        elif step is None and entry.kind == DIRECTORY:
            yield Violation(f"{name} is ignored by a resume, but rotation counts and deletes it", file=name)
    for checkpoint in run.judged:
        for path, entry in checkpoint.entries.items():
            if entry.kind == DIRECTORY and "/" not in path and run.backend.checkpoint_step(path) is not None:
                yield Violation(
                    f"{path} is inside {checkpoint.name}, where a resume ignores it",
                    checkpoint=checkpoint.name,
                    file=path,
                    remedy="Move it into the run's directory if it is missing there, or away if it is a copy.",
                )
        orphans = [path for path in checkpoint.entries if path.rpartition("/")[2].startswith(".tmp")]
        if orphans and checkpoint.complete:
            yield Violation(
                f"{orphans[0]} is a temporary file left by a killed save",
                checkpoint=checkpoint.name,
                file=orphans[0],
                severity=Severity.INFO,
                remedy="Leave it: it only takes space, and a change inside a checkpoint can mislead rotation.",
            )
