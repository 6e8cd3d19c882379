"""Parts of one checkpoint that do not belong together: optimizer, scheduler, adapter, names, other kinds of runs."""

import json
import os
import shutil
from typing import Any

from tests.faults.missing_files import BASE, BEFORE, FIRST, NEWEST, inside
from tests.faults.table import Damage, Group
from tests.faults.tools import ADAPTER, New, edit_json, edit_tensors, edit_torch, in_place_of, put
from tests.faults.values import edit_state

# -- optimizer and scheduler ------------------------------------------------------------------------------------

parts = Group("Optimizer and scheduler", BASE, NEWEST, BEFORE)


def optimizer(edit: Any) -> Damage:
    return lambda run: edit_torch(inside(run, "optimizer.pt"), edit)


def scheduler(edit: Any) -> Damage:
    return lambda run: edit_torch(inside(run, "scheduler.pt"), edit)


def _shape(document: Any) -> None:
    state = document["state"][0]
    state["exp_avg"] = state["exp_avg"].reshape(-1)[:4].clone()


def _steps_zero(document: Any) -> None:
    for state in document["state"].values():
        state["step"].zero_()


def _rates_doubled(document: Any) -> None:
    for group in document["param_groups"]:
        group["lr"] = group["lr"] * 2 + 1e-4  # the last rate of a linear schedule is 0


def _one_group(document: Any) -> None:
    document["param_groups"] = document["param_groups"][:1]


def _as_sgd(document: Any) -> None:
    document["state"] = {}
    for group in document["param_groups"]:
        for key in ("betas", "eps", "amsgrad"):
            group.pop(key, None)
        group.update(momentum=0, dampening=0, nesterov=False)


def _plateau(run: str) -> None:
    import torch

    document = {
        "factor": 0.1,
        "mode": "min",
        "num_bad_epochs": 0,
        "best": 1.0,
        "last_epoch": 3,
        "_last_lr": [1e-3, 1e-3],
    }
    torch.save(document, inside(run, "scheduler.pt"))


parts.add(
    "optimizer.pt: state of one parameter removed",
    "optimizer/parameter-mismatch",
    optimizer(lambda d: d["state"].pop(0)),
)
parts.add("optimizer.pt: no state at all", "optimizer/fresh", optimizer(lambda d: d["state"].clear()))
parts.add("optimizer.pt: a moment of another shape", "optimizer/parameter-mismatch", optimizer(_shape))
parts.add("optimizer.pt: one parameter group instead of two", "optimizer/parameter-mismatch", optimizer(_one_group))
parts.add("optimizer.pt of an SGD run", "optimizer/parameter-mismatch", optimizer(_as_sgd))
parts.add("optimizer.pt: all steps 0", "optimizer/fresh", optimizer(_steps_zero))
parts.add(
    "optimizer.pt: learning rates doubled", "learning-rate/scheduler-disagrees", optimizer(_rates_doubled), blocks=False
)
parts.add(
    "scheduler.pt: 8 steps ahead",
    "scheduler/step-mismatch",
    scheduler(lambda d: d.update(last_epoch=68, _step_count=69)),
)
parts.add("scheduler.pt of a plateau run", "scheduler/step-mismatch", _plateau)
parts.add(
    "scheduler.pt: base rates doubled",
    "learning-rate/off-schedule",
    scheduler(lambda d: d.update(base_lrs=[2 * rate for rate in d["base_lrs"]])),
    blocks=False,
)

# -- adapter ----------------------------------------------------------------------------------------------------

adapter = Group("Adapter and its configuration", BASE, NEWEST, BEFORE)


def tensors(edit: Any) -> Damage:
    return lambda run: edit_tensors(inside(run, ADAPTER), edit)


def config(**values: Any) -> Damage:
    return lambda run: put(inside(run, "adapter_config.json"), **values)


def _drop(part: str, everything: bool = False) -> Any:
    def edit(found: dict[str, Any]) -> None:
        names = [name for name in sorted(found) if part in name]
        for name in names if everything else names[:1]:
            del found[name]

    return edit


def _other_rank(found: dict[str, Any]) -> None:
    name = next(name for name in sorted(found) if "lora_A" in name)
    found[name] = found[name][:2].clone()


def _half(found: dict[str, Any]) -> New:
    return New({name: tensor.half() for name, tensor in found.items()})


PEFT = "base_model.model."


def _prefixed(wrapper: str, at: str = "") -> Any:
    def edit(found: dict[str, Any]) -> New:
        return New({f"{at}{wrapper}{name.removeprefix(at)}": tensor for name, tensor in found.items()})

    return edit


