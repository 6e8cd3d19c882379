"""plan/optimizer-changed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

ADAM = ("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_apex_fused", "adamw_hf")
TITLES = {
    "adam": "Adam", "sgd": "SGD", "adafactor": "Adafactor", "adagrad": "Adagrad", "rmsprop": "RMSprop",
    "8bit": "an optimizer of bitsandbytes", "schedule-free": "a schedule-free optimizer",
    "layer-wise": "a layer-wise optimizer", "projected": "GaLore or APOLLO",
}  # fmt: skip


@rule(
    Severity.ERROR,
    remedy="Plan the optimizer that the checkpoint was trained with; for another one start a new run from these weights.",
)
def optimizer_changed(plan: Plan, arguments: Mapping[str, Any], resume: Checkpoint) -> Iterator[Violation]:
    """The planned optimizer cannot continue with the state in the checkpoint.

    Trainer 5.23 loads ``optimizer.pt`` into whatever ``optim`` names, without comparing; the first step then fails
    (``KeyError: 'momentum'`` with SGD after AdamW), after the model and the data were loaded.

    Variants of one algorithm (``adamw_torch``, ``adamw_torch_fused``) continue with each other's state. Optimizers
    whose state is not known are not checked. If the configuration does not name ``optim``, it is AdamW, unless a
    command decides.
    """
    if resume.layout.kind == "deepspeed":
        raise NotApplicable("the configuration of DeepSpeed may name another optimizer")
    optim = arguments.get("optim")
    if optim is None and plan.owned:
        optim = ADAM[0]
    wanted, held = _of_name(str(optim)), _of_state(resume.optimizer)
    if wanted is None or held is None:
        raise NotApplicable(f"the planned optimizer, or that of {resume.name}, is not known")
    if wanted != held:
        yield Violation(
            f"optim is planned as {optim}, but the optimizer state of {resume.name} is that of {TITLES[held]}",
            expected=TITLES[held],
            actual=str(optim),
        )


def _of_name(optim: str) -> str | None:
    if optim.startswith(("galore", "apollo")):
        return "layer-wise" if "layerwise" in optim else "projected"
    if optim.startswith("schedule_free"):
        return "schedule-free"
    if optim.startswith("paged_") or "bnb" in optim or optim in ("adamw_8bit", "lion_8bit", "lion_32bit"):
        return "8bit"
    if optim in ADAM:
        return "adam"
    return optim if optim in ("sgd", "adafactor", "adagrad", "rmsprop") else None


def _of_state(optimizer: "OptimizerState") -> str | None:
    entry = next((entry for entry in optimizer.state.values() if entry), None)
    if optimizer.kind == "layer-wise":
        return optimizer.kind
    if any("rank" in group for group in optimizer.groups):
        return "projected"
    if optimizer.kind in ("sgd", "sgd-momentum"):
        return "sgd"
    if optimizer.kind in TITLES:
        return optimizer.kind if entry is not None else None
    if entry is not None and "square_avg" in entry:
        return "rmsprop"
    return "adagrad" if entry is not None and "sum" in entry else None
