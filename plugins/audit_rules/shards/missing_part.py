"""shards/missing-part."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules._neighbours import others

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from a checkpoint that has it; the loader stops where a name is missing.",
    explained_by=(
        "files/missing-part",
        "files/missing-weights",
        "files/missing-optimizer",
        "files/weights-only",
        "weights/other-model",
    ),
)
def missing_part(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", state_names: frozenset[str]
) -> Iterator[Violation]:
    """A part of the state that all other checkpoints of the run have is not in the metadata.

    Parts are what a script saves beside the optimizer: a scheduler, its own counters, the position of a data loader.
    torch 2.13, ``dcp.load``, stops with "Missing key" at a name that the script has and the metadata has not. What a
    script saves is recorded nowhere, so the other checkpoints say it: at least two of them, if all have the part. Not
    checked inside Trainer's checkpoints, which have a directory for each state.
    """
    if checkpoint.backend.arguments_file:
        raise NotApplicable("the trainer's arguments say what a checkpoint owes")
    whole = others(checkpoint)
    if len(whole) < 2:
        raise NotApplicable("there are no two other complete checkpoints to compare with")
    known = [names for item in whole if (names := item.optional("state_names")) is not None]
    if len(known) < len(whole):
        raise NotApplicable("the state of another checkpoint could not be read")
    lost = sorted(frozenset.intersection(*known) - state_names)
    homes = {state.directory for state in shards}
    lost = [name for name in lost if name.rpartition("/")[0] in homes]
    if lost:
        more = and_more(lost, " (and {} more)")
        path = shards[0].tables[0]
        yield Violation(f"{path} names no {lost[0]}{more}, and all {len(whole)} other checkpoints have it", file=path)
