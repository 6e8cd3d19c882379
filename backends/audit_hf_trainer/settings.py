"""What the tables [model], [adapter] and [arguments] may contain, beyond what TrainingArguments and LoraConfig accept.

``audit train`` controls the order of the data and the ends of legs, so fields of Trainer that affect them are refused,
with the key to use instead.
"""

import sys
from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest

_LEG = "audit train sets it, for each leg"
REFUSED: Mapping[str, str] = {
    "output_dir": "set the run's directory with the key run, at the top of the file",
    "max_steps": "audit train sets it; set the end of a decaying schedule with schedule.total_steps",
    "num_train_epochs": "set the epochs of each data file with data.epochs",
    "resume_from_checkpoint": "the guard chooses the checkpoint to resume from",
    "ignore_data_skip": _LEG,
    "seed": "set it with the key seed, at the top of the file",
    "data_seed": "the order of the data comes from the key seed, at the top of the file",
    "train_sampling_strategy": "audit train controls the order of the data; data.shuffle = false keeps that of the file",
    "dataloader_drop_last": "the last examples of a batch would never be trained",
    "auto_find_batch_size": "the number of examples in a step must not change by itself",
    "load_best_model_at_end": "the next batch continues with the newest weights; audit best names the best checkpoint",
    "save_only_model": "nothing can be resumed from a checkpoint without optimizer state",
    "do_train": _LEG,
    "do_eval": "set a file with data.eval, and arguments.eval_strategy",
    "do_predict": _LEG,
    "local_rank": "it comes from the launcher",
    "remove_unused_columns": _LEG,
    "parallelism_config": "Trainer takes an object of accelerate for it, which a file cannot hold",
}
REFUSED_OF_TRL: Mapping[str, str] = {
    "packing": "a step must take a number of examples that is known",
    "eval_packing": "a step must take a number of examples that is known",
    "shuffle_dataset": "audit train controls the order of the data; data.shuffle = false keeps that of the file",
    "sync_ref_model": "the reference model is not in a checkpoint, so a resumed training would have another one",
    "model_init_kwargs": "set them in [model], or with model.options",
}
PATHS = ("accelerator_config", "deepspeed", "fsdp_config", "logging_dir")
"""Arguments of which a text is the path of a file or directory."""
PATHS_OR_NAMES = ("chat_template_path",)
"""Those that may also be the name of a repository on the Hub."""
REFUSED_OF_ADAPTER: Mapping[str, str] = {
    "peft_type": "the adapter is LoRA",
    "inference_mode": "an adapter for inference is not trained",
}
MODEL: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name_or_path": {"type": "string", "minLength": 1, "format": "path-or-name"},
        "tokenizer": {"type": "string", "minLength": 1, "format": "path-or-name"},
        "revision": {"type": "string"},
        "dtype": {"enum": ["auto", "float32", "bfloat16", "float16"]},
        "attn_implementation": {"type": "string"},
        "trust_remote_code": {"type": "boolean"},
        "quantization": {"type": "object"},
        "options": {"type": "object"},
        "random": {"type": "object"},
        "class": {"type": "string", "minLength": 1},
    },
}

TRAINER: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "class": {"type": "string", "minLength": 1},
        "factory": {"type": "string", "minLength": 1},
        "collator": {"type": "string", "minLength": 1},
        "options": {"type": "object"},
        "modules": {"type": "string", "format": "path", "default": "."},
    },
}
"""``modules``: the directory in which modules of one's own are looked for, after the installed ones."""

# A model that trains in a second, for the demo, rehearsals and tests.
TINY_MODEL: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}

_COUNTS = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "logging_steps",
    "save_steps", "eval_steps", "save_total_limit",
)  # fmt: skip
_SHARES = ("logging_steps", "save_steps", "eval_steps")
"""Those of which a number below 1 is a share of all steps."""