adapter.add("one lora_A missing", "adapter/shape-mismatch", tensors(_drop("lora_A")))
adapter.add("every lora_B missing", "adapter/shape-mismatch", tensors(_drop("lora_B", everything=True)))
adapter.add("one tensor of another rank", "adapter/shape-mismatch", tensors(_other_rank))
adapter.add("tensors stored as float16", "weights/dtype-changed", tensors(_half), severity="warning", blocks=False)
adapter.add("names with _orig_mod.", "weights/prefix", tensors(_prefixed("_orig_mod.")))
adapter.add("names with module.", "weights/prefix", tensors(_prefixed("module.")))
adapter.add("names with _orig_mod. after PEFT's own prefix", "weights/prefix", tensors(_prefixed("_orig_mod.", PEFT)))
adapter.add("adapter_config.json: another rank", "adapter/shape-mismatch", config(r=8))
adapter.add("adapter_config.json: another alpha", "adapter/config-changed", config(lora_alpha=64), blocks=False)
adapter.add(
    "adapter_config.json: an initialisation that changes the base model",
    "adapter/config-changed",
    config(init_lora_weights="pissa"),
    blocks=False,
)
adapter.add("adapter_config.json: other targets", "adapter/shape-mismatch", config(target_modules=["k_proj", "o_proj"]))
adapter.add(
    "adapter_config.json: another base model",
    "adapter/config-changed",
    config(base_model_name_or_path="other/base"),
    blocks=False,
)
adapter.add(
    "safetensors bytes under the name adapter_model.bin",
    "integrity/archive",
    lambda run: os.rename(inside(run, ADAPTER), inside(run, "adapter_model.bin")),
)
adapter.add(
    "full-model weights beside the adapter",
    "files/shadowed-adapter",
    lambda run: shutil.copy2(inside(run, ADAPTER), inside(run, "model.safetensors")),
)

# -- names and leftovers ----------------------------------------------------------------------------------------


def rename(new: str) -> Damage:
    return lambda run: os.rename(os.path.join(run, NEWEST), os.path.join(run, new))


names = Group("Names and leftovers", BASE, NEWEST, BEFORE)
names.add(
    "checkpoint-60 renamed checkpoint-60-final",
    "files/leftover",
    rename("checkpoint-60-final"),
    severity="warning",
    checkpoint=None,
)
names.add(
    "checkpoint-60 renamed checkpoint-060",
    "files/leftover",
    rename("checkpoint-060"),
    severity="warning",
    checkpoint=None,
    resume="checkpoint-060",
)
names.add(
    "a file named checkpoint-80",
    "files/leftover",
    lambda run: in_place_of(os.path.join(run, "checkpoint-80"), b"x"),
    severity="warning",
    checkpoint=None,
    blocks=False,
)
names.add(
    "tmp-checkpoint-80 left by a killed save",
    "files/leftover",
    lambda run: os.mkdir(os.path.join(run, "tmp-checkpoint-80")),
    severity="warning",
    checkpoint=None,
    blocks=False,
)
names.add(
    "a copy named checkpoint-best",
    "files/leftover",
    lambda run: shutil.copytree(os.path.join(run, FIRST), os.path.join(run, "checkpoint-best")),
    severity="warning",
    checkpoint=None,
    blocks=False,
)
names.add(
    "optimizer.pt copied to the root",
    "files/stray-state",
    lambda run: shutil.copy2(inside(run, "optimizer.pt"), run),
    severity="warning",
    checkpoint=None,
    blocks=False,
)
moved = Group("Names and leftovers", BASE, "checkpoint-70", BEFORE)
moved.add("checkpoint-60 renamed checkpoint-70", "steps/directory-mismatch", rename("checkpoint-70"))
gap = Group("Names and leftovers", BASE, NEWEST, BEFORE)
gap.add(
    "a checkpoint in the middle deleted by hand",
    "steps/gap",
    lambda run: shutil.rmtree(os.path.join(run, BEFORE)),
    severity="warning",
    checkpoint=None,
    blocks=False,
)

# -- several runs in one directory ------------------------------------------------------------------------------


def _other_history(run: str) -> None:
    """Another run wrote checkpoint-60: every loss it logged is another one."""

    def edit(document: Any) -> None:
        for entry in document["log_history"]:
            entry["loss"] = entry.get("loss", 1.0) * 1.01

    edit_state(edit)(run)


forked = Group("Several runs in one directory", BASE, NEWEST, BEFORE)
forked.add(
    "the newest checkpoint is of another run",
    "history/forked",
    _other_history,
    checkpoint=None,
    blocks=False,
)

