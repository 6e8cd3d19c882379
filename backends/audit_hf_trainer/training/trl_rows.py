"""The examples that a trainer of trl makes of rows, for `audit plan`: nothing is trained, and no weights are loaded.

A trainer of trl prepares its examples before it calls ``Trainer.__init__`` (trl 1.16, SFT and DPO), where it would put
the model on its device. Here that call hands out the examples and ends it.
"""

import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from audit.plugin import ConfigError, LegData, LegRequest, first_line
from audit_hf_trainer.training.leg import libraries, quiet, training_arguments
from audit_hf_trainer.training.loading import limits, tokenizer_of
from audit_hf_trainer.training.own import Rows, check_examples, dataset_of, made, named, own_rows
from audit_hf_trainer.training.trial import empty_model


class _Prepared(BaseException):
    """``dataset`` is what the trainer has made of the rows. No ``except Exception`` of a trainer catches it."""

    def __init__(self, dataset: Any) -> None:
        super().__init__()
        self.dataset = dataset


def trl_trial(settings: Mapping[str, Any]) -> Callable[[Rows, LegData], str | None]:
    """Return the function that has the trainer make examples of checked rows; see PlanningBackend.row_trial."""
    with libraries() as (torch, transformers, _):
        try:
            with quiet(transformers), torch.device("meta"):
                model = empty_model(settings, transformers)
        except ConfigError:
            raise
        except Exception as error:
            return _only_read(f"the model was not built: {type(error).__name__}: {first_line(error, '')}")

    def tried(rows: Rows, data: LegData) -> str | None:
        with (
            libraries() as (torch, transformers, _),
            quiet(transformers),
            warnings.catch_warnings(),
            tempfile.TemporaryDirectory() as scratch,
        ):
            warnings.simplefilter("ignore")
            dataset = dataset_of(data._replace(order=None, epochs=1, first=0), scratch, rows)
            if not len(dataset):
                return None
            request = LegRequest(scratch, None, 0, 1, data, settings)
            arguments = training_arguments(request, torch, transformers)
            found = _prepared(settings, model, arguments, dataset, transformers)
            if isinstance(found, str):
                return f"the rows were read, but not tokenized: {found}"
            if data.path != data.options.get("eval"):  # of these the training needs no number
                check_examples(found, len(dataset), "trainer.class")
            _check_ids(found, limits(settings.get("model", {}), transformers)[0])
            return None

    return tried


def _check_ids(dataset: Any, vocabulary: int | None) -> None:
    """Raise ConfigError for an id that the model has no embedding for: its first step would fail."""
    if vocabulary is None:
        return
    for name in [name for name in getattr(dataset, "column_names", None) or () if name.endswith("_ids")]:
        largest = max((max(ids, default=0) for ids in dataset[name] if isinstance(ids, list)), default=0)
        if largest >= vocabulary:
            raise ConfigError(
                f"trainer.class: makes examples with the id {largest}; the model's vocabulary has {vocabulary}, from 0"
            )


def _only_read(why: str) -> Callable[[Rows, LegData], str | None]:
    def tried(rows: Rows, data: LegData) -> str | None:
        deque(own_rows(rows), 0)
        return f"the rows were read, but not tokenized: {why}"

    return tried


def _prepared(settings: Mapping[str, Any], model: Any, arguments: Any, dataset: Any, transformers: Any) -> Any:
    """Return the trainer's examples, or a text that says why it has made none. Raises ConfigError if it refuses."""
    own = settings["trainer"]
    kind = named(own["class"], "trainer.class", settings)

    class Ends(transformers.Trainer):
        def __init__(self, *unused: Any, train_dataset: Any = None, **more: Any) -> None:
            raise _Prepared(train_dataset)

    trial = type(kind.__name__, (kind, Ends), {})  # what kind calls as its superclass is Ends
    given = {
        "model": model, "args": arguments, "train_dataset": dataset,
        "processing_class": tokenizer_of(settings.get("model", {}), transformers),
    }  # fmt: skip
    try:
        made(trial, "trainer.class", own, given)
    except _Prepared as end:
        columns = getattr(end.dataset, "column_names", None) or ()
        if any(name.endswith("_ids") for name in columns):
            return end.dataset
        skips = getattr(arguments, "dataset_kwargs", None) or {}
        if skips.get("skip_prepare_dataset") and "collator" not in own:
            raise ConfigError(
                "arguments.dataset_kwargs: skip_prepare_dataset is for rows of input_ids, or for a trainer.collator that makes "
                "them"
            ) from None
        return f"{own['class']} does that as it trains"
    except ConfigError as error:
        if "meta tensor" in str(error.__cause__):  # it needs the weights
            return f"{own['class']} needs the weights of the model for that"
        raise
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error, '')}"
    return f"{own['class']} does that in its own way"
