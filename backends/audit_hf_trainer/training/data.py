"""Data files as examples for the Trainer: one row is one example, tokenized once, in an order that never changes."""

import errno
import os
import random
import re
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from audit.errors import AuditError, ConfigError
from audit.legs import BadData, LegData, LegFailed
from audit.rows import AUTO, IGNORED, INPUT_IDS, MESSAGES, PROMPT_COMPLETION, TEXT, checked_rows

if TYPE_CHECKING:
    import torch

Example = dict[str, list[int]]
"""``input_ids`` and ``labels``, as many each; a label of -100 is not learned."""

COMPLETION, ALL = "completion", "all"

BUFFERED = 256
"""Examples that are in memory before they are written."""

NO_LIMIT = 1 << 30
"""A tokenizer without a limit says 10**30."""


class Indexed(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Examples:
    """The examples of a data file in the order of its rows, in a file under ``scratch`` that goes with this object.

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
        # What is sent to a worker process reads the file and leaves it there.
        return self._dataset, self.cut

    def __setstate__(self, state: Any) -> None:
        self._dataset, self.cut = state
        self.close = _nothing


def examples(
    data: LegData, tokenizer: Any | None, vocabulary: int | None, scratch: str, limit: int | None = None
) -> Examples:
    """Tokenize every row of ``data.path``; they lie in a new directory under ``scratch``, not in memory.

    ``vocabulary`` is the number of the model's embeddings, ``limit`` the number of its positions; None where they are
    not known. ``options`` of the data: "format", "max_length", "loss_on".

    Raises BadData for a row that cannot be trained, ConfigError where tokenizer, model and options do not go with
    the format of the rows.
    """
    try:
        import datasets
    except ImportError as error:
        raise AuditError(
            f"reading data needs {error.name}, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error

    reader = _Reader(data, tokenizer, vocabulary, limit)
    integers = datasets.List(datasets.Value("int32"))
    os.makedirs(scratch, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="examples-", dir=scratch)
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset = datasets.Dataset.from_generator(
            reader.examples,
            features=datasets.Features({"input_ids": integers, "labels": integers}),
            cache_dir=directory,
            # Otherwise the tokenizer is pickled to name the cache, which is never looked for again.
            fingerprint=os.path.basename(directory),
            writer_batch_size=BUFFERED,
        )
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, datasets.exceptions.DatasetGenerationError):
            _raise_cause(error, data.path)
        raise
    finally:
        if not bars:
            datasets.enable_progress_bars()
    return Examples(dataset, directory, reader.cut)


class Ordered:
    """``data.epochs`` times all examples, each time in another order, without the first ``data.first`` of them."""

    def __init__(self, examples: Indexed, data: LegData) -> None:
        self._examples, self._order, self._first = examples, data.order, data.first
        self._length = max(0, len(examples) * data.epochs - data.first)
        self._orders: dict[int, Sequence[int]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        return self._examples[self.row(index)]

    def row(self, index: int) -> int:
        """Return the number, from 0, of the row that comes as example ``index`` of this leg."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        epoch, place = divmod(self._first + index, len(self._examples))
        if self._order is None:
            return place
        if epoch not in self._orders:
            # Two are enough: who reads ahead reads into the next one.
            self._orders = {key: value for key, value in self._orders.items() if key == epoch - 1}
            self._orders[epoch] = order_of(f"{self._order}:{epoch}", len(self._examples))
        return self._orders[epoch][place]


def ordered(examples: Indexed, data: LegData) -> Ordered:
    """Return the examples of the leg ``data`` in their order, beginning with number ``data.first``."""
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
    """Examples, and after them as many that teach nothing as make the number a multiple."""

    def __init__(self, examples: Indexed, multiple: int) -> None:
        self._examples, self._more = examples, -len(examples) % multiple

    def __len__(self) -> int:
        return len(self._examples) + self._more

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self._examples):
            return self._examples[index]
        return {"input_ids": [0, 0], "labels": [IGNORED, IGNORED]}