# -- other kinds of runs ----------------------------------------------------------------------------------------

SHARD = "model-00002-of-00003.safetensors"


def shard(run: str, checkpoint: str = "checkpoint-9") -> str:
    home = os.path.join(run, checkpoint)
    return os.path.join(home, sorted(name for name in os.listdir(home) if "-of-" in name)[1])


def index(run: str) -> str:
    return os.path.join(run, "checkpoint-9", "model.safetensors.index.json")


def _unlisted(document: Any) -> None:
    document["weight_map"].pop(min(document["weight_map"]))


def _escaping(document: Any) -> None:
    document["weight_map"][min(document["weight_map"])] = "../../outside.safetensors"


sharded = Group("Sharded full model", "sharded", "checkpoint-9", "checkpoint-6")
sharded.add("a shard missing", "files/missing-shard", lambda run: os.unlink(shard(run)))
sharded.add("the index missing", "files/missing-shard", lambda run: os.unlink(index(run)))
sharded.add(
    "a shard of an older step",
    "weights/unchanged",
    lambda run: shutil.copy2(shard(run, "checkpoint-6"), shard(run)),
    depth="full",
)
sharded.add("a tensor not in the index", "files/shard-index-mismatch", lambda run: edit_json(index(run), _unlisted))
sharded.add(
    "a tensor dropped from its shard",
    "files/shard-index-mismatch",
    lambda run: edit_tensors(shard(run), lambda found: found.pop(min(found))),
)
sharded.add(
    "a stale model.safetensors beside the shards",
    "files/shadowed-adapter",
    lambda run: shutil.copy2(shard(run), os.path.join(run, "checkpoint-9", "model.safetensors")),
)
sharded.add("an index entry that leads out", "security/escaping-path", lambda run: edit_json(index(run), _escaping))

full = Group("Full model", "full", "checkpoint-9", "checkpoint-6")
full.add(
    "a tensor under another name",
    "weights/other-model",
    lambda run: edit_tensors(os.path.join(run, "checkpoint-9", "model.safetensors"), _renamed),
)


def _renamed(found: dict[str, Any]) -> None:
    found["another.weight"] = found.pop(min(found))


two = Group("Two adapters", "two_adapters", "checkpoint-9", "checkpoint-6")
two.add(
    "the second adapter's directory missing",
    "files/missing-adapter",
    lambda run: shutil.rmtree(os.path.join(run, "checkpoint-9", "second")),
)
two.add(
    "the second adapter's weights missing",
    "files/missing-weights",
    lambda run: os.unlink(os.path.join(run, "checkpoint-9", "second", ADAPTER)),
)
fp16 = Group("fp16 with a scaler", "scaler", "checkpoint-9", "checkpoint-6")
fp16.add(
    "scaler.pt missing",
    "files/missing-scaler",
    lambda run: os.unlink(os.path.join(run, "checkpoint-9", "scaler.pt")),
    severity="warning",
    blocks=False,
)
limited = Group("save_total_limit 2", "limit_2", "checkpoint-15", "checkpoint-12")


def _extra(run: str) -> None:
    """A checkpoint that rotation should have deleted: its state is the newest one's, cut to the older step."""
    home = os.path.join(run, "checkpoint-9")
    shutil.copytree(os.path.join(run, "checkpoint-12"), home)
    path = os.path.join(home, "trainer_state.json")
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    document["global_step"] = 9
    document["log_history"] = [entry for entry in document["log_history"] if entry["step"] <= 9]
    in_place_of(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())


def _best_deleted(run: str) -> None:
    """The path of the best is made relative: the original of this copy still exists."""
    for name in sorted(os.listdir(run)):
        if name.startswith("checkpoint-"):
            put(os.path.join(run, name, "trainer_state.json"), best_model_checkpoint="current_model/checkpoint-6")
    shutil.rmtree(os.path.join(run, "checkpoint-6"))


def _best_elsewhere(run: str) -> None:
    """The tree was copied, and the state still names the original's best checkpoint, which exists."""


best = Group("Best model tracked", "best_limit_2", "checkpoint-15", "checkpoint-6")
best.add(
    "the best checkpoint deleted",
    "rotation/best-deleted",
    _best_deleted,
    checkpoint=None,
    blocks=False,
)
best.add(
    "a copy whose best checkpoint is recorded in the original",
    "rotation/foreign-best",
    _best_elsewhere,
    severity="warning",
    checkpoint=None,
    blocks=False,
)
