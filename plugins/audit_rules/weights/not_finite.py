"""weights/not-finite."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Severity, Violation, rule
from audit_rules._scans import was_read
from audit_rules.weights._shared import scanned, shown

if TYPE_CHECKING:
    from audit.plugin import ZeroState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from the newest checkpoint whose weights are finite, with a lower learning rate or bf16 in place of "
    "fp16; keep that checkpoint from being rotated out.",
    explained_by=("shards/damaged",),
)
def not_finite(checkpoint: Checkpoint, scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """Weights have NaN or infinite values.

    One such value spreads to all weights with the next update. Trainer does not notice: with ``logging_nan_inf_filter``
    (the default) the logged loss falls to 0.0, the exit code is 0, and rotation deletes the last finite checkpoint.

    Sharded weights are checked chunk by chunk, and of DeepSpeed the module and the frozen parameters in the engine's
    states: a resume copies each rank's ``frozen_param_fragments`` back (DeepSpeed 0.19, ``load_module_state_dict``).
    Not checked: buffers with "mask" in their name, which may be infinite, and the padding of ZeRO 3, which no parameter
    has.
    """
    zero: ZeroState | None = checkpoint.optional("zero")
    if zero is not None:
        yield from _in_engines(checkpoint, zero, scan)
        return
    broken: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for item in scanned(checkpoint, scan):
        counts[item.file] = counts.get(item.file, 0) + 1
        if item.scan.nonfinite and "mask" not in item.tensor.name.rpartition(".")[2]:
            broken.setdefault(item.file, []).append(item.tensor.name)
    for file, names in broken.items():
        yield Violation(
            f"{file} has NaN or infinite values in {len(names)} of {counts[file]} tensors: {shown(names)}",
            file=file,
            expected=0,
            actual=len(names),
        )


def _in_engines(checkpoint: Checkpoint, zero: "ZeroState", scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """Check the module and the frozen parameters of DeepSpeed's engine; several tensors may be in one storage."""
    for path, engine in zero.engines.items():
        spans = scan[path].spans if was_read(scan, path) else {}
        broken = {storage for storage, found in spans.items() if found.nonfinite}
        frozen = broken & {*engine.frozen.values()}
        padding = checkpoint.only_padding(path, frozen) if frozen else frozenset()
        names = [
            name
            for name, storage in {**engine.frozen, **engine.module}.items()
            if "mask" not in name.rpartition(".")[2] and storage in broken - padding
        ]
        if names:
            yield Violation(
                f"{path} has NaN or infinite values in the storage of {shown(names)}",
                file=path,
                expected=0,
                actual=len(names),
            )
