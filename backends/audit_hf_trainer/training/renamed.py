"""Weights of a whole model that a resume would skip, known before the first step.

``save_pretrained`` gives the weights of many models back the names that they had in the files of the base, and Trainer
(transformers 5.24, ``_load_from_checkpoint``) resumes by ``load_state_dict(strict=False)``: what has another name in
memory is passed over. Which names those are depends on the model, the version, and the names in the base's files: of a
base that was saved under the names in memory, nothing is renamed. The rule weights/not-loaded judges what was saved.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.plugin import ConfigError, LegRequest
from audit_hf_trainer.base import base_directory, weight_files

LOADS = "_load_from_checkpoint"
"""Trainer's method that loads a checkpoint; a trainer of one's own may have a better one."""
WAYS = (
    "train an adapter ([adapter]), or set model.name_or_path to a copy of the model that was saved by "
    "save_pretrained(DIR, save_original_format=False): its names are those in memory"
)


class Renamed(NamedTuple):
    """``skipped`` of ``total`` tensors would not be loaded again; ``first`` is a name that one of them has on disk."""

    model: str
    first: str
    skipped: int
    total: int

    def __str__(self) -> str:
        import transformers

        return (
            f"transformers {transformers.__version__} saves {self.model} under other names than it has in memory "
            f"({self.first}), and Trainer skips them when it resumes: {self.skipped} of {self.total} tensors would "
            "have the values of the base again with the next batch"
        )


def renamed(model: Any) -> Renamed | None:
    """Return what a resume of this model would skip, None if nothing, or if that cannot be found out.

    It is what ``save_pretrained`` does with the names, on tensors without values.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
        from transformers.modeling_utils import PreTrainedModel, remove_tied_weights_from_state_dict

        if not isinstance(model, PreTrainedModel):
            return None  # Trainer saves the names in memory
        there = model.state_dict()
        written = remove_tied_weights_from_state_dict(dict(there), model)
        saved = revert_weight_conversion(model, {name: value.to("meta") for name, value in written.items()})
    except Exception:  # a model that it does not work for is judged by what it saves
        return None
    skipped, others = written.keys() - saved.keys(), sorted(saved.keys() - there.keys())
    return Renamed(type(model).__name__, others[0], len(skipped), len(written)) if skipped and others else None


def refuse_renamed(trainer: Any) -> None:
    """Raise ConfigError for a trainer that would not load all of the checkpoint that it saves."""
    if _loads_itself(type(trainer)) or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return
    found = renamed(trainer.model) if not hasattr(trainer.model, "peft_config") else None
    if found is not None:
        raise ConfigError(f"model: {found}; {WAYS}")


def refuse_planned(request: LegRequest, made: Any, arguments: Any) -> str | None:
    """Raise ConfigError if the trainer of this leg would; return what is not certain, None if nothing.

    ``made`` is the whole model, made by its configuration on torch's meta device.
    """
    settings = request.settings
    if getattr(arguments, "deepspeed", None) or getattr(arguments, "fsdp", None) or _own_loads(settings):
        return None
    loaded = _as_loaded(made, settings)
    found = renamed(made if loaded is None else loaded)
    if found is None:
        return None
    if loaded is None:
        return f"model: {found}, unless the files of the model, which could not be read yet, have the names in memory"
    if "factory" in settings.get("trainer", {}) or _own_class(settings):
        return f"model: {found}, unless trainer.factory or model.class sees to it"
    raise ConfigError(f"model: {found}; {WAYS}")


def _own_loads(settings: Mapping[str, Any]) -> bool:
    """Whether the class of the trainer that the configuration names loads checkpoints in its own way."""
    own = settings.get("trainer", {})
    if "class" not in own:
        return False
    from audit_hf_trainer.training.own import named

    return _loads_itself(named(own["class"], "trainer.class", settings))


def _own_class(settings: Mapping[str, Any]) -> bool:
    """Whether the class of the model is not one of transformers, so that nobody knows how it loads."""
    kind = settings.get("model", {}).get("class", "transformers.")
    return not re.match(r"transformers[.:]", kind)


def _loads_itself(kind: Any) -> bool:
    owner = next((part for part in getattr(kind, "__mro__", ()) if LOADS in vars(part)), None)
    return owner is not None and not owner.__module__.startswith("transformers.")


def _as_loaded(made: Any, settings: Mapping[str, Any]) -> Any | None:
    """Return the model as ``from_pretrained`` makes it, which notes what it renames; None if its files are not here.

    Only the names and shapes in the files are read.
    """
    if "random" in settings.get("model", {}):
        return made
    place = base_directory(settings)
    if place is None:
        return None
    try:
        empty = empty_tensors(place)
        return type(made).from_pretrained(None, config=made.config, state_dict=empty, device_map="meta")
    except Exception:  # a kind of file or of model that is loaded in another way
        return None


def empty_tensors(place: str) -> dict[str, Any]:
    """Return the tensors in the files of a model, without their values."""
    import safetensors
    import torch

    found: dict[str, Any] = {}
    for name in weight_files(place):
        path = os.path.join(place, name)
        if not name.endswith(".safetensors"):
            found.update(torch.load(path, map_location="meta", weights_only=True, mmap=True))
            continue
        with safetensors.safe_open(path, "pt") as file:
            for tensor in file.keys():  # noqa: SIM118  not a mapping
                found[tensor] = torch.empty(file.get_slice(tensor).get_shape(), device="meta")
    return found
