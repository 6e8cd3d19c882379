"""adapter/shape-mismatch."""

from collections.abc import Iterator

from audit.plugin import Adapter, Checkpoint, NotApplicable, Severity, Violation, rule
from audit_rules.adapter._ranks import wrong_ranks
from audit_rules.adapter._shared import Module, is_plain, matches, modules, names_of


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from a checkpoint whose adapter file is complete; if adapter_config.json was edited, restore the "
    "values used in training.",
    explained_by=("weights/hollow", "weights/prefix"),
)
def shape_mismatch(checkpoint: Checkpoint, adapters: tuple[Adapter, ...]) -> Iterator[Violation]:
    """The tensors of an adapter do not match each other or its configuration.

    PEFT discards the report on missing and unexpected names: a lost ``lora_A`` starts at random, a lost ``lora_B`` at
    zero, without a message. A tensor of another rank makes the resume fail.

    Checked (PEFT 0.21; true of 404 of 404 generated and 151 of 151 real adapters): each ``lora_A`` has its ``lora_B``,
    and with DoRA its magnitude; rows of A = columns of B = ``r`` or the rank in ``rank_pattern``; each module is one of
    ``target_modules``; something of ``modules_to_save`` is there. Of every method: names and shapes are those of the
    previous checkpoint, if its configuration is the same (PEFT 0.19 transposed the matrices of fused experts: an older
    file does not load). Regular expressions in the file are not run; what depends on one is not checked.
    """
    judged = False
    for adapter in adapters:
        lora = adapter.config.get("peft_type") == "LORA"
        before = _before(checkpoint, adapter)
        if not lora and before is None:
            continue
        judged = True
        found = modules(adapter) if lora else {}
        if lora and not found and adapter.tensors and not _adapts_weights(adapter):
            continue
        own = (
            _unpaired(adapter, found), wrong_ranks(adapter, found), _untargeted(adapter, found), _unsaved(adapter),
        ) if lora else ()  # fmt: skip
        for message in _first(*own, _unlike(adapter, before, checkpoint)):
            yield Violation(f"{adapter.files.weights}: {message}", file=adapter.files.weights)
    if not judged:
        raise NotApplicable("there is no LoRA adapter, and no other one to compare with")


def _first(*checks: Iterator[str]) -> Iterator[str]:
    """One root cause is one finding: only the first check that finds something is reported."""
    for check in checks:
        for message in check:
            yield message
            return


def _adapts_weights(adapter: Adapter) -> bool:
    return bool(names_of(adapter.config, "target_modules"))


def _unpaired(adapter: Adapter, found: dict[str, Module]) -> Iterator[str]:
    for part, other in (("lora_A", "lora_B"), ("lora_B", "lora_A")):
        alone = [module.name for module in found.values() if part in module.parts and other not in module.parts]
        if alone:
            yield f"{len(alone)} of {len(found)} modules have {part} and no {other}: {alone[0]}"
    if adapter.config.get("use_dora") is True:
        without = [module.name for module in found.values() if "magnitude" not in module.parts]
        if without:
            yield f"{len(without)} of {len(found)} modules have no lora_magnitude_vector, which DoRA needs: {without[0]}"
    if not found:
        yield "it has no LoRA matrix, but the configuration names target modules"


def _untargeted(adapter: Adapter, found: dict[str, Module]) -> Iterator[str]:
    """Modules that the configuration does not name. It may name more than the model has."""
    targets = names_of(adapter.config, "target_modules")
    if not targets or adapter.config.get("target_parameters") or not all(is_plain(name) for name in targets):
        return
    foreign = [name for name in found if not any(matches(name, target) for target in targets)]
    if foreign:
        listed = ", ".join(targets[:6])
        yield f"{len(foreign)} of {len(found)} modules are not in target_modules ({listed}): {foreign[0]}"


def _unsaved(adapter: Adapter) -> Iterator[str]:
    """``modules_to_save`` of which nothing is there; PEFT adds names that only some models have."""
    wanted = names_of(adapter.config, "modules_to_save")
    if wanted and not any(f".{name}." in f".{tensor}" for name in wanted for tensor in adapter.tensors):
        yield f"it holds nothing of modules_to_save ({', '.join(wanted)})"


def _before(checkpoint: Checkpoint, adapter: Adapter) -> Adapter | None:
    """The same adapter in the previous checkpoint, if its configuration asks for the same tensors."""
    previous = checkpoint.optional("previous")
    for other in (previous.optional("adapters") if previous is not None else None) or ():
        if other.files.name == adapter.files.name and _same_targets(adapter, other):
            return other  # type: ignore[no-any-return]
    return None


def _unlike(adapter: Adapter, other: Adapter | None, checkpoint: Checkpoint) -> Iterator[str]:
    """Names that appeared or disappeared since the previous checkpoint, and shapes that differ from its shapes.

    Names of embeddings and heads are ignored: whether PEFT saves them depends on whether it could reach the hub. Their
    shapes are ignored if the training arguments differ: the vocabulary may have grown.
    """
    if other is None:
        return
    name = checkpoint.previous.name
    mine = {key for key in adapter.tensors if _stable(key)}
    theirs = {key for key in other.tensors if _stable(key)}
    gone, come = sorted(theirs - mine), sorted(mine - theirs)
    if gone:
        yield f"{len(gone)} tensors of {name} are not in it: {gone[0]}"
    elif come:
        yield f"{len(come)} tensors in it are not in {name}: {come[0]}"
    same_session = checkpoint.optional("arguments") == checkpoint.previous.optional("arguments")
    reshaped = [
        key
        for key in sorted(adapter.tensors.keys() & other.tensors.keys())
        if adapter.tensors[key].shape != other.tensors[key].shape and (same_session or _stable(key))
    ]
    if reshaped:
        key = reshaped[0]
        shapes = f"{list(adapter.tensors[key].shape)}, there {list(other.tensors[key].shape)}"
        yield f"{len(reshaped)} tensors have another shape than in {name}: {key} is {shapes}"


def _same_targets(one: Adapter, other: Adapter) -> bool:
    keys = (
        "peft_type", "target_modules", "modules_to_save", "target_parameters", "layers_to_transform", "bias", "use_dora",
        "r", "rank_pattern", "num_virtual_tokens",
    )  # fmt: skip
    for key in keys:
        mine, theirs = one.config.get(key), other.config.get(key)
        if isinstance(mine, list) and isinstance(theirs, list):
            if names_of(one.config, key) != names_of(other.config, key):
                return False
        elif mine != theirs:
            return False
    return True


def _stable(name: str) -> bool:
    return ".lora_" in name or not any(part in name for part in ("embed", "wte", "lm_head", "output"))
