"""What the arguments of a leg need on this machine: packages, files, a login, a device.

Trainer finds what is missing when it is made or as it begins to train, after the rows were made into examples and the
model was loaded. Here it is asked for before, in one line that names the key; `audit plan` and `audit train` both do.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from audit.plugin import ConfigError, LegRequest, did_you_mean, first_line
from audit_hf_trainer.training.needs_of_loops import refuse_values
from audit_hf_trainer.training.needs_of_model import refuse_model
from audit_hf_trainer.training.needs_of_processes import refuse_processes
from audit_hf_trainer.training.needs_of_trl import refuse_of_trl, source_of

_LIBRARIES = {
    "azure_ml": ("azureml", "azureml-sdk"),
    "comet_ml": ("comet", "comet-ml"),
    "flyte": ("flytekit", "flytekit"),
    "tensorboard": ("tensorboard", "tensorboardX"),
}
"""Of trackers: the library, as in transformers' ``is_..._available``, and the package; else both as in report_to."""
_TEMPLATES = (".jinja", ".j2")
"""What trl reads as a chat template; of anything else it takes the tokenizer's (trl 1.16, sft_trainer.py)."""


def refuse_unmet(request: LegRequest, arguments: Any, transformers: Any) -> None:
    """Raise ConfigError, beginning with the path of the key, for what Trainer would fail on at once."""
    given = request.settings.get("arguments", {})
    refuse_processes(request, arguments)
    refuse_values(request, arguments)
    refuse_of_trl(request, arguments)
    refuse_model(request, arguments, transformers)
    if getattr(arguments, "use_liger_kernel", False) and not _there("liger_kernel", transformers):
        raise ConfigError(
            "arguments.use_liger_kernel: needs liger-kernel, which is not installed: pip install liger-kernel, or remove "
            "the key"
        )
    _refuse_levels(arguments)
    _refuse_trackers(arguments.report_to or (), transformers)
    _refuse_template(given.get("chat_template_path"), request.settings, transformers)
    _refuse_push(arguments)
    _refuse_compile(arguments)
    what = "activation" if "activation_checkpointing_kwargs" in given else "gradient"
    # trl's SFTTrainer has a keyword of its own, which it takes out (trl 1.16, sft_trainer.py)
    source = source_of(str(request.settings.get("trainer", {}).get("class", "")))
    _refuse_checkpointing(arguments, what, {"selective"} if 'get("selective")' in source else set())
    if arguments.dataloader_persistent_workers and not arguments.dataloader_num_workers:
        raise ConfigError("arguments.dataloader_persistent_workers: needs dataloader_num_workers of at least 1")
    evaluates = getattr(arguments.eval_strategy, "value", arguments.eval_strategy) != "no"
    if evaluates and "eval" not in request.data.options and "factory" not in request.settings.get("trainer", {}):
        raise ConfigError("arguments.eval_strategy: needs held-out rows; name their file with data.eval")
    if getattr(arguments, "activation_offloading", False) and arguments.device.type == "cpu":
        raise ConfigError("arguments.activation_offloading: needs a GPU to take the activations from; remove the key")
    if "use_kernels" in request.settings.get("model", {}).get("options", {}):
        refuse_without_kernels("model.options.use_kernels", transformers)


def refuse_without_kernels(key: str, transformers: Any) -> None:
    """Refuse a key that needs kernels of the Hub where the library for them is not installed."""
    if not _there("kernels", transformers):
        raise ConfigError(f"{key}: needs kernels, which is not installed: pip install kernels")


def _there(library: str, transformers: Any) -> bool:
    """Whether transformers finds a library; True if this release does not ask for it."""
    asked = getattr(transformers.utils, f"is_{library}_available", None)
    return asked is None or bool(asked())


def _refuse_levels(arguments: Any) -> None:
    """Refuse a level of logging that there is not: the class takes any text, and Trainer looks it up."""
    known = import_module("transformers.training_args").trainer_log_levels
    for key in ("log_level", "log_level_replica"):
        level = getattr(arguments, key)
        if level not in known:
            raise ConfigError(
                f"arguments.{key}: {level!r} is none of {', '.join(known)}{did_you_mean(str(level), known)}"
            )


