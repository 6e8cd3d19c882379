"""How rows become examples, for `audit data` and `audit plan`: nothing is trained, and no weights are loaded."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from audit.plugin import IGNORED_LABEL, LegData, ReadExample
from audit_hf_trainer.training.data import Reader, invocation_of
from audit_hf_trainer.training.leg import libraries, quiet
from audit_hf_trainer.training.loading import limits, tokenizer_of


def reader(data: LegData, settings: Mapping[str, Any]) -> Callable[[int, Mapping[str, Any], str], ReadExample]:
    """Return the function from a checked row to its example, as a leg would make it. Raises ConfigError, AuditError."""
    tokenizer, vocabulary, positions = _loaded(settings)
    rows = Reader(data, tokenizer, vocabulary, positions)

    def read(number: int, row: Mapping[str, Any], found: str) -> ReadExample:
        ids, labels = rows.one(number, row, found)
        kept = labels[: rows.limit]
        learned = sum(label != IGNORED_LABEL for label in kept[1:])  # the first is never predicted
        return ReadExample(
            len(kept), learned, len(ids) > rows.limit, lambda: _pieces(ids[: rows.limit], kept, tokenizer)
        )

    return read


def row_trial(
    settings: Mapping[str, Any],
) -> Callable[[Iterable[tuple[int, Mapping[str, Any], str]], LegData], str | None]:
    """Return the function that makes the examples of checked rows as a leg does before its first step.

    Raises ConfigError, AuditError, and so does the function.
    """
    tokenizer, vocabulary, positions = _loaded(settings)
    by_trl = None
    if str(settings.get("trainer", {}).get("class", "")).startswith("trl.") and tokenizer is not None:
        from audit_hf_trainer.training.trl_rows import trl_trial

        by_trl = trl_trial(settings)

    def tried(rows: Iterable[tuple[int, Mapping[str, Any], str]], data: LegData) -> str | None:
        if settings.get("trainer"):
            from audit_hf_trainer.training.own import own_rows, refuse_options, refuse_without_tokenizer

            refuse_options(data)
            if by_trl is not None:
                return by_trl(rows, data)
            deque(own_rows(rows), 0)
            refuse_without_tokenizer(settings["trainer"], tokenizer)
            return "the rows were read, but not tokenized: the trainer of the configuration does that itself"
        # Rows to evaluate on may lack what the adapter is invoked by.
        invocation = invocation_of(settings) if data.path != data.options.get("eval") else ()
        read = Reader(data, tokenizer, vocabulary, positions, invocation)
        taken = sum(1 for _ in read.examples(rows))
        if invocation and taken == read.idle:
            return f"adapter.alora_invocation_tokens: none of the {taken} rows that were tried has them"
        return None

    return tried


def _loaded(settings: Mapping[str, Any]) -> tuple[Any | None, int | None, int | None]:
    """Return the tokenizer, the size of the vocabulary and the number of positions. Raises ConfigError, AuditError."""
    model = settings.get("model", {})
    with libraries() as (_, transformers, _), quiet(transformers):
        tokenizer = tokenizer_of(model, transformers)
        return tokenizer, *limits(model, transformers)


def _pieces(ids: list[int], labels: list[int], tokenizer: Any | None) -> tuple[tuple[str, bool], ...]:
    """The text of an example in pieces, each with whether it is trained on; ids without a tokenizer."""
    places = [label != IGNORED_LABEL for label in labels]
    made = []
    for trained, group in groupby(zip(ids, places, strict=True), key=lambda item: item[1]):
        part = [number for number, _ in group]
        text = "".join(f"{number} " for number in part) if tokenizer is None else tokenizer.decode(part)
        made.append((text, trained))
    return tuple(made)
