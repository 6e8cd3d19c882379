"""The outcomes of the rules on a checkpoint as text, to be remembered: three lines of JSON.

1. What the rules said, with the parts that each rests on. Checkpoints are named by their distance in the run (``-1`` is
   the one before), so the line of most checkpoints is the same to the letter, and is parsed once.
2. The training arguments and the layout, which are the same for most checkpoints, too.
3. What is of this checkpoint alone: a digest of each part, the digests of its files, facts that later audits ask for.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.backend.layout import AdapterFiles, Layout
from audit.facts.checkpoint import BYTES, Checkpoint
from audit.facts.trainer_states import KnownState
from audit.findings import Outcome, RuleOutcome, Severity, Violation

if TYPE_CHECKING:
    from audit.formats.training_args import TrainingArguments


class Applied(NamedTuple):
    """What one rule says of one target, before what another rule says better is left out."""

    violations: Sequence[Violation]
    outcome: RuleOutcome


@lru_cache(maxsize=1024)
def passed(rule: str) -> Applied:
    """What a rule says that found nothing: one value for all checkpoints."""
    return Applied((), RuleOutcome(rule, None, Outcome.PASS))


class Said(NamedTuple):
    """A remembered outcome: with which thresholds, and the parts that it rests on, as places in a list of parts."""

    thresholds: str
    parts: tuple[int, ...]
    applied: Applied


class Pattern:
    """What the rules said of a checkpoint, and the parts that this rests on; checkpoints are named by distance."""

    def __init__(self, parts: tuple[str, ...], said: Mapping[str, Said]) -> None:
        self.parts = parts
        self.said = said
        far = {place for place, part in enumerate(parts) if part.partition("!")[2].startswith(f"{BYTES}:")}
        self.near = tuple(place for place in range(len(parts)) if place not in far)
        """The places of the parts for which no later checkpoint has to be read."""
        self.applied = {rule: item.applied for rule, item in said.items() if far.isdisjoint(item.parts)}
        """What rests on them alone, by rule."""
        self.thresholds = {rule: item.thresholds for rule, item in said.items() if item.thresholds}


class Document(NamedTuple):
    """What is remembered of a checkpoint: ``digests`` of the parts, ``files`` by path, of the texts of their scans."""

    pattern: Pattern
    digests: Sequence[str]
    files: Mapping[str, str]
    scans: str
    facts: Mapping[str, Any]
    memory: int
    state: KnownState | None


def document_text(
    checkpoint: Checkpoint, pattern: Pattern, digests: Sequence[str], memory: int, state: KnownState | None
) -> str:
    """Return what is to be remembered of a checkpoint as text; see :class:`Document`."""
    quiet: dict[tuple[int, ...], list[str]] = {}  # nearly all: by the parts that they rest on
    others: dict[str, Any] = {}
    for rule, item in pattern.said.items():
        applied = item.applied
        if applied == passed(rule) and not item.thresholds:
            quiet.setdefault(item.parts, []).append(rule)
        else:
            found = [applied.outcome.outcome, applied.outcome.reason, applied.violations]
            others[rule] = [item.thresholds, item.parts, *found]
    common, known = _known(checkpoint, memory)
    files = checkpoint.run.digests_of(checkpoint)
    own = [digests, files, scans_digest(checkpoint.run.scan_text_of(checkpoint, path) for path in files), known, state]
    return "\n".join(map(_json, ([pattern.parts, list(quiet.items()), others], common, own)))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def scans_digest(texts: Any) -> str:
    """Return a digest of the texts by which the scans of a checkpoint's files are remembered, in the order of files."""
    from blake3 import blake3

    return blake3("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest(16)


def survives(violations: Sequence[Violation]) -> bool:
    """Whether evidence is the same after it was text."""
    try:
        return not violations or repr(tuple(map(_violation, json.loads(json.dumps(violations))))) == repr(violations)
    except (TypeError, ValueError):
        return False


def _known(checkpoint: Checkpoint, memory: int) -> tuple[list[Any], dict[str, Any]]:
    """Arguments and layout; and facts that rules over the run ask of every checkpoint, as far as they survive."""
    from audit.formats.damage import Damage

    known: dict[str, Any] = {
        "sound": checkpoint.damages == (),
        "clean": checkpoint.optional("secrets") == (),
        "memory": max(memory, checkpoint.kept),
    }
    scheduler = checkpoint.optional("scheduler")
    if scheduler is not None and _is_plain(list(scheduler)):
        known["scheduler"] = scheduler
    arguments = checkpoint.optional("early_arguments")
    there = arguments is not None and not isinstance(arguments, Damage) and _is_plain(list(arguments))
    return [arguments if there else None, _surviving(checkpoint.optional("layout"))], known


def _surviving(layout: Layout | None) -> Layout | None:
    """A layout that is the same after it was text, None for another one."""
    try:
        return layout if repr(_layout(json.loads(json.dumps(layout)))) == repr(layout) else None
    except _WRONG:
        return None


def _is_plain(values: list[Any]) -> bool:
    """Whether values are the same after they were text, but for the tuple of names that is the last of them."""
    plain = [*values[:-1], list(values[-1])]
    try:
        return repr(json.loads(json.dumps(plain))) == repr(plain)
    except (TypeError, ValueError, RecursionError):
        return False


_WRONG = (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError)


def document_from(text: str) -> Document | None:
    """Return what was remembered; None for text of another shape."""
    from audit.formats.scheduler import SchedulerState

    try:
        said, common, own = text.split("\n")
        pattern, (arguments, layout) = _pattern(said), _common(common)
        digests, files, scans, known, state = json.loads(own)
        if len(digests) != len(pattern.parts) or not {str}.issuperset(map(type, (*digests, *files.values()))):
            return None
        facts: dict[str, Any] = {"unread": {}}  # only what is proven is remembered
        if known["sound"]:
            facts["damages"] = ()
        if known["clean"]:
            facts["secrets"] = ()
        if arguments is not None:
            facts["early_arguments"] = arguments
        if layout is not None:
            facts["layout"] = layout
        if "scheduler" in known:
            kind, last_epoch, step_count, base_lrs, last_lr, values, names = known["scheduler"]
            facts["scheduler"] = SchedulerState(
                _is(kind, str),
                _is(last_epoch, int | None),
                _is(step_count, int | None),
                _is(base_lrs, list | None),
                _is(last_lr, list | None),
                _is(values, dict),
                tuple(names),
            )
        before = KnownState.of(state) if state is not None else None
        return Document(pattern, digests, files, _is(scans, str), facts, _is(known["memory"], int), before)
    except _WRONG:
        return None


@lru_cache(maxsize=32)
def _pattern(text: str) -> Pattern:
    parts, quiet, others = json.loads(text)
    said: dict[str, Said] = {}
    for rest, rules in quiet:
        common = _places(rest, parts)
        said.update((rule, Said("", common, passed(rule))) for rule in rules)
    for rule, (thresholds, rest, outcome, reason, found) in others.items():
        before = RuleOutcome(rule, None, Outcome(outcome), _is(reason, str | None))
        applied = Applied(tuple(map(_violation, found)), before)
        said[rule] = Said(_is(thresholds, str), _places(rest, parts), applied)
    return Pattern(tuple(_is(part, str) for part in parts), said)


def _places(places: Sequence[int], parts: Sequence[str]) -> tuple[int, ...]:
    if not all(type(place) is int and 0 <= place < len(parts) for place in places):
        raise ValueError
    return tuple(places)


@lru_cache(maxsize=32)
def _common(text: str) -> "tuple[TrainingArguments | None, Layout | None]":
    from audit.formats.training_args import TrainingArguments

    arguments, layout = json.loads(text)
    if arguments is not None:
        name, values, names = arguments
        arguments = TrainingArguments(_is(name, str), _is(values, dict), tuple(names))
    return arguments, _layout(layout) if layout is not None else None


_TEXTS = ("weights", "shadowing", "rng", "sharded_weights", "sharded_optimizer", "others", "owed_rng", "missing_rng")
_PLAIN = {"weights_only": bool, "skips": bool, "kind": str, "world_size": int | None, "step": int | None}
"""Fields of a layout that hold several texts, and those that hold neither texts nor one text that may be missing."""


def _layout(values: Sequence[Any]) -> Layout:
    """Return the layout that was text. Raises TypeError or ValueError for another shape."""
    found = Layout._make(tuple(value) if isinstance(value, list) else value for value in values)
    for name, value in found._asdict().items():
        if name in _TEXTS:
            _is_texts(_is(value, tuple))
        elif name in ("unread", "owed", "missing"):
            _is_texts((*_is(value, dict), *value.values()))
        elif name not in ("adapters", "parts", "schedule_at"):
            _is(value, _PLAIN.get(name, str | None))
    adapters = tuple(AdapterFiles(*map(_text_or_none, item)) for item in _is(found.adapters, tuple))
    places = {_is(name, str): tuple(_is(key, str | int) for key in place) for name, place in found.parts.items()}
    return found._replace(
        adapters=adapters, parts=places, schedule_at=tuple(_is(step, int) for step in found.schedule_at)
    )


def _is_texts(values: Sequence[Any]) -> None:
    for value in values:
        _is(value, str)


def _text_or_none(value: Any) -> Any:
    return _is(value, str | None)


def _is(value: Any, kind: Any) -> Any:
    """Return the value if it is of this kind. Raises TypeError."""
    if not isinstance(value, kind):
        raise TypeError
    return value


def _violation(item: Sequence[Any]) -> Violation:
    found = Violation(*item)
    for text in (found.file, found.remedy, found.checkpoint, found.severity):
        _is(text, str | None)
    _is(found.message, str)
    _is(found.blocks_resume, bool | None)
    _is(found.step, int | None)
    return found if found.severity is None else found._replace(severity=Severity(found.severity))
