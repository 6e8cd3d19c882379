"""Train one leg with Trainer, with the same result bit for bit however a batch is split into legs."""

import contextlib
import errno
import functools
import json
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import (
    AuditError,
    BadData,
    ConfigError,
    LegFailed,
    LegRequest,
    LegResult,
    Phase,
    Tell,
    catch_signals,
    first_line,
    scratch_directory,
)
from audit_hf_trainer.names import STATE
from audit_hf_trainer.settings import PATHS, arguments_of, best_by
from audit_hf_trainer.training.changing import changing
from audit_hf_trainer.training.loading import adapted, limits, model_of, tokenizer_of
from audit_hf_trainer.training.needs import refuse_unmet
from audit_hf_trainer.training.needs_of_optimizer import refuse_not_finite, refuse_optimizer
from audit_hf_trainer.training.needs_of_processes import launched, refuse_backend
from audit_hf_trainer.training.renamed import refuse_renamed
from audit_hf_trainer.training.stopping import Best, stop_at, trainer_class
from audit_hf_trainer.training.team import on_cpu
from audit_hf_trainer.training.tracked import keep_one_run

NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def train(request: LegRequest, tell: Tell) -> LegResult:
    """Train from ``request.resume_from`` until step ``request.last_step`` and save there.

    On SIGTERM or SIGINT the step is finished and saved, and the result names the signal. Raises AuditError naming the
    extra if a library is missing, ConfigError for arguments that Trainer refuses and for a model that it would not
    load again, BadData for rows that cannot be trained, LegFailed if training fails.
    """
    with loaded(request, tell) as (torch, transformers, peft):
        best = Best(request.best) if best_by(request.settings) is not None else None
        stop = stop_at(request.last_step, tell, torch, transformers, best)
        with (
            failures(request, stop, torch),
            _signals(stop),
            scratch_directory(request.run, os.environ.get("RANK", "0")) as scratch,
        ):
            trainer = made_trainer(request, tell, stop, scratch, torch, transformers, peft)
            refuse_renamed(trainer)
            return _fitted(trainer, request, stop, transformers)


@contextlib.contextmanager
def loaded(request: LegRequest, tell: Tell) -> Iterator[tuple[Any, Any, Any]]:
    """Give torch, transformers and peft, which print nothing of their own meanwhile. Raises as :func:`libraries`."""
    if "random" in request.settings.get("model", {}):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing to fetch; PEFT would request a config from the hub
    tell(Phase("loading the libraries"))
    with libraries() as found, quiet(found[1]):
        yield found


@contextlib.contextmanager
def failures(request: LegRequest, stop: Any, torch: Any) -> Iterator[None]:
    """Turn whatever a training raises into a LegFailed after the step of ``stop``; an AuditError stays as it is."""
    try:
        yield
    except AuditError:
        raise
    except (Exception, SystemExit) as error:
        traceback.print_exc(file=sys.stderr)
        raise _failure(error, request, stop.step, torch) from error


def made_trainer(
    request: LegRequest,
    tell: Tell,
    stop: Any,
    scratch: str,
    torch: Any,
    transformers: Any,
    peft: Any,
    watch: Any = None,
) -> Any:
    """Return the Trainer of a leg, with ``stop`` among its callbacks; its examples are written into ``scratch``.

    ``watch`` notes which examples a rehearsal takes (:class:`audit_hf_trainer.training.watched.Watched`). Raises as
    :func:`train`.
    """
    first = _step_of(request.resume_from)
    if first != request.first_step:
        raise AuditError(f"{request.resume_from} is at step {first}, not at step {request.first_step}")
    from audit_hf_trainer.training.data import collate, examples, invocation_of, ordered, padded

    arguments = training_arguments(request, torch, transformers)
    refuse_unmet(request, arguments, transformers)
    seconds = float(request.settings.get("trackers", {}).get("timeout-seconds", 30.0))
    keep_one_run(request.run, request.name, arguments, tell, seconds)
    if request.settings.get("trainer"):
        from audit_hf_trainer.training.own import own_trainer

        return own_trainer(request, arguments, stop, scratch, tell)
    tell(Phase("reading the data"))
    tokenizer = tokenizer_of(request.settings.get("model", {}), transformers)
    vocabulary, positions = limits(request.settings.get("model", {}), transformers)
    invocation = invocation_of(request.settings)
    rows: Any = ordered(examples(request.data, tokenizer, vocabulary, scratch, positions, invocation), request.data)
    count = len(rows)
    if arguments.world_size > 1:
        rows = padded(rows, arguments.per_device_train_batch_size * arguments.world_size)
    pad = getattr(tokenizer, "pad_token_id", None) or 0

    collated: Any = functools.partial(collate, pad_id=pad)  # a worker that is spawned gets it as a pickle
    if watch is not None:
        rows, collated = watch.numbered(rows, count), watch.collating(collated)
    held_out = None
    if "eval" in request.data.options:
        data = request.data._replace(path=request.data.options["eval"], order=None, epochs=1, first=0)
        try:
            held_out = examples(data, tokenizer, vocabulary, scratch, positions)
        except BadData as error:  # not the fault of the file that is trained
            raise ConfigError(f"data.eval: {error}") from error
    tell(Phase("loading the model"))
    model = model_of(request, transformers)
    if request.settings.get("adapter") is not None:
        model = adapted(request, model, peft)
    if refuse_optimizer(arguments, torch, transformers):
        refuse_not_finite(request, arguments, model)
    return changing(trainer_class(stop, torch, transformers.Trainer), request.changes)(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=held_out,
        data_collator=collated,
        callbacks=[stop],
    )


