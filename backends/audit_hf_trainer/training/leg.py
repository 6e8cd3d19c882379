"""Train one leg with the real Trainer. The only module of this backend that imports torch, transformers or peft."""

import contextlib
import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.backend import LegRequest, LegResult
from audit.errors import AuditError, ConfigError
from audit_hf_trainer.names import STATE

if TYPE_CHECKING:
    import torch

# Enough for a model that trains in a second: the audit's own demo, rehearsals and tests.
TINY_MODEL: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 256,
}


def train(request: LegRequest) -> LegResult:
    """Train from ``request.resume_from`` until step ``request.max_steps`` and save there.

    The examples are taken in the order in which they are given, from the first one: what was trained before is for
    the caller to leave out. ``arguments`` may have a ``max_steps`` beyond the leg's: it is then the horizon of the
    learning-rate schedule. ``model`` is either the fields of a LlamaConfig (random weights, the same for every leg
    of one seed) or has ``name_or_path``, and the fields of ``from_pretrained``. On SIGTERM or SIGINT the step is
    finished, saved, and the result names the signal.

    Raises AuditError naming the extra where a library is missing, ConfigError for arguments that Trainer refuses.
    """
    if "name_or_path" not in request.model:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing to fetch; PEFT would ask the hub for a config
    with _libraries(request.adapter is not None) as (torch, transformers, peft), _quiet(transformers):
        arguments = _arguments(request, transformers)
        model = _model(request, transformers)
        if request.adapter is not None:
            model = _adapted(request, model, peft)
        stop = _stop_at(request.max_steps, transformers)
        trainer = _trainer_class(torch, transformers)(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": row} for row in request.examples],
            data_collator=_collate,
            callbacks=[stop],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        first = _step_of(request.resume_from)
        with _signals(stop):
            trainer.train(resume_from_checkpoint=request.resume_from)
    losses = tuple(
        (entry["step"], entry["loss"])
        for entry in trainer.state.log_history
        if "loss" in entry and entry["step"] > first
    )
    return LegResult(first, trainer.state.global_step, losses, stop.signal)


@contextlib.contextmanager
def _libraries(with_peft: bool) -> Iterator[tuple[Any, Any, Any]]:
    try:
        import accelerate  # noqa: F401  Trainer needs it and says so only late
        import torch
        import transformers

        transformers.Trainer  # noqa: B018  imported at first use
        if with_peft:
            import peft
        else:
            peft = None
    except ImportError as error:
        name = error.name or str(error)
        raise AuditError(
            f"training with hf-trainer needs {name}, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    yield torch, transformers, peft


def _arguments(request: LegRequest, transformers: Any) -> Any:
    """Make TrainingArguments: the caller's, over defaults for a quiet and reproducible leg."""
    fields: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 500,
        "use_cpu": "name_or_path" not in request.model,
        "seed": request.seed,
        **request.arguments,
        "output_dir": request.run,
        # The caller leaves out what was trained; Trainer would skip as many steps again (design of `audit train`).
        "ignore_data_skip": True,
    }
    fields["max_steps"] = max(request.max_steps, int(fields.get("max_steps", 0)))
    if fields["use_cpu"]:
        fields.setdefault("dataloader_pin_memory", False)
    try:
        return transformers.TrainingArguments(**fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Trainer refuses the training arguments: {error}") from error


def _model(request: LegRequest, transformers: Any) -> Any:
    fields = dict(request.model)
    path = fields.pop("name_or_path", None)
    transformers.set_seed(request.seed)
    try:
        if path is not None:
            return transformers.AutoModelForCausalLM.from_pretrained(path, **fields)
        config = transformers.LlamaConfig(**{**TINY_MODEL, **fields})
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    return transformers.LlamaForCausalLM(config)


def _adapted(request: LegRequest, model: Any, peft: Any) -> Any:
    fields = {"task_type": "CAUSAL_LM", **(request.adapter or {})}
    try:
        return peft.get_peft_model(model, peft.LoraConfig(**fields))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"PEFT refuses the adapter: {error}") from error


def _trainer_class(torch: Any, transformers: Any) -> Any:
    class OrderedTrainer(transformers.Trainer):
        """A Trainer that takes the examples in their order and draws no random number for that."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

        def get_train_dataloader(self) -> Any:
            # Starting an iterator draws one number from the global generator: a leg in two halves would then see
            # other dropout masks than the same leg in one.
            loader = super().get_train_dataloader()
            inner = getattr(loader, "base_dataloader", loader)
            inner.generator = torch.Generator().manual_seed(self.args.seed)
            return loader

    return OrderedTrainer


def _stop_at(last: int, transformers: Any) -> Any:
    class StopAt(transformers.TrainerCallback):
        """Saves and stops at the end of the leg, or at the end of the step in which a signal came."""

        signal: int | None = None

        def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
            if state.global_step >= last or self.signal is not None:
                control.should_save = args.save_strategy != "no"
                control.should_training_stop = True
            return control

    return StopAt()


def _collate(rows: "list[dict[str, list[int]]]") -> "dict[str, torch.Tensor]":
    """Pad to the longest row; padding is masked, and its labels do not count."""
    import torch

    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for number, row in enumerate(rows):
        tokens = torch.tensor(row["input_ids"], dtype=torch.long)
        ids[number, : len(tokens)] = tokens
        labels[number, : len(tokens)] = tokens
        mask[number, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _step_of(checkpoint: str | None) -> int:
    if checkpoint is None:
        return 0
    try:
        with open(os.path.join(checkpoint, STATE), encoding="utf-8") as file:
            return int(json.load(file)["global_step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditError(f"cannot resume from {checkpoint}: its {STATE} gives no step ({error})") from error


@contextlib.contextmanager
def _signals(stop: Any) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the training after the step in progress; only the main thread may catch them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: object) -> None:
        if stop.signal is not None and number == signal.SIGINT:  # asked again, by hand: now
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep back what concerns the developers of the libraries: their log, deprecations between them.

    Other warnings come through.
    """
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
