"""How the rows of a data file are read: counts, lengths, what is trained on, what is refused."""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from audit.backend.training import BadData, ReadExample
from audit.data.row_formats import AUTO, IGNORED, RowFormat
from audit.data.rows import container_of, judged_rows

SHOWN = 20
"""Refused rows that are listed; all are counted."""

Read = Callable[[int, Mapping[str, Any], str], ReadExample]
"""From the number, the content and the format of a row to its example. Raises BadData."""


class Lengths(NamedTuple):
    """Of all examples: smallest, median, 95th percentile, largest and sum; tokens or characters."""

    smallest: int
    median: int
    most: int
    largest: int
    total: int


class First(NamedTuple):
    """The first example: the number of its row and its text in pieces, each with whether it is trained on."""

    row: int
    length: int
    pieces: tuple[tuple[str, bool], ...]


class Survey(NamedTuple):
    """What is in a data file. ``stopped`` is why it could not be read to its end, None if it was."""

    container: str
    format: str | None
    rows: int
    refused: int
    refusals: tuple[tuple[int | None, str], ...]
    lengths: Lengths | None
    learned: int
    cut: int
    first: First | None
    stopped: str | None


def survey(path: str, format: str, read: Read) -> Survey:
    """Read every row. Raises BadData if nothing of the file can be read, and what ``read`` raises besides BadData."""
    container = container_of(path)
    counts: Counter[int] = Counter()
    refusals: list[tuple[int | None, str]] = []
    found, first, stopped = None if format == AUTO else format, None, None
    rows = refused = learned = cut = 0
    try:
        for number, row, own, fault in judged_rows(path, format):
            rows += 1
            try:
                if fault is not None:
                    raise fault
                assert own is not None
                found = own
                example = read(number, row, own)
            except BadData as error:
                refused += 1
                if len(refusals) < SHOWN:
                    refusals.append((number, error.reason))
                continue
            counts[example.length] += 1
            learned += example.learned
            cut += example.cut
            if first is None:
                first = First(number, example.length, example.pieces())
    except BadData as error:
        if not rows:
            raise
        stopped = f"{f'row {error.row} ' if error.row is not None else ''}{error.reason}"
    return Survey(container, found, rows, refused, tuple(refusals), _lengths(counts), learned, cut, first, stopped)


def as_written(loss_on: str | None) -> Read:
    """Return how rows are read without a tokenizer: in characters, or the ids of rows of ids."""

    def read(number: int, row: Mapping[str, Any], format: str) -> ReadExample:
        pieces = _pieces(row, format, loss_on)
        if format == RowFormat.INPUT_IDS:
            labels = row.get("labels", row["input_ids"])
            return ReadExample(len(labels), sum(label != IGNORED for label in labels), False, lambda: pieces)
        sizes = [len(text) for text, _ in pieces]
        trained = sum(size for size, (_, is_trained) in zip(sizes, pieces, strict=True) if is_trained)
        return ReadExample(sum(sizes), trained, False, lambda: pieces)

    return read


def _pieces(row: Mapping[str, Any], format: str, loss_on: str | None) -> tuple[tuple[str, bool], ...]:
    everything = loss_on == "all"
    if format == RowFormat.TEXT:
        return ((row["text"], True),)
    if format == RowFormat.INPUT_IDS:
        ids = row["input_ids"]
        labels = row.get("labels", ids)
        return joined((f"{number} ", label != IGNORED) for number, label in zip(ids, labels, strict=True))
    if format == RowFormat.ALPACA:
        asked = "\n\n".join(row[key] for key in ("system", "instruction", "input") if key in row)
        return ((f"{asked}\n\n", everything), (row["output"], True))
    if format == RowFormat.PROMPT_COMPLETION and isinstance(row["prompt"], str):
        return ((row["prompt"], everything), (row["completion"], True))
    if format == RowFormat.PROMPT_COMPLETION:
        return joined([*_messages(row["prompt"], lambda _: everything), *_messages(row["completion"], lambda _: True)])
    if format == RowFormat.PREFERENCE:
        parts = [(row[key], key != "prompt") for key in ("prompt", "chosen", "rejected") if key in row]
        return joined(
            piece
            for part, trained in parts
            for piece in ([(part, trained)] if isinstance(part, str) else _messages(part, lambda _, on=trained: on))  # type: ignore[misc]
        )
    messages = row["messages"]
    last = max((place for place, item in enumerate(messages) if item["role"] == "assistant"), default=-1)
    return joined(_messages(messages, lambda place: loss_on != "completion" or place == last))


def _messages(messages: list[Any], trained: Callable[[int], bool]) -> list[tuple[str, bool]]:
    return [
        (f"{message['role']}: {message.get('content') or ''}\n", trained(place))
        for place, message in enumerate(messages)
    ]


def joined(pieces: Any) -> tuple[tuple[str, bool], ...]:
    """Return pieces of text with neighbours of the same kind as one."""
    groups = groupby(pieces, key=itemgetter(1))
    return tuple(("".join(text for text, _ in group), trained) for trained, group in groups)


def _lengths(counts: Counter[int]) -> Lengths | None:
    if not counts:
        return None
    sizes, number = sorted(counts), counts.total()

    def at(share: float) -> int:
        passed = 0
        for size in sizes:
            passed += counts[size]
            if passed >= share * number:
                return size
        return sizes[-1]

    return Lengths(sizes[0], at(0.5), at(0.95), sizes[-1], sum(size * count for size, count in counts.items()))
