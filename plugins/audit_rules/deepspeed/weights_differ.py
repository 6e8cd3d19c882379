"""deepspeed/weights-differ."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import Apart, ZeroState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint: the model's states and the partitions are of different steps, or one of them "
    "was damaged.",
    explained_by=(
        "deepspeed/step-mismatch",
        "deepspeed/stale-partition",
        "deepspeed/partition-mismatch",
        "deepspeed/latest",
        "deepspeed/emptied-partition",
        "integrity/archive",
        "steps/directory-mismatch",
    ),
)
def weights_differ(checkpoint: Checkpoint, zero: "ZeroState", apart: "tuple[Apart, ...]") -> Iterator[Violation]:
    """The weights in DeepSpeed's model states are not those in the partitions of ZeRO.

    ZeRO 1 and 2 save the weights twice: in the type of the training in ``mp_rank_00_model_states.pt``, and in single
    precision in the partitions. After every step the former are the latter, rounded. DeepSpeed 0.19 loads both and
    compares nothing; it computes with the first until the first step overwrites them with the second, so an older file
    in either place goes unnoticed.

    At full depth the first and last elements of every parameter on every rank are compared, up to two million in all. A
    difference of one unit in the last place is none. ZeRO 3 saves the weights once.
    """
    if apart:
        first = apart[0]
        more = and_more(apart, " and {} more places")
        path = next(iter(zero.engines))
        yield Violation(
            f"{path} and {first.path} have different weights of {first.name}{more}: {first.changed} of {first.compared} "
            "elements that were compared",
            file=path,
            expected=0,
            actual=len(apart),
        )
