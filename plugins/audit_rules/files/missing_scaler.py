"""files/missing-scaler."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Expect some skipped steps while the scale finds its level again, or resume from another checkpoint.",
    breaks_exactness=True,
)
def missing_scaler(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The fp16 gradient scaler's state is not there.

    Trainer 5.23, ``_load_scaler``: loads it if it is there and says nothing otherwise; the loss scale then starts again
    at its initial value. Owed by fp16 runs on a GPU and by every checkpoint whose neighbours of the same session have
    it. Not owed under DeepSpeed or apex, nor by transformers 4.31 to 4.49, which never wrote it.
    """
    name = layout.missing.get("scaler")
    if name is None and layout.scaler is None and not layout.weights_only:
        name = checkpoint.run.session_of(checkpoint).scaler
    if name and not checkpoint.stands_in(name):
        yield Violation(f"{name} is not there: the fp16 loss scale would start again", file=name)