def padded(examples: Indexed, multiple: int) -> Padded:
    """Fill up with rows whose labels are all -100, so that processes share the last step evenly.

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
    labels = torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        count = len(row["input_ids"])
        ids[number, :count] = torch.tensor(row["input_ids"], dtype=torch.long)
        labels[number, :count] = torch.tensor(row["labels"], dtype=torch.long)
        mask[number, :count] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class _Reader:
    """Makes examples of the rows of one file."""

    def __init__(self, data: LegData, tokenizer: Any | None, vocabulary: int | None, limit: int | None) -> None:
        self._path = data.path
        self._format = data.options.get("format", AUTO)
        self._loss_on = data.options.get("loss_on")
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._limit = _limit(data.options.get("max_length"), limit, tokenizer)
        self.cut = 0

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield the example of each row. Raises BadData and ConfigError."""
        import jinja2  # comes with torch
        import numpy as np

        make = None
        for number, row, found in checked_rows(self._path, self._format):
            make = make or self._maker(found)
            try:
                ids, labels = make(row)
            except (AuditError, MemoryError):
                raise
            except jinja2.TemplateSyntaxError as error:
                raise ConfigError(
                    f"the tokenizer's chat template is no valid template: {error.message}, line {error.lineno}"
                ) from error
            except Exception as error:
                raise BadData(self._path, number, _refusal(error)) from error
            reason = self._wrong(ids, labels, found)
            if reason is not None:
                raise BadData(self._path, number, reason)
            if len(ids) > self._limit:
                self.cut += 1
            values = {"input_ids": ids, "labels": labels}
            yield {key: np.array(value[: self._limit], dtype=np.int32) for key, value in values.items()}

    def _maker(self, found: str) -> Callable[[Mapping[str, Any]], tuple[list[int], list[int]]]:
        """Return what makes ids and labels of a row of this format. Raises ConfigError, BadData."""
        if found == TEXT and self._loss_on == COMPLETION:
            reason = 'data.loss_on: "completion" is not for rows of the format text: they have no completion'
            if self._format == AUTO:
                raise BadData(self._path, None, reason)
            raise ConfigError(reason)
        if found == INPUT_IDS:
            return _given if self._loss_on != COMPLETION else _given_labels
        if self._tokenizer is None:
            raise ConfigError(f"data.format: rows of the format {found} need a tokenizer; without one, give input_ids")
        chat = _Chat(self._tokenizer, self._loss_on)
        return {TEXT: chat.text, MESSAGES: chat.messages, PROMPT_COMPLETION: chat.prompt_completion}[found]

    def _wrong(self, ids: Sequence[int], labels: Sequence[int], found: str) -> str | None:
        """Return why an example cannot be trained. Raises ConfigError where that is not the row's fault."""
        if len(ids) < 2:
            return f"makes {len(ids)} token{'s' * (len(ids) != 1)}; an example needs 2, one to predict the other"
        largest = max(*ids, *labels)
        if self._vocabulary is not None and largest >= self._vocabulary:
            if found == INPUT_IDS:
                return f"has the id {largest}; the model's vocabulary has {self._vocabulary}, from 0"
            raise ConfigError(
                f"the tokenizer makes the id {largest}, and the model's vocabulary has {self._vocabulary}: "
                "they do not belong together"
            )
        # The first label is the prediction of nothing.
        learned = next((place for place in range(1, len(labels)) if labels[place] != IGNORED), None)
        if learned is None:
            return "has no token that is learned: all labels after the first are -100"
        if learned >= self._limit:
            return f"has nothing to learn within its first {self._limit} tokens; raise data.max_length or shorten it"
        return None


def _limit(chosen: int | None, positions: int | None, tokenizer: Any | None) -> int:
    """Return how many tokens an example may have. Raises ConfigError where the user's number cannot be."""
    if chosen is not None:
        if chosen < 2:
            raise ConfigError(f"data.max_length: {chosen} is too short: an example needs 2 tokens")
        if positions is not None and chosen > positions:
            raise ConfigError(f"data.max_length: {chosen} is more than the model's {positions} positions")
        return chosen
    limits = (positions, getattr(tokenizer, "model_max_length", None))
    return min((int(value) for value in limits if value is not None and value < NO_LIMIT), default=NO_LIMIT)


