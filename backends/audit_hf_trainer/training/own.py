"""A trainer that the configuration names: trl's, a subclass of Trainer, or what a function of the user's returns.

It makes examples of rows in its own way. What `audit train` has to own is checked on it before the first step: that it
trains each row once and in order, and the arguments that say where training begins, ends and is saved.
"""

import contextlib
import copy
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from audit.plugin import (
    AuditError,
    BadData,
    ConfigError,
    LegData,
    LegRequest,
    Phase,
    RowFormat,
    Tell,
    checked_rows,
    did_you_mean,
    first_line,
)
from audit_hf_trainer.training.changing import changing
from audit_hf_trainer.training.data import ordered, written
from audit_hf_trainer.training.drawing import Steady, draws
from audit_hf_trainer.training.loading import adapted, model_of, tokenizer_of
from audit_hf_trainer.training.stopping import trainer_class

NUMBER = "audit_example"
"""The column with the number of each example, by which it is seen whether a trainer keeps their order."""
OWNED = (
    "output_dir", "max_steps", "ignore_data_skip", "seed", "per_device_train_batch_size", "gradient_accumulation_steps",
    "dataloader_drop_last", "lr_scheduler_type", "warmup_steps", "learning_rate", "save_strategy", "save_steps",
    "save_total_limit", "save_only_model", "load_best_model_at_end", "auto_find_batch_size", "remove_unused_columns",
)  # fmt: skip
"""Arguments that must be those that the trainer was given."""
Rows = Iterable[tuple[int, Mapping[str, Any], str]]
"""Checked rows: number, content, format."""
METHODS = ("get_train_dataloader", "_get_train_sampler", "_inner_training_loop", "_run_epoch")
"""Methods of Trainer that decide what is trained when: a subclass with others takes examples in an order of its own."""


def named(text: str, key: str, settings: Mapping[str, Any]) -> Any:
    """Return what ``module:name`` or ``module.name`` names; a module may be beside the configuration.

    Raises ConfigError, beginning with ``key``.
    """
    module, _, name = text.partition(":") if ":" in text else text.rpartition(".")
    home = settings["trainer"]["modules"]
    if home not in sys.path:
        sys.path.append(home)  # at the end: a file there must not take the place of a library
    if not module or not name:
        raise ConfigError(f'{key}: {text} is no name; write "module:name", such as "mine:make_trainer"')
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if module.partition(".")[0] == "trl" and error.name == "trl":
            raise AuditError(
                f"{key}: {text} needs trl, which is not installed: pip install 'checkpoint-audit[trl]'"
            ) from error
        raise ConfigError(f"{key}: there is no module {error.name}, neither in {home} nor installed") from error
    except AttributeError as error:
        raise ConfigError(f"{key}: {module} has no {name}{did_you_mean(name, dir(found))}") from error
    except Exception as error:  # code of the user's
        raise ConfigError(
            f"{key}: {module} cannot be imported: {type(error).__name__}: {first_line(error, '')}"
        ) from error
    if not callable(found):
        raise ConfigError(f"{key}: {text} is not a class or a function")
    return found


def arguments_class(request: LegRequest, fields: dict[str, Any]) -> Any:
    """Return the class of the training arguments; ``fields`` are completed and checked. Raises ConfigError."""
    import transformers

    kind: Any = transformers.TrainingArguments
    own = request.settings["trainer"]
    if "class" in own:
        trainer = named(own["class"], "trainer.class", request.settings)
        home = sys.modules[getattr(trainer, "__module__", "").partition(".")[0] or "transformers"]
        kind = getattr(home, f"{getattr(trainer, '__name__', '').removesuffix('Trainer')}Config", kind)
        if not (isinstance(kind, type) and issubclass(kind, transformers.TrainingArguments)):
            kind = transformers.TrainingArguments
    known = set(inspect.signature(kind).parameters)
    for name in request.settings.get("arguments", {}):
        if name not in known:
            raise ConfigError(f"arguments.{name}: {kind.__name__} has no such field{did_you_mean(name, known)}")
    if "max_length" in known and "max_length" in request.data.options:
        fields.setdefault("max_length", request.data.options["max_length"])
    if "shuffle_dataset" in known:
        fields["shuffle_dataset"] = False
    return kind


def own_trainer(request: LegRequest, arguments: Any, stop: Any, scratch: str, tell: Tell) -> Any:
    """Return the trainer, checked, which takes the leg's examples in their order. Raises ConfigError, BadData."""
    import peft
    import torch
    import transformers

    own, settings = request.settings["trainer"], request.settings
    refuse_options(request.data)
    tell(Phase("reading the data"))
    rows = dataset_of(request.data, scratch)
    held_out = None
    if "eval" in request.data.options:
        data = request.data._replace(path=request.data.options["eval"], order=None, epochs=1, first=0)
        try:
            held_out = dataset_of(data, scratch)
        except BadData as error:  # not the fault of the file that is trained
            raise ConfigError(f"data.eval: {error}") from error
    tokenizer = tokenizer_of(settings.get("model", {}), transformers)
    tell(Phase("loading the model"))
    kind = settings.get("model", {}).get("class")
    model = model_of(request, transformers, None if kind is None else named(kind, "model.class", settings))
    given: dict[str, Any] = {
        "model": model, "args": arguments, "train_dataset": rows, "eval_dataset": held_out,
        "processing_class": tokenizer, "callbacks": [stop],
    }  # fmt: skip
    if "factory" in own:
        make, key = named(own["factory"], "trainer.factory", settings), "trainer.factory"
        if settings.get("adapter") is not None:
            given["model"] = adapted(request, model, peft)
        given["options"] = own.get("options", {})
    else:
        make, key = named(own["class"], "trainer.class", settings), "trainer.class"
        takes = inspect.signature(make.__init__).parameters
        if settings.get("adapter") is not None and "peft_config" in takes:
            given["peft_config"] = peft.LoraConfig(**{"task_type": "CAUSAL_LM", **settings["adapter"]})
        elif settings.get("adapter") is not None:
            given["model"] = adapted(request, model, peft)
        if "collator" in own:
            given["data_collator"] = named(own["collator"], "trainer.collator", settings)
        refuse_without_tokenizer(own, tokenizer)
    kept = copy.copy(arguments)  # the trainer may change the ones it is given
    trainer = made(make, key, own, given)
    checked(trainer, kept, len(rows), key, transformers)
    if stop not in trainer.callback_handler.callbacks:
        trainer.add_callback(stop)
    first = request.first_step * arguments.gradient_accumulation_steps  # within a leg each step but the last is full

    def collating(collate: Any) -> Any:
        return Steady(collate, arguments.seed, first)

    trainer.__class__ = changing(trainer_class(stop, torch, type(trainer), collating), request.changes)
    return trainer


