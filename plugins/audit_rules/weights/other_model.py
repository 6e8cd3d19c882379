"""weights/other-model."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules.optimizer._saved import keeps_moments_of
from audit_rules.weights._shared import shapes_of, shown


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file, or resume from the checkpoint before it; these are the weights of another model.",
    explained_by=(
        "files/missing-shard",
        "files/shard-index-mismatch",
        "files/missing-weights",
        "files/weights-only",
        "files/shadowed-adapter",
        "weights/hollow",
        "weights/prefix",
        "history/forked",
        "steps/directory-mismatch",
        "shards/incomplete",
        "shards/damaged",
    ),
)
def other_model(checkpoint: Checkpoint, layout: Layout, previous: Checkpoint) -> Iterator[Violation]:
    """The tensors of a full model differ from the previous checkpoint's in name or shape.

    Within a run the names and shapes of the saved tensors stay the same (317 of 317 neighbours). Trainer 5.23 loads
    full models with ``strict=False``: tensors with other names are skipped, with a warning that every tied model
    causes, too, and keep the values they had before the resume. Other shapes crash it.

    If the training arguments changed in between, the user's code may have changed the model on purpose, for example
    grown its vocabulary: then it is a warning, unless the optimizer has moments of the old shapes. Sharded weights are
    compared as a whole, however they are divided. For adapters see adapter/shape-mismatch.
    """
    if layout.kind not in ("full", "fsdp") or previous.layout.kind != layout.kind:
        raise NotApplicable("not a full model")
    mine, theirs = shapes_of(checkpoint), shapes_of(previous)
    if not mine or not theirs:
        raise NotApplicable("there are no tensors to compare")
    texts = []
    if gone := sorted(theirs.keys() - mine.keys()):
        texts.append(f"{len(gone)} tensors of {previous.name} are gone ({shown(gone)})")
    if new := sorted(mine.keys() - theirs.keys()):
        texts.append(f"{len(new)} are new ({shown(new)})")
    if other := sorted(name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]):
        name = other[0]
        texts.append(f"{len(other)} have another shape ({name}: {list(mine[name])}, was {list(theirs[name])})")
    if not texts:
        return
    same = checkpoint.optional("arguments") is None or checkpoint.optional("arguments") == previous.optional(
        "arguments"
    )
    optimizer = checkpoint.optional("optimizer")
    if (
        not same
        and optimizer is not None
        and keeps_moments_of(optimizer, (theirs[name] for name in other), mine.values())
    ):
        same = True
        texts.append("and the optimizer has moments of the old shapes")
    yield Violation(
        f"The model is not that of {previous.name}: {', '.join(texts)}",
        file=(layout.weights or layout.sharded_weights)[0],
        expected=len(theirs),
        actual=len(mine),
        severity=None if same else Severity.WARNING,
        blocks_resume=None if same else False,
    )
