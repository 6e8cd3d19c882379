"""weights/dtype-changed."""

from collections import Counter
from collections.abc import Iterator

from audit.plugin import Checkpoint, Severity, Violation, WeightFile, rule


@rule(
    Severity.WARNING,
    remedy="If this was not intended, resume from the checkpoint before the change; converted weights have lost precision.",
)
def dtype_changed(checkpoint: Checkpoint, weights: tuple[WeightFile, ...], previous: Checkpoint) -> Iterator[Violation]:
    """The dtype of the weights differs from the previous checkpoint's.

    Trainer silently converts weights when it loads them: an adapter that was converted to fp16 differs from the trained
    one in the fourth digit, and the moments of the optimizer no longer match it.
    """
    before = {name: tensor.dtype for file in previous.weights for name, tensor in file.tensors.items()}
    for file in weights:
        changes = Counter(
            (before[name], tensor.dtype)
            for name, tensor in file.tensors.items()
            if name in before and before[name] != tensor.dtype
        )
        if changes:
            (old, new), _ = changes.most_common(1)[0]
            yield Violation(
                f"{sum(changes.values())} of {len(file.tensors)} tensors in {file.file} are {new}; "
                f"in {previous.name} they are {old}",
                file=file.file,
                expected=old,
                actual=new,
            )
