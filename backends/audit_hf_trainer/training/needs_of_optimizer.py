"""What the optimizer and its schedule refuse, and numbers with which they learn nothing or make NaN.

Sources: torch 2.13, ``optim/adamw.py``: a gradient of 0 gives 0 / (0 + eps). Measured: with an eps of 0, or one that
is 0 in float32, the first step makes NaN of a ``lora_A``, as its gradient is 0 while ``lora_B`` is.
"""

import math
from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest, first_line

_MADE_NOT_ZERO = ("pissa", "olora", "orthogonal", "loftq", "corda")
"""Beginnings of ``init_lora_weights`` that may make a ``lora_B`` other than 0, and so does false."""
_SURE = 1000
"""Of so many tokens no step has all."""


def refuse_optimizer(arguments: Any, torch: Any, transformers: Any) -> bool:
    """Build optimizer and schedule as Trainer does, over one number. Raises ConfigError for what they refuse.

    Return whether the optimizer makes NaN of a number whose gradient is 0.
    """
    number = torch.nn.Parameter(torch.ones(1))
    try:
        kind, fields = transformers.Trainer.get_optimizer_cls_and_kwargs(arguments)
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        if "pass a model" in str(error).replace("`", ""):  # LOMO and those with optim_target_modules: made for one
            return False
        raise ConfigError(f"arguments.optim: {first_line(error, type(error).__name__)}") from error
    plain = {name: value for name, value in fields.items() if name not in ("optimizer_dict", "model", "params")}
    if plain.keys() != fields.keys():
        return False  # made for the parameters of a real model
    try:
        made = kind([{"params": [number], "weight_decay": arguments.weight_decay}], **plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"arguments: {kind.__name__} refuses them: {first_line(error, type(error).__name__)}"
        ) from error
    except Exception:  # one that needs a device says nothing of the arguments
        return False
    _schedule(arguments, made, transformers)
    number.grad = torch.zeros(1)
    try:
        made.step()
    except Exception:  # the same
        return False
    return math.isnan(number.item())


def _schedule(arguments: Any, optimizer: Any, transformers: Any) -> None:
    try:
        transformers.get_scheduler(
            arguments.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=arguments.get_warmup_steps(max(arguments.max_steps, 1)),
            num_training_steps=max(arguments.max_steps, 1),
            scheduler_specific_kwargs=dict(arguments.lr_scheduler_kwargs or {}),
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"arguments.lr_scheduler_type: {first_line(error, type(error).__name__)}") from error


def refuse_rate(request: LegRequest, arguments: Any) -> None:
    """Refuse a learning rate of 0, but where the rate of the checkpoint counts, or that of a trainer of one's own."""
    own = request.settings.get("trainer", {})
    kept = request.resume_from is not None and "learning_rate" not in request.changes
    if arguments.learning_rate == 0 and not kept and (not own or str(own.get("class", "")).startswith("trl.")):
        raise ConfigError("arguments.learning_rate: with 0 nothing is learned")


def refuse_not_finite(request: LegRequest, arguments: Any, made: Any) -> str | None:
    """Refuse an optimizer that makes NaN of a gradient of 0 where one is sure to be 0; return a note where it may be.

    ``made`` is the model that is trained, with its adapter.
    """
    why = "a weight whose gradient is 0 becomes NaN (0 / 0)"
    adapter = request.settings.get("adapter")
    if adapter is not None:
        init = adapter.get("init_lora_weights", True)
        if init is not False and not str(init).startswith(_MADE_NOT_ZERO):
            raise ConfigError(f"{_key(request)}: {why}, and at first those of an adapter are; 1e-8 is usual")
        return f"{_key(request)}: {why}"
    if _leaves_tokens_out(request, arguments, made):
        raise ConfigError(f"{_key(request)}: {why}, and so do the embeddings of tokens that a step has none of")
    return f"{_key(request)}: {why}"


def _key(request: LegRequest) -> str:
    return "arguments.adam_epsilon" if "adam_epsilon" in request.settings.get("arguments", {}) else "arguments.optim"


def _leaves_tokens_out(request: LegRequest, arguments: Any, made: Any) -> bool:
    """Whether there are embeddings that a step does not reach, not even as the weights of the output."""
    try:
        inputs, outputs = made.get_input_embeddings(), made.get_output_embeddings()
        size = int(inputs.weight.shape[0])
    except (AttributeError, NotImplementedError):
        return False
    if not inputs.weight.requires_grad or inputs.weight is getattr(outputs, "weight", None):
        return False
    options: Mapping[str, Any] = request.data.options
    rows = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * request.processes
    return size > min(_SURE, rows * int(options.get("max_length") or _SURE))
