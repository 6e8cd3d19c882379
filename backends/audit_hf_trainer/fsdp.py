"""Checkpoints of fully sharded data parallel training: accelerate/utils/fsdp_utils.py, save_fsdp_model and its like."""

import re
from collections.abc import Mapping
from typing import Any

from audit.plugin import Files, Layout
from audit_hf_trainer.names import ARGUMENTS
from audit_hf_trainer.owing import launched_as

MODEL = "pytorch_model_fsdp.bin"
OPTIMIZER = "optimizer.bin"
WHOLE = "FULL_STATE_DICT"
_MODEL_DIRECTORY = re.compile(r"pytorch_model(_fsdp)?_[0-9]{1,4}", re.ASCII)
_OPTIMIZER_DIRECTORY = re.compile(r"optimizer_[0-9]{1,4}", re.ASCII)
_LOCAL = re.compile(r"pytorch_model_fsdp(_[0-9]{1,4})?_rank[0-9]{1,6}\.bin", re.ASCII)
_LOCAL_OPTIMIZER = re.compile(r"optimizer(_[0-9]{1,4})?_rank[0-9]{1,6}\.bin", re.ASCII)


def recognises(files: Files, arguments: Mapping[str, Any] | None) -> bool:
    """Say whether any file of the checkpoint is from FSDP, or, if all are missing, whether FSDP was used.

    The argument ``fsdp`` is not enough: without an accelerator, accelerate trains plain DDP and saves that.
    """
    if files.has(MODEL) or files.has(OPTIMIZER) or launched_as(arguments, "FSDP"):
        return True
    if any(_MODEL_DIRECTORY.fullmatch(name) or _OPTIMIZER_DIRECTORY.fullmatch(name) for name in files.directories()):
        return True
    return any(_LOCAL.fullmatch(name) for name in files.root)


def apply(files: Files, layout: Layout, owed: dict[str, str]) -> Layout:
    """Return the layout with FSDP's files, and put into ``owed`` the files it must have instead of the usual ones.

    A sharded state has no training_args.bin and no model files: ``save_model`` then writes nothing itself. The scaler
    is not owed: which kinds of FSDP make one changed between versions.
    """
    model = files.directory(_MODEL_DIRECTORY)
    optimizer = files.directory(_OPTIMIZER_DIRECTORY)
    local = files.matching(_LOCAL)
    local_optimizer = files.matching(_LOCAL_OPTIMIZER)
    owed.pop("scaler", None)
    # Sharded states have no training arguments: if they are there, the state must be complete.
    whole = files.has(MODEL) or (not model and not local and (files.has(OPTIMIZER) or files.has(ARGUMENTS)))
    if whole:
        owed["weights"] = MODEL
        _replace(owed, "optimizer", OPTIMIZER)
    elif local:
        owed["weights"] = local[0]
        _replace(
            owed,
            "optimizer",
            local_optimizer[0] if local_optimizer else local[0].replace("pytorch_model_fsdp", "optimizer"),
        )
    else:
        # The metadata file names every shard; without it none of them can be read.
        owed["weights"] = f"{model or 'pytorch_model_fsdp_0'}/.metadata"
        _replace(owed, "optimizer", f"{optimizer or 'optimizer_0'}/.metadata")
    return layout._replace(
        kind="fsdp",
        weights=(MODEL,) if files.has(MODEL) else (),
        shard_index=None,
        shadowing=(),
        optimizer=files.only(OPTIMIZER),
        sharded_weights=files.below(model) if model else local,
        sharded_optimizer=files.below(optimizer) if optimizer else local_optimizer,
    )


def loses_moments(plugin: Mapping[str, Any] | None) -> bool:
    """Say whether a resume loses the optimizer's moments without a word: FSDP 1 that saves shards.

    ``plugin`` is ``TrainingArguments.fsdp_plugin_args``. accelerate 1.15, ``load_fsdp_optimizer``: it asks the new
    optimizer of version 1 which tensors to read, which has none yet, and so reads none. Full states are loaded.
    """
    if not plugin or plugin.get("fsdp_version") != 1:
        return False
    return str(plugin.get("state_dict_type", WHOLE)).upper().rpartition(".")[2] not in (WHOLE, "1")


def _replace(owed: dict[str, str], role: str, name: str) -> None:
    if role in owed:
        owed[role] = name