def _given(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    return row["input_ids"], row.get("labels", row["input_ids"])


def _given_labels(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    if "labels" not in row:
        raise _Refused("has no labels, and the loss is on completions (data.loss_on)")
    return _given(row)


class _Chat:
    """Tokenizes rows of text, messages, and prompt and completion. The methods return ids and labels."""

    def __init__(self, tokenizer: Any, loss_on: str | None) -> None:
        self._tokenizer = tokenizer
        self._loss_on = loss_on
        self._template: str | None = None

    def text(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """The text and the token that ends it."""
        ids = self._ended(self._ids(row["text"]))
        return ids, ids

    def prompt_completion(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Prompt and completion without anything between them, and the token that ends them; or one conversation."""
        prompt, completion, tools = row["prompt"], row["completion"], row.get("tools")
        if isinstance(prompt, str):
            before, ids = self._ids(prompt), self._ended(self._ids(prompt + completion))
            return ids, self._labels(ids, _common(before, ids), len(ids), ALL if self._loss_on == ALL else COMPLETION)
        return self._conversation(prompt + completion, len(prompt), tools, self._loss_on or COMPLETION)

    def messages(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """A conversation as the tokenizer's chat template writes it."""
        messages, tools = row["messages"], row.get("tools")
        if self._loss_on != COMPLETION:
            return self._conversation(messages, 0, tools, ALL)
        if self._tokenizer.is_fast and re.search(r"\{%-?\s*generation\b", self._chat_template(tools)):
            return self._marked(messages, tools)
        last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=None)
        if last is None:
            raise _Refused("has no message of the assistant, and the loss is on completions (data.loss_on)")
        return self._conversation(messages, last, tools, COMPLETION, last + 1)

    def _conversation(
        self, messages: list[Any], start: int, tools: Any, loss_on: str, end: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Learn the messages from number ``start`` up to ``end``, or all where the loss is on all."""
        text = self._render(messages, tools)
        ids = self._ids(text, special=False)
        if loss_on == ALL:
            return ids, ids
        before = self._before(text, messages[:start], tools)
        last = len(ids)
        if end is not None and end < len(messages):
            upto = self._render(messages[:end], tools)
            last = _common(self._ids(upto[: _common(upto, text)], special=False), ids)
        return ids, self._labels(ids, _common(self._ids(before, special=False), ids), last, loss_on)

    def _before(self, text: str, messages: list[Any], tools: Any) -> str:
        """Return the beginning of ``text`` that asks for the completion, with the header of the assistant."""
        if not messages:
            return ""
        before = self._render(messages, tools, add_generation_prompt=True)
        if text.startswith(before):
            return before
        plain = self._render(messages, tools)
        if text.startswith(plain):  # some templates ask for a thought that the answer given here does not have
            return text[: max(len(plain), _common(before, text))]
        raise _Refused(
            "the chat template writes the messages before the completion in another way when the completion follows: "
            'what is to be learned cannot be told; set data.loss_on = "all" or use a template with {% generation %}'
        )

    def _marked(self, messages: list[Any], tools: Any) -> tuple[list[int], list[int]]:
        """Learn what the template marks as written by the assistant."""
        made = self._tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, marks = made["input_ids"], made["assistant_masks"]
        return ids, [number if mark else IGNORED for number, mark in zip(ids, marks, strict=True)]

    def _render(self, messages: list[Any], tools: Any, **options: Any) -> str:
        self._chat_template(tools)
        return self._tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **options)

    def _chat_template(self, tools: Any) -> str:
        """Return the template. Raises ConfigError where the tokenizer has none."""
        if self._template is None:
            try:
                self._template = self._tokenizer.get_chat_template(tools=tools)
            except (ValueError, AttributeError) as error:
                raise ConfigError(
                    "data.format: messages need a chat template, and the tokenizer has none: take the tokenizer of a "
                    "chat model, or give the rows as text or prompt and completion"
                ) from error
        return self._template

    def _ids(self, text: str, special: bool = True) -> list[int]:
        if not text:
            return []
        return self._tokenizer(text, add_special_tokens=special, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]

    def _ended(self, ids: list[int]) -> list[int]:
        end = self._tokenizer.eos_token_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]

    def _labels(self, ids: list[int], start: int, end: int, loss_on: str) -> list[int]:
        if loss_on == ALL:
            return ids
        return [number if start <= place < end else IGNORED for place, number in enumerate(ids)]


class _Refused(Exception):
    """A row that cannot be made an example; its text is the reason."""


def _refusal(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"the tokenizer or its chat template refuses it: {reason[:200]}"


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many tokens, or letters, both begin with. Where two texts meet, a token may take in letters of both."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


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