def _fitted(trainer: Any, request: LegRequest, stop: Any, transformers: Any) -> LegResult:
    """Train, and return what was done."""
    first = request.first_step
    print_nothing(trainer, transformers)
    trainer.train(resume_from_checkpoint=request.resume_from)
    refuse_short(trainer.state.global_step, request.last_step, stop.signal)
    losses = tuple(
        (entry["step"], entry["loss"])
        for entry in trainer.state.log_history
        if "loss" in entry and entry["step"] > first
    )
    return LegResult(first, trainer.state.global_step, losses, stop.signal)


def refuse_short(step: int, last: int | None, signal: int | None) -> None:
    """Raise LegFailed if a training ended before step ``last``, and no signal asked it to."""
    if last is not None and step < last and signal is None:
        raise LegFailed(
            f"training ended at step {step}, before step {last}: the trainer or one of its callbacks set "
            "should_training_stop, and would again; each row of a file has to be trained, so take that out",
            "short",
            step,
        )


def print_nothing(trainer: Any, transformers: Any) -> None:
    """Take out the callbacks that print logs and bars."""
    for unwanted in (transformers.PrinterCallback, transformers.ProgressCallback):
        trainer.remove_callback(unwanted)


@contextlib.contextmanager
def libraries() -> Iterator[tuple[Any, Any, Any]]:
    """Import torch, transformers and peft. Raises AuditError with the extra to install."""
    try:
        import accelerate  # noqa: F401  Trainer needs it and fails only later
        import datasets  # noqa: F401  the same
        import peft
        import torch
        import transformers

        transformers.Trainer  # noqa: B018  imported at first use
    except ImportError as error:
        name = error.name or str(error)
        raise AuditError(
            f"training with hf-trainer needs {name}, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    yield torch, transformers, peft


def training_arguments(request: LegRequest, torch: Any, transformers: Any) -> Any:
    """Return TrainingArguments: the caller's, over defaults for a quiet and reproducible leg.

    Raises ConfigError for what the class refuses, and for a package or a file that it needs and that is not there.
    """
    fields = {**arguments_of(request), "use_cpu": on_cpu(request.settings)}
    if fields["use_cpu"] or not torch.accelerator.is_available():
        fields.setdefault("dataloader_pin_memory", False)  # there is no device to copy to; torch would warn
    if fields.get("ddp_backend") is not None and not launched():
        refuse_backend(fields.pop("ddp_backend"), request.processes)
    kind = transformers.TrainingArguments
    if request.settings.get("trainer"):
        from audit_hf_trainer.training.own import arguments_class

        kind = arguments_class(request, fields)
    try:
        arguments = kind(**fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"Trainer refuses the training arguments: {error}") from error
    except ImportError as error:
        raise ConfigError(_needed(error, fields)) from error
    except OSError as error:
        key = next((name for name in PATHS if fields.get(name) == error.filename), None)
        if key is None:
            raise
        said = f"{error.filename}: {error.strerror}; a path is relative to the configuration"
        raise ConfigError(f"arguments.{key}: {said}") from error
    # Several devices in one process would multiply the examples of a step; torchrun is for that.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments


def _needed(error: ImportError, fields: Mapping[str, Any]) -> str:
    """Say which package the training arguments need; of DeepSpeed transformers looks for the metadata first."""
    if fields.get("deepspeed") and "deepspeed" in str(error):
        return "arguments.deepspeed: needs deepspeed, which is not installed: pip install deepspeed"
    return f"Trainer refuses the training arguments: {first_line(error)}"


def _step_of(checkpoint: str | None) -> int:
    if checkpoint is None:
        return 0
    try:
        with open(os.path.join(checkpoint, STATE), encoding="utf-8") as file:
            return int(json.load(file)["global_step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditError(f"cannot resume from {checkpoint}: its {STATE} has no step ({error})") from error


def _failure(error: BaseException, request: LegRequest, step: int | None, torch: Any) -> LegFailed:
    """Return in one line why training failed, with the kind of failure."""
    text = f"{type(error).__name__}: {first_line(error)}"
    memory = getattr(torch, "OutOfMemoryError", MemoryError)
    if isinstance(error, (memory, MemoryError)) or any(words in str(error) for words in NO_MEMORY):
        return LegFailed(text, "out-of-memory", step)
    # torch and safetensors write through Rust and C++, whose errors have no errno.
    known = (errno.ENOSPC, errno.EDQUOT)
    told = getattr(error, "errno", None) in known or any(f"os error {number}" in str(error) for number in known)
    if told or _full(request.run):
        return LegFailed(f"no space left on the volume of the run ({text})", "disk-full", step)
    return LegFailed(text, "error", step)


def _full(run: str) -> bool:
    try:
        return shutil.disk_usage(run).free < 64 << 10
    except OSError:
        return False


@contextlib.contextmanager
def _signals(stop: Any) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the training after the step in progress; only the main thread may catch them.

    Before the first step they keep their effect. Several processes stop only after a step, and all after the same one.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        if stop.signal is not None and number == signal.SIGINT:  # a second Ctrl+C stops now
            raise KeyboardInterrupt
        if not stop.begun and os.environ.get("WORLD_SIZE", "1") == "1":
            signal.signal(number, before[signal.Signals(number)])
            os.kill(os.getpid(), number)
            return
        stop.signal = number

    with catch_signals(note):
        yield


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Hide what concerns the developers of the libraries: their log, and deprecations between them.

    Other warnings are shown.
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