CHANGEABLE = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")
"""Arguments that Trainer takes from optimizer.pt and scheduler.pt on a resume."""
_LASTING = ("torch_compile", "torch_compile_backend", "torch_compile_mode", "deepspeed", "fsdp", "use_liger_kernel")
"""Arguments by which libraries keep something in a process: compiled kernels, groups of processes, changed classes."""

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Those of ``report_to`` in which all legs are one run."""

ENDLESS = frozenset({"constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau", "greedy"})
"""Schedules that need no horizon: their rate at a step does not depend on where training ends."""
WSD = "warmup_stable_decay"


def schedule_of(settings: Mapping[str, Any]) -> str:
    """Return the kind of schedule; by default constant (Trainer's own default, linear, needs a horizon)."""
    arguments = settings.get("arguments", {})
    kind = arguments.get("lr_scheduler_type")
    if kind is not None:
        return str(kind)
    return "constant_with_warmup" if arguments.get("warmup_steps") else "constant"


def one_process(settings: Mapping[str, Any]) -> bool:
    """Say whether a process that has trained a leg trains the next one as a new process would, bit for bit."""
    arguments, model, own = (settings.get(name, {}) for name in ("arguments", "model", "trainer"))
    if own and (not str(own.get("class", "")).startswith("trl.") or "collator" in own or "class" in model):
        return False  # nobody knows what code of one's own keeps
    return not model.get("trust_remote_code") and not any(arguments.get(name) for name in _LASTING)


def tracks(settings: Mapping[str, Any]) -> bool:
    """Say whether legs log to a tracker that what was found after them can be logged to."""
    named = settings.get("arguments", {}).get("report_to", "none")
    return bool({*TRACKERS, "all"} & {named} if isinstance(named, str) else {*TRACKERS, "all"} & {*named})


def best_by(settings: Mapping[str, Any]) -> str | None:
    """Return the metric by which the best checkpoint is kept (``guard.best``), None if none is."""
    metric = settings.get("guard", {}).get("best")
    return None if metric is None else str(metric)


def arguments_of(request: LegRequest) -> dict[str, Any]:
    """Return the fields of TrainingArguments for one leg: the user's, over defaults for a quiet and reproducible one.

    Both plan and training use them, so the two cannot differ.
    """
    given = request.settings.get("arguments", {})
    kind = schedule_of(request.settings)
    fields: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 500,
        "seed": request.seed,
        **given,
        "lr_scheduler_type": kind,
        "output_dir": request.run,
        # The leg's data begins where it continues; Trainer would skip as many steps again.
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "max_steps": _horizon(request, kind),
    }
    metric = best_by(request.settings)
    if metric is not None:
        fields["metric_for_best_model"] = metric
        fields.setdefault("eval_strategy", "steps")
        if fields["eval_strategy"] == "steps" and fields.get("save_strategy", "steps") == "steps":
            fields.setdefault("eval_steps", fields["save_steps"])
    if kind == WSD:
        fields["lr_scheduler_kwargs"] = {**given.get("lr_scheduler_kwargs", {}), "num_decay_steps": _decay(request)}
    return fields


def _horizon(request: LegRequest, kind: str) -> int:
    """Return the ``max_steps`` of the schedule, which must not depend on the end of a leg unless it has no end."""
    last = request.last_step or 0
    if kind == WSD and request.horizon is None:
        return last + _decay(request)  # the plateau reaches to the end of the leg
    if kind in ENDLESS or request.horizon is None:
        return last
    return max(request.horizon, last)


def _decay(request: LegRequest) -> int:
    return int(request.decay_steps or request.settings.get("schedule", {}).get("decay_steps", 1))