def _refuse_trackers(names: Sequence[str], transformers: Any) -> None:
    """Refuse a tracker that is none, and one whose library is not there: its callback would raise."""
    known = import_module("transformers.integrations.integration_utils")
    for name in names:
        if name not in known.INTEGRATION_TO_CALLBACK:
            raise ConfigError(
                f"arguments.report_to: {name!r} is no tracker{did_you_mean(name, known.INTEGRATION_TO_CALLBACK)}; there "
                f"are {', '.join(sorted(known.INTEGRATION_TO_CALLBACK))}"
            )
        needed = ("dagshub", "mlflow") if name == "dagshub" else (name,)
        for one in needed:
            library, package = _LIBRARIES.get(one, (one, one))
            asked = getattr(known, f"is_{library}_available", None)
            if asked is None or asked():
                continue
            if name == "kubeflow":
                raise ConfigError("arguments.report_to: kubeflow is for jobs of Kubeflow Trainer, and this is none")
            raise ConfigError(
                f"arguments.report_to: {name} needs {package}, which is not installed: pip install {package}, or remove "
                "the name"
            )


def _refuse_template(path: Any, settings: Mapping[str, Any], transformers: Any) -> None:
    """Refuse a chat template that is neither a file nor that of a tokenizer which can be loaded."""
    if not isinstance(path, str):
        return
    if os.path.isfile(path):
        if not path.endswith(_TEMPLATES):
            raise ConfigError(f"arguments.chat_template_path: {path} is a file, and no {' or '.join(_TEMPLATES)}")
        return
    if path.endswith(_TEMPLATES) or (os.path.isabs(path) and not os.path.isdir(path)):
        raise ConfigError(
            f"arguments.chat_template_path: there is no file {path}; a path is relative to the configuration"
        )
    try:
        transformers.AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"arguments.chat_template_path: {path} is neither a file of a template nor a tokenizer that can be loaded: "
            f"{first_line(error)}"
        ) from error


def _refuse_push(arguments: Any) -> None:
    """Refuse to push while nobody is logged in, or without a network: Trainer makes the repository before it trains."""
    if not arguments.push_to_hub:
        return
    import huggingface_hub

    why = None
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        why = "the Hub cannot be reached, or HF_HUB_OFFLINE is set"
    elif not arguments.hub_token and huggingface_hub.get_token() is None:
        why = "nobody is logged in to the Hub here: hf auth login, or set HF_TOKEN"
    if why is not None:
        raise ConfigError(f"arguments.push_to_hub: {why}; or remove the key: the table [hub] pushes what is proven")


def _refuse_compile(arguments: Any) -> None:
    """Refuse a backend or a mode of torch.compile that there is not."""
    backend, mode = arguments.torch_compile_backend, arguments.torch_compile_mode
    if backend is not None:
        from accelerate.utils import DynamoBackend

        known = [item.value.lower() for item in DynamoBackend]
        if str(backend).lower() not in known:
            raise ConfigError(
                f"arguments.torch_compile_backend: {backend!r} is none of {', '.join(known)}{did_you_mean(str(backend), known)}"
            )
        _refuse_unregistered(str(backend).lower())
    if mode is not None and backend == "inductor":
        try:
            modes = set(import_module("torch._inductor").list_mode_options())
        except (ImportError, AttributeError):  # a torch that lists them elsewhere
            return
        if mode not in modes:
            raise ConfigError(f"arguments.torch_compile_mode: {mode!r} is none of {', '.join(sorted(modes))}")


def _refuse_unregistered(backend: str) -> None:
    """Refuse a backend that accelerate knows and torch does not: a package registers it, which is not installed."""
    try:
        known = import_module("torch._dynamo").list_backends(exclude_tags=())
    except (ImportError, AttributeError, TypeError):  # a torch that lists them elsewhere
        return
    if backend != "no" and backend not in known:
        raise ConfigError(
            f"arguments.torch_compile_backend: torch has no {backend} here; install what registers it, or use inductor"
        )


def _refuse_checkpointing(arguments: Any, what: str, more: set[str]) -> None:
    """Refuse a keyword that torch's checkpoint does not take: the first forward pass would.

    ``what`` is "gradient" or, as transformers 5.24 calls it, "activation"; ``more`` the trainer takes out itself.
    """
    given = getattr(arguments, f"{what}_checkpointing_kwargs", None)
    if not getattr(arguments, f"{what}_checkpointing", False) or not isinstance(given, Mapping):
        return
    import torch.utils.checkpoint as checkpointing

    known = set(inspect.signature(checkpointing.checkpoint).parameters) - {"function", "args", "kwargs"}
    for name in given:
        if name not in known | more:
            raise ConfigError(
                f"arguments.{what}_checkpointing_kwargs: torch takes no {name}{did_you_mean(name, known)}; it takes "
                f"{', '.join(sorted(known))}"
            )
