"""Values of arguments that Trainer takes as they are and fails on once it trains, evaluates or loads rows.

Sources: transformers 5.24, ``trainer.py`` and ``trainer_callback.py``; torch 2.13, ``utils/data/dataloader.py``.
"""

import inspect
import multiprocessing
from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest, did_you_mean, metric_key
from audit_hf_trainer.settings import best_by
from audit_hf_trainer.training.needs_of_optimizer import refuse_rate

_TABLES = (
    "lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs", "dataset_kwargs",
    "liger_kernel_config",
)  # fmt: skip
"""Arguments that may be the text of a JSON object, and another text is passed on as it is."""
_MEASURED = ("eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
"""What an evaluation without ``compute_metrics`` returns; with skip_memory_metrics = false also eval_mem_..."""


def refuse_values(request: LegRequest, arguments: Any) -> None:
    """Raise ConfigError, beginning with the path of the key, for a value that Trainer fails on as it trains."""
    for name in _TABLES:
        value = getattr(arguments, name, None)
        if isinstance(value, str) and (value or name == "dataset_kwargs"):  # "" is none for the others
            raise ConfigError(f"arguments.{name}: {value!r} is a text; write a table, such as {{ name = 1 }}")
    refuse_rate(request, arguments)
    _refuse_loading(arguments)
    _refuse_accumulation(arguments)
    _refuse_evaluation(request, arguments)


def _refuse_loading(arguments: Any) -> None:
    workers = arguments.dataloader_num_workers
    if workers < 0:
        raise ConfigError(f"arguments.dataloader_num_workers: {workers} is negative; 0 loads in the training process")
    if arguments.dataloader_prefetch_factor is not None and arguments.dataloader_prefetch_factor < 1:
        raise ConfigError(
            f"arguments.dataloader_prefetch_factor: {arguments.dataloader_prefetch_factor} is less than 1"
        )
    context = getattr(arguments, "dataloader_multiprocessing_context", None)
    if context is None:
        return
    known = multiprocessing.get_all_start_methods()
    if context not in known:
        raise ConfigError(
            f"arguments.dataloader_multiprocessing_context: {context!r} is none of {', '.join(known)}"
            f"{did_you_mean(str(context), known)}"
        )
    if not workers:
        raise ConfigError("arguments.dataloader_multiprocessing_context: needs dataloader_num_workers of at least 1")


def _refuse_accumulation(arguments: Any) -> None:
    """Refuse a keyword that accelerate's GradientAccumulationPlugin does not take."""
    given = getattr(arguments.accelerator_config, "gradient_accumulation_kwargs", None)
    if not isinstance(given, Mapping):
        return
    from accelerate.utils import GradientAccumulationPlugin

    known = set(inspect.signature(GradientAccumulationPlugin).parameters)
    for name in given:
        if name not in known:
            raise ConfigError(
                f"arguments.accelerator_config: gradient_accumulation_kwargs has no {name}{did_you_mean(name, known)}; it has "
                f"{', '.join(sorted(known))}"
            )
    if given.get("num_steps") not in (None, 1):  # Trainer takes it over as it is made: a step has more examples then
        raise ConfigError(
            "arguments.accelerator_config: gradient_accumulation_kwargs has num_steps; set "
            "arguments.gradient_accumulation_steps instead"
        )


def _refuse_evaluation(request: LegRequest, arguments: Any) -> None:
    own = request.settings.get("trainer", {})
    if arguments.eval_on_start and "eval" not in request.data.options and "factory" not in own:
        raise ConfigError("arguments.eval_on_start: needs held-out rows; name their file with data.eval")
    if arguments.eval_accumulation_steps == 0:
        raise ConfigError("arguments.eval_accumulation_steps: 0 is less than 1")
    metric = arguments.metric_for_best_model
    if getattr(arguments.save_strategy, "value", arguments.save_strategy) == "best" and metric is None:
        raise ConfigError("arguments.save_strategy: best needs arguments.metric_for_best_model, such as eval_loss")
    evaluates = getattr(arguments.eval_strategy, "value", arguments.eval_strategy) != "no"
    if own or not evaluates or metric is None:
        return
    name = metric_key(metric) or "eval_"  # Trainer makes that of an empty text
    memory = name.startswith("eval_mem_") and not arguments.skip_memory_metrics
    if name not in _MEASURED and not memory:
        key = "guard.best" if best_by(request.settings) is not None else "arguments.metric_for_best_model"
        raise ConfigError(
            f"{key}: an evaluation has no {name}{did_you_mean(name, _MEASURED)}; it has {', '.join(_MEASURED)}"
        )
