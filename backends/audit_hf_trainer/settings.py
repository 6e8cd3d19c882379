"""What the tables [model], [adapter] and [arguments] may say, beyond what TrainingArguments and LoraConfig take.

``audit train`` owns the order of the data and the ends of legs, so the fields of Trainer that meddle with them are
refused, with the place where the same thing is said.
"""

from collections.abc import Mapping
from typing import Any

from audit.plugin import ConfigError, LegRequest

_LEG = "audit train sets it, for each leg"
REFUSED: Mapping[str, str] = {
    "output_dir": "the run's directory is the key run, at the top of the file",
    "max_steps": "audit train sets it; the end of a decaying schedule is schedule.total_steps",
    "num_train_epochs": "how often each data file is gone through is data.epochs",
    "resume_from_checkpoint": "the guard says what to resume from",
    "ignore_data_skip": _LEG,
    "seed": "is the key seed, at the top of the file",
    "data_seed": "the order of the data comes from the key seed, at the top of the file",
    "train_sampling_strategy": "audit train owns the order of the data; data.shuffle = false takes that of the file",
    "dataloader_drop_last": "the last examples of a batch would never be trained",
    "auto_find_batch_size": "the number of examples in a step must not change by itself",
    "load_best_model_at_end": "a batch ends where the next one goes on, with the newest weights; audit best names the best",
    "save_only_model": "nothing can be resumed from a checkpoint without optimizer state",
    "do_train": _LEG,
    "do_eval": "name a file with data.eval, and set arguments.eval_strategy",
    "do_predict": _LEG,
    "local_rank": "comes from the launcher",
    "remove_unused_columns": _LEG,
}
REFUSED_OF_ADAPTER: Mapping[str, str] = {
    "peft_type": "the adapter is LoRA",
    "inference_mode": "an adapter for inference is not trained",
}
MODEL: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name_or_path": {"type": "string", "minLength": 1},
        "tokenizer": {"type": "string", "minLength": 1},
        "revision": {"type": "string"},
        "dtype": {"enum": ["auto", "float32", "bfloat16", "float16"]},
        "attn_implementation": {"type": "string"},
        "trust_remote_code": {"type": "boolean"},
        "quantization": {"type": "object"},
        "options": {"type": "object"},
        "random": {"type": "object"},
    },
}

# Enough for a model that trains in a second: the audit's own demo, rehearsals and tests.
TINY_MODEL: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}

ENDLESS = frozenset({"constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau", "greedy"})
"""Schedules that need no horizon: what they give at a step does not depend on where training ends."""
WSD = "warmup_stable_decay"


def schedule_of(settings: Mapping[str, Any]) -> str:
    """Return the kind of schedule; constant unless said otherwise (Trainer's own default, linear, needs a horizon)."""
    arguments = settings.get("arguments", {})
    kind = arguments.get("lr_scheduler_type")
    if kind is not None:
        return str(kind)
    return "constant_with_warmup" if arguments.get("warmup_steps") else "constant"


def arguments_of(request: LegRequest) -> dict[str, Any]:
    """Return the fields of TrainingArguments for one leg: the user's, over defaults for a quiet and reproducible one.

    What is planned and what is trained come from here, so neither can differ from the other.
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
        # The leg's data begins where it goes on; Trainer would skip as many steps again (design, section 4).
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "max_steps": _horizon(request, kind),
    }
    if kind == WSD:
        fields["lr_scheduler_kwargs"] = {**given.get("lr_scheduler_kwargs", {}), "num_decay_steps": _decay(request)}
    return fields


def _horizon(request: LegRequest, kind: str) -> int:
    """The ``max_steps`` that the schedule is made for: it must not depend on where a leg ends, unless nothing does."""
    last = request.last_step or 0
    if kind == WSD and request.horizon is None:
        return last + _decay(request)  # the plateau reaches to the end of the leg
    if kind in ENDLESS or request.horizon is None:
        return last
    return max(request.horizon, last)


def _decay(request: LegRequest) -> int:
    return int(request.decay_steps or request.settings.get("schedule", {}).get("decay_steps", 1))


def check(settings: Mapping[str, Any]) -> None:
    """Refuse a model that is described in two ways or none, and a schedule whose rate would jump at a boundary.

    Raises ConfigError.
    """
    _check_model(settings.get("model", {}))
    kind = schedule_of(settings)
    arguments, schedule = settings.get("arguments", {}), settings.get("schedule", {})
    total = schedule.get("total_steps")
    warmup = arguments.get("warmup_steps", 0)
    if kind == WSD:
        if "decay_steps" not in schedule:
            raise ConfigError(
                f"schedule.decay_steps: is missing: {WSD} needs to know how many steps the decay takes; "
                "it begins when it is asked for: audit train --decay"
            )
        if total is not None:
            raise ConfigError(
                f"schedule.total_steps: {WSD} has no horizon; its decay is asked for: audit train --decay"
            )
    elif "decay_steps" in schedule:
        raise ConfigError(f'schedule.decay_steps: is for arguments.lr_scheduler_type = "{WSD}"; this is {kind}')
    elif kind not in ENDLESS and total is None:
        raise ConfigError(
            f"arguments.lr_scheduler_type: {kind} falls to the end of training, and batches have none: the rate would "
            "fall to 0 at each boundary and jump back; say in schedule.total_steps where it ends, or take "
            f"constant_with_warmup, or {WSD}"
        )
    elif kind in ENDLESS and total is not None:
        raise ConfigError(f"schedule.total_steps: {kind} has no end; leave it out")
    if 0 < warmup < 1 and total is None:
        raise ConfigError("arguments.warmup_steps: below 1 it is a share of schedule.total_steps, which is not given")
    if kind == "constant" and warmup:
        raise ConfigError("arguments.warmup_steps: constant has no warm-up; take constant_with_warmup")
    keeps_best = arguments.get("metric_for_best_model") or kind == "reduce_lr_on_plateau"
    if arguments.get("save_total_limit") == 1 and (keeps_best or arguments.get("save_strategy") == "best"):
        raise ConfigError(
            "arguments.save_total_limit: with 1 and a best model to keep Trainer deletes the newest checkpoint when a batch "
            "ends, and nothing is left to go on from; take 2"
        )


def _check_model(model: Mapping[str, Any]) -> None:
    if ("name_or_path" in model) == ("random" in model):
        raise ConfigError(
            "model: give either name_or_path, a model to train, or the table random, fields of a small Llama with "
            "random weights to try things out"
        )
