"""optimizer/emptied-moments."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules._updates import updates
from audit_rules.optimizer._averages import (
    FADING,
    FIRST,
    LEAST,
    SECOND,
    Average,
    Group,
    Part,
    averages,
    betas_of,
    groups_of,
)
from audit_rules.optimizer._shared import place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; moments cannot be rebuilt.",
    explained_by=(
        "integrity/archive",
        "shards/damaged",
        "shards/incomplete",
        "deepspeed/emptied-partition",
        "optimizer/fresh",
        "optimizer/unchanged",
        "optimizer/step-mismatch",
        "optimizer/parameter-mismatch",
    ),
)
def emptied_moments(
    checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """Moments of the optimizer are zero that cannot be: of all parameters, of one, or of the part that one rank saved.

    Adam's two moments are averages of a gradient and of its square: where the first has values, the second has some,
    too, and the first is not zero in all parameters at once. An update makes an average smaller by a factor that the
    optimizer saves (``betas``, ``momentum``, ``alpha``), so what had values in the checkpoint before is not all zero
    after a few updates. torch loads such a state without a message.

    No finding: parameters that are frozen, never used, or without a gradient for so long that the average has faded;
    ``beta1 = 0``; the moments of ``lora_A`` while ``lora_B`` is zero; a state that was made anew. Not checked:
    quantized moments.
    """
    parts = averages(optimizer, layout, scan)
    if not parts:
        raise NotApplicable("no averages of this optimizer could be read completely")
    groups = groups_of(optimizer)
    if (lost := _lost_of_two(parts, groups)) is not None:
        other = SECOND if lost == FIRST else FIRST
        path = place_of(layout)
        yield Violation(f"{path} has zeros alone in the {lost} of all parameters, and values in {other}", file=path)
        return
    for wrong, why in (
        (_without_square(parts, groups), f"and values in its {FIRST}"),
        (_cannot_have_faded(checkpoint, optimizer, parts, groups), "and had values in the checkpoint before"),
    ):
        if wrong:
            first, more = wrong[0], and_more(wrong, " (and {} more parts)")
            which = f"{first.key} of parameter {first.parameter}"
            yield Violation(f"{first.path} has zeros alone in {which}, {why}{more}", file=first.path)
            return


def _lost_of_two(parts: Mapping[Part, Average], groups: Mapping[str, Group]) -> str | None:
    """The one of Adam's moments that is zero in all parameters, if the other is not."""
    firsts = [part for (name, key, _), part in parts.items() if key == FIRST and betas_of(groups.get(name))]
    names = {str(part.parameter) for part in firsts}
    seconds = [part for (name, key, _), part in parts.items() if key == SECOND and name in names]
    if not firsts or not seconds:
        return None
    if all(part.scan.all_zero for part in firsts) and not all(part.scan.all_zero for part in seconds):
        kept = [betas[0] for name in names if (betas := betas_of(groups[name])) is not None]
        return FIRST if all(kept) else None
    return SECOND if all(part.scan.all_zero for part in seconds) and any(part.has_square for part in firsts) else None


def _without_square(parts: Mapping[Part, Average], groups: Mapping[str, Group]) -> list[Average]:
    """The averages of squares that are zero where that of the gradient is not."""
    return [
        part
        for (name, key, place), part in parts.items()
        if key == SECOND
        and part.scan.all_zero
        and (first := parts.get((name, FIRST, place))) is not None
        and first.has_square
        and betas_of(groups.get(name))
    ]


def _cannot_have_faded(
    checkpoint: Checkpoint, optimizer: "OptimizerState", parts: Mapping[Part, Average], groups: Mapping[str, Group]
) -> list[Average]:
    """The averages that are zero now, and were larger in the checkpoint before than the updates since make zero."""
    empty = {place: part for place, part in parts.items() if part.scan.all_zero}
    previous = checkpoint.optional("previous") if empty else None
    old = previous.optional("optimizer") if previous is not None else None
    scan = previous.optional("scan") if previous is not None else None
    since = _updates_since(previous, checkpoint) if previous is not None else None
    if previous is None or old is None or scan is None or since is None:
        return []
    before = averages(old, previous.layout, scan)
    groups_before, counts, counted = groups_of(old), optimizer.counts, old.counts
    found = []
    for place, part in empty.items():
        was = before.get(place)
        # Schedules may move it, as OneCycleLR does.
        factors = [FADING[part.key](known[place[0]]) for known in (groups, groups_before) if place[0] in known]
        factor = min((item for item in factors if item is not None), default=None)
        if was is None or factor is None or part.dtype != was.dtype:
            continue
        if counts.get(part.parameter, 0) < counted.get(part.parameter, 0):
            continue  # the state of this parameter was made anew
        if was.scan.peak * factor**since > LEAST[part.dtype]:
            found.append(part)
    return found


def _updates_since(older: Checkpoint, newer: Checkpoint) -> float | None:
    """How many updates were made at most from one checkpoint to the next, None if nothing tells."""
    before, after = updates(older), updates(newer)
    if before is None or after is None:
        before, after = older.optional("global_step"), newer.optional("global_step")
    return after - before if before is not None and after is not None and after >= before else None