def check(settings: Mapping[str, Any]) -> None:
    """Refuse a model with two descriptions or none, and a schedule whose rate would jump at a boundary.

    Raises ConfigError.
    """
    _check_model(settings.get("model", {}))
    _check_trainer(settings)
    _check_numbers(settings.get("arguments", {}))
    kind = schedule_of(settings)
    arguments, schedule = settings.get("arguments", {}), settings.get("schedule", {})
    total = schedule.get("total_steps")
    warmup = arguments.get("warmup_steps", 0)
    if kind == WSD:
        if "decay_steps" not in schedule:
            raise ConfigError(
                f"schedule.decay_steps: is missing: {WSD} needs the number of steps of its decay, "
                "which begins with audit train --decay"
            )
        if total is not None:
            raise ConfigError(f"schedule.total_steps: {WSD} has no fixed end; start its decay with audit train --decay")
    elif "decay_steps" in schedule:
        raise ConfigError(
            f'schedule.decay_steps: is only for arguments.lr_scheduler_type = "{WSD}", and this is {kind}'
        )
    elif kind not in ENDLESS and total is None:
        raise ConfigError(
            f"arguments.lr_scheduler_type: {kind} decays until the end of training, and a run of batches has none: the rate would "
            "fall to 0 at each boundary and jump back; set the end with schedule.total_steps, or use "
            f"constant_with_warmup or {WSD}"
        )
    elif kind in ENDLESS and total is not None:
        raise ConfigError(f"schedule.total_steps: {kind} has no end; remove the key")
    if 0 < warmup < 1 and total is None:
        raise ConfigError("arguments.warmup_steps: below 1 it is a share of schedule.total_steps, which is not set")
    if kind == "constant" and warmup:
        raise ConfigError("arguments.warmup_steps: constant has no warm-up; use constant_with_warmup")
    _check_best(best_by(settings), arguments)
    keeps_best = best_by(settings) or arguments.get("metric_for_best_model") or kind == "reduce_lr_on_plateau"
    if arguments.get("save_total_limit") == 1 and (keeps_best or arguments.get("save_strategy") == "best"):
        raise ConfigError(
            "arguments.save_total_limit: with 1 and a best model to keep, Trainer deletes the newest checkpoint at the end of "
            "a batch, and nothing is left to resume from; set 2"
        )


def _check_best(metric: str | None, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments by which nothing would be evaluated, or another metric would count."""
    if metric is None:
        return
    if arguments.get("metric_for_best_model", metric) != metric:
        raise ConfigError("arguments.metric_for_best_model: is another metric than guard.best; remove the key")
    if arguments.get("eval_strategy", "steps") == "no":
        raise ConfigError("arguments.eval_strategy: guard.best needs evaluations; remove the key")
    if arguments.get("save_strategy") == "no":
        raise ConfigError("arguments.save_strategy: guard.best keeps checkpoints that were saved; remove the key")


def _check_numbers(arguments: Mapping[str, Any]) -> None:
    """Refuse numbers that no training can work with: the libraries would fail on them later, or ignore them."""
    for name in _COUNTS:
        value = arguments.get(name)
        if isinstance(value, int | float) and value < 1 and not (name in _SHARES and value > 0):
            advice = "; leave the key out to keep all checkpoints" if name == "save_total_limit" else ""
            raise ConfigError(f"arguments.{name}: {value} is less than 1{advice}")
    for name in ("learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "neftune_noise_alpha"):
        value = arguments.get(name)
        if isinstance(value, int | float) and value < 0:
            raise ConfigError(f"arguments.{name}: {value} is negative")
    smoothing = arguments.get("label_smoothing_factor")
    if isinstance(smoothing, int | float) and not 0 <= smoothing <= 1:
        raise ConfigError(f"arguments.label_smoothing_factor: {smoothing} is not between 0 and 1")
    for name, value in arguments.items():
        if isinstance(value, int) and abs(value) > sys.maxsize:
            raise ConfigError(f"arguments.{name}: {value} is beyond {sys.maxsize}")


def _check_trainer(settings: Mapping[str, Any]) -> None:
    own, model = settings.get("trainer"), settings.get("model", {})
    if "class" in model and "random" in model:
        raise ConfigError("model.class: is for model.name_or_path; the model of random weights is a Llama")
    if own is None:
        if "class" in model:
            raise ConfigError("model.class: needs the table [trainer]: the model's rows may be of any kind")
        return
    if ("class" in own) == ("factory" in own):
        raise ConfigError(
            'trainer: set either class, such as "trl.SFTTrainer", or factory, such as "mine:make_trainer"'
        )
    if "factory" in own and "collator" in own:
        raise ConfigError("trainer.collator: the factory gives the trainer its collator; remove the key")
    if "class" in own and "options" in own:
        raise ConfigError("trainer.options: is what a factory gets; set arguments of the class in [arguments]")


def _check_model(model: Mapping[str, Any]) -> None:
    if ("name_or_path" in model) == ("random" in model):
        raise ConfigError(
            "model: set either name_or_path, the model to train, or the table random, fields of a small Llama with "
            "random weights for trials"
        )
