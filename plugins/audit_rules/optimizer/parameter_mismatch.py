"""optimizer/parameter-mismatch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule
from audit_rules.optimizer._lineage import against_previous
from audit_rules.optimizer._saved import against_weights
from audit_rules.optimizer._shared import parameters, place_of, tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from a checkpoint whose optimizer and weights belong together; never put an optimizer.pt of another "
    "run, model or adapter beside these weights.",
    explained_by=(
        "adapter/shape-mismatch",
        "adapter/config-changed",
        "files/missing-shard",
        "files/missing-weights",
        "files/shard-index-mismatch",
        "weights/hollow",
        "weights/other-model",
        "history/forked",
        "shards/incomplete",
        "shards/damaged",
        "deepspeed/latest",
        "deepspeed/partition-mismatch",
        "deepspeed/ranks-disagree",
        "deepspeed/stale-partition",
    ),
)
def parameter_mismatch(checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState") -> Iterator[Violation]:
    """The optimizer state does not match the parameters in this checkpoint.

    ``optimizer.pt`` has no names: Trainer assigns the moments to the parameters by position, and compares only the
    number and size of the groups. A parameter without a state silently starts with fresh moments; a moment of another
    shape makes fused AdamW (the default) write outside of its memory, and the process aborts; if one of the two moments
    of a parameter is missing, AdamW of torch 2.13 loads the state and ends at the first step with a KeyError.

    Checked, with the first mismatch reported: the indices run from 0 in the order of the groups; there are as many
    groups as the scheduler has rates; kind of optimizer, groups, shapes and states are those of the previous
    checkpoint; the moments of a parameter have one shape, and none is missing that the first parameter has; the shapes
    of the moments are among those of the saved tensors, and a LoRA adapter has a tensor for each parameter that has a
    state. So parameters of a loss are found, which no checkpoint has and which begin anew on a resume
    (sentence-transformers#2648).

    Not compared with the weights: methods of PEFT that save other shapes than they train (P-tuning), GaLore (its
    moments are projections), Adafactor (factored), mixtures of experts (saved in other shapes), and adapters with
    weights in further, unknown files. A LoRA parameter may have no state while its tensors are still zero: an unused
    module never gets a gradient. A sharded state has names, so each parameter is compared with the weights of its name.
    Under ZeRO the optimizer has one flat parameter for each group; deepspeed/partition-mismatch compares its slices.
    In a file of PyTorch Lightning all states were saved at once, and its callbacks add groups during training
    (BackboneFinetuning): there groups are compared neither with the scheduler nor with the previous checkpoint.
    """
    own_file = not layout.parts
    for check in (
        _indices(optimizer),
        _groups(checkpoint, optimizer) if own_file else (),
        against_previous(checkpoint, optimizer) if own_file else (),
        _moments(optimizer),
        _halves(optimizer),
        against_weights(checkpoint, layout, optimizer),
    ):
        for message in check:
            yield Violation(f"{place_of(layout)} {message}", file=place_of(layout))
            return


def _indices(optimizer: "OptimizerState") -> Iterator[str]:
    listed = parameters(optimizer)
    if all(isinstance(index, int) for index in listed) and listed != list(range(len(listed))):
        yield f"numbers its {len(listed)} parameters out of order, as no optimizer saves them"
    strangers = set(optimizer.state) - set(listed)
    if strangers:
        yield f"has a state for {len(strangers)} parameters that are in no group"


def _groups(checkpoint: Checkpoint, optimizer: "OptimizerState") -> Iterator[str]:
    # A flattened sharded state has no groups: they are put together here by what parameters have in common.
    scheduler = checkpoint.optional("scheduler") if checkpoint.layout.scheduler else None
    rates = (scheduler.last_lr or scheduler.base_lrs) if scheduler is not None else None
    if rates and len(rates) != len(optimizer.groups):
        yield f"has {len(optimizer.groups)} parameter groups, but {checkpoint.layout.scheduler} has {len(rates)} rates"


def _moments(optimizer: "OptimizerState") -> Iterator[str]:
    shapes: dict[object, tuple[int, ...]] = {}
    for index, key, ref in tensors(optimizer):
        if key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") and optimizer.kind == "adam":
            first = shapes.setdefault(index, ref.shape)
            if first != ref.shape:
                yield f"has moments of shape {list(first)} and {list(ref.shape)} for parameter {index}"
                return


def _halves(optimizer: "OptimizerState") -> Iterator[str]:
    """A state that is that of the first parameter but for one moment; optimizers that mix methods differ in more."""
    first = set(next(iter(optimizer.state.values()), ()))
    for index, entry in optimizer.state.items():
        missing = first - set(entry)
        if optimizer.kind == "adam" and missing in ({"exp_avg"}, {"exp_avg_sq"}) and set(entry) < first:
            yield f"has no {missing.pop()} for parameter {index}, which has its other moment"
            return
