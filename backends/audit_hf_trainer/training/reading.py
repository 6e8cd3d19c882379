"""How a row becomes an example, for `audit data`: nothing is trained, and no weights are loaded."""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from audit.plugin import IGNORED_LABEL, LegData, ReadExample
from audit_hf_trainer.training.data import Reader
from audit_hf_trainer.training.leg import libraries, quiet
from audit_hf_trainer.training.loading import limits, tokenizer_of


def reader(data: LegData, settings: Mapping[str, Any]) -> Callable[[int, Mapping[str, Any], str], ReadExample]:
    """Return the function from a checked row to its example, as a leg would make it. Raises ConfigError, AuditError."""
    model = settings.get("model", {})
    with libraries() as (_, transformers, _), quiet(transformers):
        tokenizer = tokenizer_of(model, transformers)
        vocabulary, positions = limits(model, transformers)
    rows = Reader(data, tokenizer, vocabulary, positions)

    def read(number: int, row: Mapping[str, Any], found: str) -> ReadExample:
        ids, labels = rows.one(number, row, found)
        kept = labels[: rows.limit]
        learned = sum(label != IGNORED_LABEL for label in kept[1:])  # the first is never predicted
        return ReadExample(
            len(kept), learned, len(ids) > rows.limit, lambda: _pieces(ids[: rows.limit], kept, tokenizer)
        )

    return read


def _pieces(ids: list[int], labels: list[int], tokenizer: Any | None) -> tuple[tuple[str, bool], ...]:
    """The text of an example in pieces, each with whether it is trained on; ids without a tokenizer."""
    places = [label != IGNORED_LABEL for label in labels]
    made = []
    for trained, group in groupby(zip(ids, places, strict=True), key=lambda item: item[1]):
        part = [number for number, _ in group]
        text = "".join(f"{number} " for number in part) if tokenizer is None else tokenizer.decode(part)
        made.append((text, trained))
    return tuple(made)
