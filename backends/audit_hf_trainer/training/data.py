"""Data files as examples for the Trainer: one row is one example, tokenized once, in an order that never changes."""

import errno
import os
import random
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from audit.plugin import IGNORED_LABEL, AuditError, BadData, ConfigError, LegData, LegFailed, RowFormat, checked_rows
from audit_hf_trainer.training.tokens import COMPLETION, Writer, given, given_labels, refusal, smallest

if TYPE_CHECKING:
    import torch

Example = dict[str, list[int]]
"""``input_ids`` and ``labels``, as many each; a label of -100 is not learned."""

BUFFERED = 256
"""Examples in memory before they are written."""

TRIED = 100
"""Rows that are tried if none can be trained: then the configuration does not go with them."""

Make = Callable[[Mapping[str, Any]], tuple[list[int], list[int]]]

NO_LIMIT = 1 << 30
"""A tokenizer without a limit has 10**30."""


class Indexed(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Examples:
    """The examples of a data file in the order of its rows, in a file that is deleted with this object.

    ``cut`` is how many of them were longer than the limit and were cut off there.
    """

    def __init__(self, dataset: Any, directory: str, cut: int) -> None:
        self._dataset = dataset
        self.cut = cut
        self.close: Callable[[], object] = weakref.finalize(self, _remove, directory, os.getpid())

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        return self._dataset[index]

    def __getstate__(self) -> Any:
        # A copy in a worker process reads the file and does not delete it.
        return self._dataset, self.cut

    def __setstate__(self, state: Any) -> None:
        self._dataset, self.cut = state
        self.close = _nothing


def examples(
    data: LegData,
    tokenizer: Any | None,
    vocabulary: int | None,
    scratch: str,
    limit: int | None = None,
    invocation: Sequence[int] = (),
) -> Examples:
    """Tokenize every row of ``data.path`` into a new directory under ``scratch``, not into memory.

    ``vocabulary`` is the number of the model's embeddings, ``limit`` the number of its positions; None if they are
    not known. ``options`` of the data: "format", "max_length", "loss_on". ``invocation``: tokens without which an
    adapter does nothing in a row (``adapter.alora_invocation_tokens``).

    Raises BadData for a row that cannot be trained, ConfigError if tokenizer, model and options do not go with
    the format of the rows.
    """
    try:
        import datasets
    except ImportError as error:
        raise AuditError(
            f"reading data needs {error.name}, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error

    reader = Reader(data, tokenizer, vocabulary, limit, invocation)
    integers = datasets.List(datasets.Value("int32"))
    features = datasets.Features({"input_ids": integers, "labels": integers})
    dataset, directory = written(reader.examples, data.path, scratch, datasets, features)
    return Examples(dataset, directory, reader.cut)


def written(
    rows: Callable[[], Iterator[dict[str, Any]]], path: str, scratch: str, datasets: Any, features: Any = None
) -> tuple[Any, str]:
    """Write ``rows``, made of the file ``path``, into a new directory under ``scratch``; return dataset and directory.

    Raises what making them raised.
    """
    os.makedirs(scratch, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="examples-", dir=scratch)
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset = datasets.Dataset.from_generator(
            rows,
            features=features,
            cache_dir=directory,
            # Otherwise the tokenizer is pickled to name the cache, which is never used again.
            fingerprint=os.path.basename(directory),
            writer_batch_size=BUFFERED,
        )
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, datasets.exceptions.DatasetGenerationError):
            _raise_cause(error, path)
        raise
    finally:
        if not bars:
            datasets.enable_progress_bars()
    return dataset, directory


class Ordered:
    """All examples ``data.epochs`` times, each time in another order, without the first ``data.first`` of them."""

    def __init__(self, examples: Indexed, data: LegData) -> None:
        self._examples, self._order, self._first = examples, data.order, data.first
        self._length = max(0, len(examples) * data.epochs - data.first)
        self._orders: dict[int, Sequence[int]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        return self._examples[self.row(index)]

    def row(self, index: int) -> int:
        """Return the number, from 0, of the row that is example ``index`` of this leg."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        epoch, place = divmod(self._first + index, len(self._examples))
        if self._order is None:
            return place
        if epoch not in self._orders:
            # Two are enough: reading ahead reaches into the next one.
            self._orders = {key: value for key, value in self._orders.items() if key == epoch - 1}
            self._orders[epoch] = order_of(f"{self._order}:{epoch}", len(self._examples))
        return self._orders[epoch][place]


def invocation_of(settings: Mapping[str, Any]) -> Sequence[int]:
    """Return the tokens after which the adapter does something; none: it does from the first token on."""
    return settings.get("adapter", {}).get("alora_invocation_tokens") or ()


def ordered(examples: Indexed, data: LegData) -> Ordered:
    """Return the examples of the leg ``data`` in their order, from number ``data.first``."""
    return Ordered(examples, data)


def order_of(text: str, count: int) -> Sequence[int]:
    """Return a permutation of ``count`` that is drawn from ``text``: the same on every machine and in every Python.

    Of the module random, only ``random()`` is promised never to change; therefore no ``shuffle``.
    """
    chance = random.Random(text).random
    order = array("q", range(count))
    for last in range(count - 1, 0, -1):
        other = int(chance() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


class Padded:
    """Examples, followed by as many without labels as make their number a multiple."""

    def __init__(self, examples: Indexed, multiple: int) -> None:
        self._examples, self._more = examples, -len(examples) % multiple

    def __len__(self) -> int:
        return len(self._examples) + self._more

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self._examples):
            return self._examples[index]
        return {"input_ids": [0, 0], "labels": [IGNORED_LABEL, IGNORED_LABEL]}


def padded(examples: Indexed, multiple: int) -> Padded:
    """Fill up with rows whose labels are all -100, so that processes divide the last step evenly.

    Otherwise accelerate does that (``even_batches``) by going back to the first examples, which are then trained
    twice. A row without labels adds nothing to a sum of losses and nothing to the number of tokens that it is divided
    by; a model that takes a mean of its own over a batch of such rows alone gets NaN.
    """
    return Padded(examples, multiple)


def collate(rows: Sequence[Mapping[str, Sequence[int]]], pad_id: int) -> "dict[str, torch.Tensor]":
    """Pad to the longest row, on the right; padding is masked, and its labels do not count."""
    import torch

    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED_LABEL)
    for number, row in enumerate(rows):
        count = len(row["input_ids"])
        ids[number, :count] = torch.tensor(row["input_ids"], dtype=torch.long)
        labels[number, :count] = torch.tensor(row["labels"], dtype=torch.long)
        mask[number, :count] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Reader:
    """Makes examples of the rows of one file."""

    def __init__(
        self,
        data: LegData,
        tokenizer: Any | None,
        vocabulary: int | None,
        limit: int | None,
        invocation: Sequence[int] = (),
    ) -> None:
        self._path = data.path
        self._format = data.options.get("format", "auto")
        self._loss_on = data.options.get("loss_on")
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self.limit = _limit(data.options.get("max_length"), limit, tokenizer)
        self.cut = self.idle = 0
        """How many examples were cut off, and how many do not have the invocation tokens."""
        self._invocation = [*invocation]
        self._makers: dict[str, Make] = {}

    def examples(self, rows: Iterable[tuple[int, Mapping[str, Any], str]] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the example of each row of the file, or of these checked ``rows``. Raises BadData and ConfigError."""
        import numpy as np

        make: Make | None = None
        refused: list[BadData] = []
        taken = 0
        for number, row, found in checked_rows(self._path, self._format) if rows is None else rows:
            make = make or self._maker(found)
            example = self._example(make, row, found)
            if isinstance(example, str):
                refused.append(BadData(self._path, number, example))
                if taken or found == RowFormat.INPUT_IDS:
                    raise refused[0]
                if example == self._example(make, smallest(row), found):
                    raise _of_all(example)
                if len(refused) == TRIED:
                    break
                continue
            if refused:
                raise refused[0]
            ids, labels = example
            self.cut += len(ids) > self.limit
            self.idle += not self._invoked(ids[: self.limit])
            taken += 1
            values = {"input_ids": ids, "labels": labels}
            yield {key: np.array(value[: self.limit], dtype=np.int32) for key, value in values.items()}
        if len(refused) > 1:
            raise _of_all(refused[0].reason, len(refused))
        if refused:
            raise refused[0]
        if self._invocation and self.idle == taken and (rows is None or taken < TRIED):  # of more, not all were given
            raise ConfigError(
                "adapter.alora_invocation_tokens: no row has them, so the adapter adds nothing, and nothing is learned"
            )

    def _invoked(self, ids: Sequence[int]) -> bool:
        wanted = self._invocation
        return any([*ids[place : place + len(wanted)]] == wanted for place in range(len(ids) - len(wanted) + 1))

    def one(self, number: int, row: Mapping[str, Any], found: str) -> tuple[list[int], list[int]]:
        """Return ids and labels of a row, not yet truncated. Raises BadData and ConfigError."""
        if found not in self._makers:
            self._makers[found] = self._maker(found)
        example = self._example(self._makers[found], row, found)
        if isinstance(example, str):
            raise BadData(self._path, number, example)
        return example

    def _example(self, make: Make, row: Mapping[str, Any], found: str) -> tuple[list[int], list[int]] | str:
        """Return ids and labels of a row, or why it cannot be trained. Raises ConfigError."""
        import jinja2  # comes with torch

        try:
            ids, labels = make(row)
        except (AuditError, MemoryError):
            raise
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(
                f"the tokenizer's chat template is not valid: {error.message}, line {error.lineno}"
            ) from error
        except Exception as error:
            return refusal(error)
        return self._wrong(ids, labels, found) or (ids, labels)

    def _maker(self, found: str) -> Make:
        """Return the function from a row of this format to ids and labels. Raises ConfigError."""
        if found == RowFormat.TEXT and self._loss_on == COMPLETION:
            raise ConfigError('data.loss_on: "completion" is not for rows of the format text: they have no completion')
        if found == RowFormat.INPUT_IDS:
            return given if self._loss_on != COMPLETION else given_labels
        if found == RowFormat.PREFERENCE:
            raise ConfigError('data.format: rows of the format preference need [trainer] class = "trl.DPOTrainer"')
        if self._tokenizer is None:
            raise ConfigError(
                f"data.format: rows of the format {found} need a tokenizer, and the model has none: set model.tokenizer, "
                "or use rows of input_ids"
            )
        chat = Writer(self._tokenizer, self._loss_on)
        return {
            RowFormat.TEXT: chat.text,
            RowFormat.MESSAGES: chat.messages,
            RowFormat.SHAREGPT: chat.messages,
            RowFormat.ALPACA: chat.alpaca,
            RowFormat.PROMPT_COMPLETION: chat.prompt_completion,
        }[RowFormat(found)]

    def _wrong(self, ids: Sequence[int], labels: Sequence[int], found: str) -> str | None:
        """Return why an example cannot be trained. Raises ConfigError if that is not the row's fault."""
        if len(ids) < 2:
            return f"makes {len(ids)} token{'s' * (len(ids) != 1)}; an example needs 2, one to predict the other"
        largest = max(*ids, *labels)
        if self._vocabulary is not None and largest >= self._vocabulary:
            if found == RowFormat.INPUT_IDS:
                return f"has the id {largest}; the model's vocabulary has {self._vocabulary}, from 0"
            raise ConfigError(
                f"the tokenizer makes the id {largest}, and the model's vocabulary has {self._vocabulary}: "
                "they do not belong together"
            )
        # The first label is never predicted.
        learned = next((place for place in range(1, len(labels)) if labels[place] != IGNORED_LABEL), None)
        if learned is None:
            return "has no token that is learned: all labels after the first are -100"
        if learned >= self.limit:
            return f"has nothing to learn within its first {self.limit} tokens; raise data.max_length or shorten it"
        return None


def _of_all(reason: str, count: int = 0) -> ConfigError:
    """A fault that other files would have as well: it is that of the configuration, and no file is set aside for it."""
    what = f"none of the first {count} rows" if count else "no row"
    return ConfigError(
        f"data: {what} can be trained with this configuration (data.loss_on, data.max_length, chat template): {reason}"
    )


def _limit(chosen: int | None, positions: int | None, tokenizer: Any | None) -> int:
    """Return how many tokens an example may have. Raises ConfigError if the user's number is not possible."""
    if chosen is not None:
        if chosen < 2:
            raise ConfigError(f"data.max_length: {chosen} is too short: an example needs 2 tokens")
        if positions is not None and chosen > positions:
            raise ConfigError(f"data.max_length: {chosen} is more than the model's {positions} positions")
        return chosen
    limits = (positions, getattr(tokenizer, "model_max_length", None))
    return min((int(value) for value in limits if value is not None and value < NO_LIMIT), default=NO_LIMIT)


def _raise_cause(error: BaseException, path: str) -> None:
    """Raise what the generator raised, which datasets wraps once or twice."""
    cause: BaseException | None = error.__cause__
    while cause is not None:
        if isinstance(cause, AuditError):
            raise cause from None
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            raise LegFailed(f"the disk is full: no room for the examples of {path}", "disk-full") from cause
        cause = cause.__cause__ or cause.__context__
    if error.__cause__ is not None:
        raise error.__cause__


def _remove(directory: str, process: int) -> None:
    if os.getpid() == process:  # not in a forked worker
        shutil.rmtree(directory, ignore_errors=True)


def _nothing() -> None:
    pass
