"""files/missing-scaler."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Expect some skipped steps until the scale settles again, or resume from another checkpoint.",
    breaks_exactness=True,
)
def missing_scaler(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The fp16 gradient scaler's state is not there.

    Trainer 5.23, ``_load_scaler``, skips a missing file without a message; the loss scale then restarts at its initial
    value. Expected in fp16 runs on a GPU, and in every checkpoint whose neighbours of the same session have it. Not
    expected under DeepSpeed or apex, nor from transformers 4.31 to 4.49, which never wrote it.
    """
    name = layout.missing.get("scaler")
    if name is None and layout.scaler is None and not layout.weights_only:
        name = checkpoint.session.scaler
    if name and not checkpoint.stands_in(name):
        yield Violation(f"{name} is not there: the fp16 loss scale would restart", file=name)
