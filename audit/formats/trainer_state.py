"""Read ``trainer_state.json``: what the trainer knew about the run when it saved."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.history import Entry, History, RawHistory
from audit.formats.intake import read_whole
from audit.formats.json_text import has_long_number, parse_json, weight
from audit.formats.known_histories import KnownHistories
from audit.formats.state_split import split
from audit.storage import RangeReader
from audit.text import shortened

__all__ = ["KNOWN_KEYS", "Entry", "History", "StateDocument", "TrainerState", "read_trainer_state"]

MAX_BYTES = 48 << 20
"""Bytes. A log of 100 000 entries with 10 numbers each has 33 MB."""

MOST_MEMORY = 160 << 20
"""Bytes of memory, about, that a parsed state may take; such a log is estimated at 87 MB and takes 65 MB."""

_COMPARED = 2_000_000  # entries, for one file: enough for any real run, and seconds at most
_LIGHT = 128 << 10
"""Bytes of memory. No more exactly need be known what takes less; see :data:`audit.facts.allowance.FREE`."""
KNOWN_KEYS = frozenset(
    {
        "best_metric", "best_model_checkpoint", "epoch", "global_step", "is_hyper_param_search",
        "is_local_process_zero", "is_world_process_zero", "log_history", "max_steps", "num_train_epochs",
        "total_flos", "trial_name", "trial_params",  # transformers 4.3 and later
        "logging_steps", "eval_steps", "save_steps", "num_input_tokens_seen", "train_batch_size",  # 4.35, 4.36
        "stateful_callbacks", "best_global_step",  # 4.41, 4.50
        "episode",  # PPO of TRL
    }
)  # fmt: skip
"""Keys that some version of transformers or TRL writes; Trainer refuses to load a state with any other."""


class TrainerState(NamedTuple):
    """The values of a valid trainer state; None if the version that wrote it had no such key, or for null."""

    global_step: int
    max_steps: int | None
    epoch: float | None
    num_train_epochs: float | None
    save_steps: float | None
    logging_steps: float | None
    eval_steps: float | None
    train_batch_size: int | None
    best_metric: float | None
    best_global_step: int | None
    best_model_checkpoint: str | None
    stateful_callbacks: dict[str, Any] | None


class StateDocument(NamedTuple):
    """A file that is JSON: its ``document`` without the log history, and what could be read from it.

    ``state`` is None if there are ``problems``, ``history`` is None if log_history is not a list of objects. Each
    problem is a sentence about the file's content.
    ``weight``: bytes of memory, about, that it takes beyond the history it continues.
    """

    document: dict[str, Any]
    state: TrainerState | None
    history: History | None
    problems: tuple[str, ...]
    unknown_keys: tuple[str, ...]
    weight: int = 0


def read_trainer_state(reader: RangeReader, known: KnownHistories | Sequence[History] = ()) -> StateDocument | Damage:
    """Read a state; if its log begins with one of the ``known`` histories, only the rest is parsed."""
    data = read_whole(reader, MAX_BYTES)
    if isinstance(data, Damage):
        return data
    heavy = weight(data, at_most=True)
    if heavy > MOST_MEMORY and weight(data) > MOST_MEMORY:
        limit = MOST_MEMORY >> 20
        return Damage(
            Kind.OVERSIZED, f"has a log that would take more than {limit} MB of memory, more than any real one"
        )
    found = _parsed(data, known if isinstance(known, KnownHistories) else KnownHistories(known))
    if isinstance(found, Damage):
        return found
    history = found.history
    own = len(history.own) / len(history) if history is not None and len(history) else 1.0
    return found._replace(weight=int((heavy if heavy * own < _LIGHT else weight(data)) * own))


def continued(
    document: dict[str, Any], own: list[Entry], base: History, raw: tuple[int, str, str], weight: int
) -> StateDocument:
    """Return the state with this ``document`` whose log has the entries of ``base`` and its ``own``.

    ``raw``: length, digest and head of the log's bytes, both in hexadecimal. ``weight``: see :class:`StateDocument`.
    """
    length, digest, head = raw
    first = bytes.fromhex(head)
    if base.raw is not None and base.raw.head == first:
        first = base.raw.head  # nearly always: kept once
    known = RawHistory(length, bytes.fromhex(digest), first)
    return _document(document, own, base, known)._replace(weight=weight)


def _parsed(data: bytes, known: KnownHistories) -> StateDocument | Damage:
    parts = None if has_long_number(data) else split(data, known)
    if parts is not None:
        base, entries = _longest(parts.base, parts.entries, known)
        return _document(parts.document, entries, base, parts.raw)
    document = parse_json(data, MOST_MEMORY)
    if isinstance(document, Damage):
        return document
    if type(document) is not dict:
        return StateDocument({}, None, None, ("It is not a JSON object.",), ())
    missing = "log_history" not in document
    entries = document.pop("log_history", None)
    if missing:
        return _document(document, None, None, None, "log_history is missing.")
    if type(entries) is not list:
        return _document(document, None, None, None, "log_history is not a list.")
    if not all(type(entry) is dict for entry in entries):
        return _document(document, None, None, None, "An entry of log_history is not an object.")
    base, entries = _longest(None, entries, known)
    return _document(document, entries, base, None)


def _longest(base: History | None, entries: list[Entry], known: KnownHistories) -> tuple[History | None, list[Entry]]:
    """Look for a longer base among the histories that bytes cannot show: other layout, other order of keys."""
    count = len(base) if base is not None else 0
    related = known.relatives(base) if base is not None and count else known.sharing(entries)
    longer = [history for history in related if len(history) > count and (base is None or history.raw is None)]
    if not longer:
        return _shortest(base, known), entries
    everything = [*base, *entries] if base is not None else entries
    budget = _COMPARED
    for history in sorted(longer, key=len, reverse=True):
        if len(history) > len(everything):
            continue
        common = history.common(everything)
        if common == len(history):
            return history, everything[common:]
        budget -= common
        if budget < 0:
            break
    return _shortest(base, known), entries


def _shortest(base: History | None, known: KnownHistories) -> History | None:
    """Every history begins with an empty one: a run that saves before its first log entry is still one run."""
    return base if base is not None else known.empty


def _document(
    document: dict[str, Any],
    entries: list[Entry] | None,
    base: History | None,
    raw: RawHistory | None,
    problem: str | None = None,
) -> StateDocument:
    history = None
    problems = [problem] if problem else []
    if entries is not None:
        wrong = base.problems if base is not None else ()
        if not wrong:
            first = len(base) if base is not None else 0
            wrong = next(
                (
                    (f"Entry {first + position} of log_history has no step that is a non-negative integer.",)
                    for position, entry in enumerate(entries)
                    if not _is_count(entry.get("step"))
                ),
                (),
            )
        history = History(entries, base, raw, wrong)
        problems.extend(wrong)
    problems[:0] = _problems(document)
    state = None
    if not problems:
        state = TrainerState(**{name: document.get(name) for name in TrainerState._fields})  # type: ignore[arg-type]
    unknown = tuple(key for key in document if key not in KNOWN_KEYS)
    return StateDocument(document, state, history, tuple(problems), unknown)


_LARGEST = 1 << 63
_INTEGERS = ("max_steps", "train_batch_size", "best_global_step")
_NUMBERS = ("epoch", "num_train_epochs", "save_steps", "logging_steps", "eval_steps", "best_metric")


def _problems(document: dict[str, Any]) -> list[str]:
    problems = []
    if "global_step" not in document:
        problems.append("global_step is missing.")
    elif not _is_count(document["global_step"]):
        problems.append(f"global_step is {_shown(document['global_step'])}, not a non-negative integer.")
    for name in _INTEGERS:
        value = document.get(name)
        if value is not None and (type(value) is not int or not -_LARGEST <= value < _LARGEST):
            problems.append(f"{name} is {_shown(value)}, not an integer.")
    for name in _NUMBERS:
        value = document.get(name)
        if value is not None and type(value) not in (int, float):
            problems.append(f"{name} is {_shown(value)}, not a number.")
    if "max_steps" in document and document["max_steps"] is None:
        problems.append("max_steps is null, not an integer.")
    if "train_batch_size" in document and document["train_batch_size"] is None and "episode" not in document:
        problems.append("train_batch_size is null, not an integer.")
    best = document.get("best_model_checkpoint")
    if best is not None and type(best) is not str:
        problems.append(f"best_model_checkpoint is {_shown(best)}, not a path.")
    callbacks = document.get("stateful_callbacks")
    if callbacks is not None and type(callbacks) is not dict:
        problems.append(f"stateful_callbacks is {_shown(callbacks)}, not an object.")
    return problems


def _is_count(value: Any) -> bool:
    """Whether it is a non-negative integer of 64 bits."""
    return type(value) is int and 0 <= value < _LARGEST


def _shown(value: Any) -> str:
    if type(value) in (dict, list):
        return "an object" if type(value) is dict else "a list"
    return shortened(repr(value))
