"""weights/rank-slice."""

from collections.abc import Iterator, Mapping

from audit.plugin import Adapter, Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules.weights._shared import Scanned, is_lora_b, scanned


@rule(
    Severity.ERROR,
    remedy="Rebuild the adapter from the sharded checkpoint if there is one; gather the state dict on all processes before "
    "saving (FSDP2 with FULL_STATE_DICT needs a version of accelerate that does).",
    explained_by=("weights/untrained",),
)
def rank_slice(
    checkpoint: Checkpoint,
    layout: Layout,
    adapters: tuple[Adapter, ...],
    scan: Mapping[str, FileScan],
    *,
    most: int = 16,
) -> Iterator[Violation]:
    """Only the rows of one rank of the adapter were saved; the others are zero.

    Under FSDP2 each process has ``ceil(rows / N)`` rows of a matrix. If one of them saves without gathering, every
    ``lora_B`` has that many rows and zeros in the others, and a resume silently resets (N-1)/N of the adapter to its
    initial values.

    Reported if the zero rows of every ``lora_B`` are the same whole blocks of 1/N. N is the number of processes if that
    is known and above 1, otherwise any number up to ``most`` that fits at least two matrices.
    """
    second = [item for item in scanned(checkpoint, scan) if is_lora_b(item.tensor.name) and len(item.tensor.shape) >= 2]
    if not second:
        raise NotApplicable("there is no lora_B")
    if not all(item.scan.zero_run and not item.scan.all_zero for item in second):
        return
    world = layout.world_size
    if world is not None and world > 1:
        candidates = [world]
    elif len(second) > 1:
        candidates = list(range(2, most + 1))
    else:
        return
    for count in candidates:
        blocks = {_kept(item, count) for item in second}
        if len(blocks) == 1 and None not in blocks:
            yield Violation(
                f"rows of all {len(second)} lora_B in {second[0].file} are zero in blocks of 1/{count}: "
                f"only the part of one of {count} processes was saved",
                file=second[0].file,
                expected="rows of all processes",
                actual=f"1/{count} of the rows",
            )
            return


def _kept(item: Scanned, count: int) -> tuple[bool, int] | None:
    """Return from which end, and for how many of ``count`` blocks of rows, the matrix is zero; None if it is not.

    The scan knows the longest run only: at least the larger side of the one block that is kept.
    """
    rows = item.tensor.shape[0]
    row = item.tensor.nbytes // rows
    block = -(-rows // count)
    first = item.scan.zero_run_at - item.tensor.offset
    end = first + item.scan.zero_run
    # The low bytes of the first value after the run may be zero as well.
    if first % row or end % row > 8:
        return None
    if first == 0:
        at_start, zero, inner = True, end // row, end // row
    elif end == item.tensor.nbytes:
        at_start, zero, inner = False, rows - first // row, first // row
    else:
        return None
    if inner % block or 2 * zero < rows - block:
        return None
    return at_start, inner // block