def made(make: Any, key: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return the trainer that class or factory makes of what is ``given``. Raises ConfigError if a class refuses it."""
    try:
        with _no_bars():
            return make(**given)
    except (TypeError, ValueError, KeyError, NotImplementedError, ImportError) as error:
        if "factory" in own:
            raise
        raise ConfigError(f"{key}: {own['class']} refuses them: {first_line(error, type(error).__name__)}") from error


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Let datasets draw no progress bars: nobody sees them."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def dataset_of(data: LegData, scratch: str, rows: Rows | None = None) -> Any:
    """Return the leg's rows, as they are checked, in the order in which they are trained; NUMBER counts them.

    ``rows``: those that the leg has, if they are not all of its file.
    """
    import datasets

    def found() -> Iterator[dict[str, Any]]:
        yield from own_rows(checked_rows(data.path, data.options.get("format", "auto")) if rows is None else rows)

    dataset, _ = written(found, data.path, scratch, datasets)
    order = ordered(dataset, data)
    chosen = dataset.select([order.row(index) for index in range(len(order))])
    return chosen.add_column(NUMBER, list(range(len(chosen))))


def own_rows(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield each of these checked rows as the trainer is given it. Raises ConfigError."""
    for _, row, found in rows:
        if found == RowFormat.ALPACA:
            raise ConfigError("data.format: a trainer of your own takes no alpaca; write prompt and completion")
        yield dict(row)


def refuse_options(data: LegData) -> None:
    """Raise ConfigError for options of the data that a trainer of one's own decides."""
    if "loss_on" in data.options:
        raise ConfigError(
            "data.loss_on: a trainer of your own decides that; with trl set arguments.completion_only_loss or "
            "arguments.assistant_only_loss"
        )


def refuse_without_tokenizer(own: Mapping[str, Any], tokenizer: Any | None) -> None:
    """Raise ConfigError for a trainer of trl without a tokenizer; ``own`` is the table [trainer]."""
    if tokenizer is None and own.get("class", "").startswith("trl."):
        raise ConfigError(f"model.tokenizer: {own['class']} needs a tokenizer, and the model has none")


def checked(trainer: Any, arguments: Any, count: int, key: str, transformers: Any) -> None:
    """Refuse a trainer of which `audit train` does not own what it has to. Raises ConfigError."""
    if not isinstance(trainer, transformers.Trainer):
        raise ConfigError(
            f"{key}: is a {type(trainer).__name__}, not a transformers.Trainer; return one, or a subclass"
        )
    for name in METHODS:
        owner = next(kind for kind in type(trainer).__mro__ if name in vars(kind))
        if not owner.__module__.startswith("transformers."):
            raise ConfigError(
                f"{key}: {owner.__name__} has a {name} of its own, so the order of the examples is not that of the ledger; "
                'remove it, or train with backend = "command"'
            )
    for name in OWNED:
        ours, found = getattr(arguments, name, None), getattr(trainer.args, name, None)
        if ours != found:
            raise ConfigError(
                f"{key}: changed the argument {name} to {found!r}, and audit train has set {ours!r}; leave it as it is"
            )
    if any(isinstance(item, transformers.EarlyStoppingCallback) for item in trainer.callback_handler.callbacks):
        raise ConfigError(
            f"{key}: has an EarlyStoppingCallback, which ends the training of a file before each row of it was trained; make "
            "the trainer without it"
        )
    trainer.train_dataset = check_examples(trainer.train_dataset, count, key)


def check_examples(dataset: Any, count: int, key: str) -> Any:
    """Return the examples that a trainer has made of ``count`` rows, without NUMBER. Raises ConfigError."""
    try:
        length = len(dataset)
    except TypeError:
        raise ConfigError(f"{key}: has examples that cannot be counted; train on a dataset with a length") from None
    if length != count:
        raise ConfigError(
            f"{key}: makes {length} examples of {count}, so not each would be trained once: the trainer drops rows that are "
            "too long (raise data.max_length) or makes several of one (packing); one row must be one example"
        )
    if length and draws(lambda: dataset[0]):
        raise ConfigError(
            f"{key}: its dataset draws random numbers as an example is read, and a continued training would draw others; draw "
            "them in the collator, where each batch has a seed of its own"
        )
    columns = getattr(dataset, "column_names", None) or ()
    if NUMBER in columns:
        if list(dataset[NUMBER]) != list(range(count)):
            raise ConfigError(f"{key}: changes the order of the examples; keep that of the dataset that it is given")
        return dataset.remove_columns(NUMBER)
    return dataset
