"""Outcomes that still hold: what rules said of a checkpoint of which nothing changed that they looked at.

A sealed checkpoint is not judged anew at every save. While a rule is applied, what it asks of checkpoints is noted
(:class:`audit.facts.fact.Watch`); its outcome is remembered with a digest of each part that it looked at: the entries
of a checkpoint, its seal, which checkpoint is before it, which others have the same bytes, ... It is used again while
all these digests are the same, and the program is. A rule that looks at the run itself is judged each time.

What is remembered is kept beside the scans of the checkpoint, in the ledger; the ledger's chain vouches for both
(:func:`audit.ledger.records.vouched`). A file counts as unchanged under the condition under which its scan is used
again.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from audit.facts.checkpoint import (
    ANYTHING,
    BASE,
    BYTES,
    NEIGHBOURS,
    OLDER_BYTES,
    PREVIOUS,
    SEAL,
    SESSION,
    Checkpoint,
)
from audit.facts.run import Run
from audit.findings import Outcome, RuleOutcome, Severity, Violation
from audit.ledger.scans import is_stamp_of
from audit.options import Options
from audit.rules import Rule
from audit.storage import FILE

KEY = ""
"""Where they are among a checkpoint's remembered scans: no file has an empty path."""


class Applied(NamedTuple):
    """What one rule says of one target, before what another rule says better is left out."""

    violations: Sequence[Violation]
    outcome: RuleOutcome


@lru_cache(maxsize=1024)
def passed(rule: str) -> Applied:
    """What a rule says that found nothing: one value for all checkpoints."""
    return Applied((), RuleOutcome(rule, None, Outcome.PASS))


class _Said(NamedTuple):
    """A remembered outcome: with which thresholds, and the parts that it rests on."""

    thresholds: str
    parts: tuple[str, ...]
    applied: Applied


class _Held(NamedTuple):
    """What is remembered of a checkpoint whose own files are the same: digests by part, outcomes by rule.

    ``alive``: whether all of some parts are as they were. ``memory`` that its contents
    take, as :class:`audit.facts.allowance.Allowance` counts it.
    """

    parts: Mapping[str, str]
    said: Mapping[str, _Said]
    alive: dict[tuple[str, ...], bool]
    memory: int


class Outcomes:
    """The remembered outcomes of one run at full depth, and those that come anew. Made before the run is judged."""

    def __init__(self, run: Run, program: str, options: Options) -> None:
        self._run = run
        self._options = options
        self._stamp = f"1:{program}:{run.backend.name}"
        self._by_name = {item.name: item for item in run.checkpoints}
        self._parts: dict[str, str | None] = {}
        self._judging = True
        self._held: dict[str, _Held] = {}
        self._new: dict[str, dict[str, _Said]] = {}
        self._looked_at: tuple[str, dict[tuple[str, ...], tuple[str, ...]]] = ("", {})
        for checkpoint in run.judged:
            self._recall(checkpoint)

    # -- while the run is judged --------------------------------------------------------------------------------

    def of(self, rule: Rule, checkpoint: Checkpoint) -> Applied | None:
        """Return what the rule said, None if it has to be applied."""
        held = self._held.get(checkpoint.name)
        said = held.said.get(rule.id) if held is not None else None
        if held is None or said is None or said.thresholds != self._thresholds(rule):
            return None
        return said.applied if self._holds(held, said) else None

    def note(self, rule: Rule, checkpoint: Checkpoint, applied: Applied, seen: Iterable[str]) -> None:
        """Hear what a rule said that was applied, and what it looked at."""
        if ANYTHING not in seen and applied.outcome.outcome is not Outcome.ERROR and _survives(applied.violations):
            parts = self._same_parts(checkpoint.name, tuple(sorted({checkpoint.name, *seen})))
            said = _Said(self._thresholds(rule), parts, applied)
            self._new.setdefault(checkpoint.name, {})[rule.id] = said

    def _same_parts(self, checkpoint: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parts of a checkpoint's rule, once: most rules look at the same few."""
        if self._looked_at[0] != checkpoint:
            self._looked_at = (checkpoint, {})
        return self._looked_at[1].setdefault(parts, parts)

    def _thresholds(self, rule: Rule) -> str:
        thresholds = self._options.rules.get(rule.id)
        return json.dumps(thresholds, sort_keys=True, default=repr) if thresholds else ""

    def _holds(self, held: _Held, said: _Said) -> bool:
        if said.parts not in held.alive:
            held.alive[said.parts] = all(
                (now := self._part(part)) is not None and now == held.parts.get(part) for part in said.parts
            )
        return held.alive[said.parts]

    # -- what an outcome rests on -------------------------------------------------------------------------------

    def _part(self, part: str) -> str | None:
        """Digest of a part of the run as it is now, None if it cannot be relied on."""
        if part not in self._parts:
            name, _, what = part.partition("!")
            checkpoint = self._by_name.get(name)
            kind, _, path = what.partition(":")
            there = checkpoint is not None and checkpoint.complete
            value = _PARTS[kind](self._run, checkpoint, path) if checkpoint is not None and there else None
            self._parts[part] = None if value is None else _digest(value)
        return self._parts[part]

    # -- in and out of the ledger -------------------------------------------------------------------------------

    def _recall(self, checkpoint: Checkpoint) -> None:
        """Take what is remembered of a checkpoint that is as it was, and what is known of its files."""
        records, name = self._run.records, checkpoint.name
        stamp, text = records.scans.get((name, KEY), ("", ""))
        if stamp != self._stamp or name not in records.seals:
            return
        document = _parsed(text)
        if document is None or self._part(name) is None or document.parts.get(name) != self._part(name):
            return
        texts = {path: records.scans.get((name, path), ("", ""))[1] for path in document.scans}
        if any(_text_digest(texts[path]) != scan.text for path, scan in document.scans.items()):
            return
        if not self._run.allowance.keep(document.memory):  # judged anew, it would take as much
            return
        self._held[name] = _Held(document.parts, document.said, {}, document.memory)
        self._run.give_scans(checkpoint, {path: scan.digest for path, scan in document.scans.items()})
        checkpoint.give(document.facts)

    def text_of(self, checkpoint: Checkpoint) -> tuple[str, str] | None:
        """Return what to remember of a sealed checkpoint, as (stamp, text); None if it is remembered already."""
        if self._judging:  # files were read meanwhile, so more can be relied on
            self._judging = False
            self._parts.clear()
        new = self._new.get(checkpoint.name)
        if new is None or self._part(checkpoint.name) is None:
            return None
        held = self._held.get(checkpoint.name)
        said = {rule: item for rule, item in held.said.items() if self._holds(held, item)} if held else {}
        said.update(new)
        parts: dict[str, str] = {}
        for rule, item in sorted(said.items()):
            digests = {part: self._part(part) for part in item.parts}
            if None in digests.values():
                del said[rule]
            else:
                parts.update((part, found) for part, found in digests.items() if found is not None)
        whole = self._stamp, _text(checkpoint, said, parts, held.memory if held is not None else 0)
        return None if self._run.records.scans.get((checkpoint.name, KEY)) == whole else whole


# -- parts ------------------------------------------------------------------------------------------------------------


def _entries(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    """The entries of a checkpoint, if every file that can be read is as it was when it was scanned.

    The times of inodes are left to the scans: a hard link changes them, and who makes one renews the scans.
    """
    if checkpoint.unlistable or checkpoint.overfull:
        return None
    found = []
    for name, entry in checkpoint.entries.items():
        if entry.kind == FILE and not entry.escapes:
            key = (checkpoint.name, name)
            stamp = run.stamps.get(key) or run.records.scans.get(key, ("",))[0]
            if not is_stamp_of(stamp, entry):
                return None
        found.append(list(entry._replace(ctime_ns=0, allocated=None)))
    return found


def _seal(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return [run.records.seals.get(checkpoint.name), run.records.snapshot, bool(run.records.batches.legs)]


def _base(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    history = checkpoint.optional("history")
    return history is not None and [history.base is not None, history.base_count]


def _previous(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    previous = checkpoint.optional("previous")
    return previous is not None and previous.name


def _neighbours(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return [item is not None and item.name for item in checkpoint.neighbours]


def _session(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    session = checkpoint.optional("session")
    return session is not None and [dict(session.adapter_directories), len(session.members), session.scaler]


def _same_bytes(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return _sharing(run, checkpoint, path, None)


def _same_older_bytes(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return _sharing(run, checkpoint, path, checkpoint.step)


def _sharing(run: Run, checkpoint: Checkpoint, path: str, below: int | None) -> Any:
    digest = run.digests_of(checkpoint).get(path)
    return [item.name for item in run.with_same_bytes(path, digest, below)] if digest else []


_PARTS: Mapping[str, Callable[[Run, Checkpoint, str], Any]] = {
    "": _entries,
    BASE: _base,
    SEAL: _seal,
    PREVIOUS: _previous,
    NEIGHBOURS: _neighbours,
    SESSION: _session,
    BYTES: _same_bytes,
    OLDER_BYTES: _same_older_bytes,
}


def _digest(value: Any) -> str:
    from blake3 import blake3

    return blake3(json.dumps(value, sort_keys=True, default=repr).encode("ascii")).hexdigest(16)


# -- text -------------------------------------------------------------------------------------------------------------


class _Scan(NamedTuple):
    """The digest of a file, and that of the text of its remembered scan: its spans were checked when it was scanned."""

    digest: str
    text: str


class _Document(NamedTuple):
    parts: Mapping[str, str]
    said: Mapping[str, _Said]
    scans: Mapping[str, _Scan]
    facts: Mapping[str, Any]
    memory: int


def _text(checkpoint: Checkpoint, said: Mapping[str, _Said], parts: Mapping[str, str], memory: int) -> str:
    quiet: dict[tuple[str, ...], list[str]] = {}  # nearly all: by the parts that they rest on
    others: dict[str, Any] = {}
    for rule, item in sorted(said.items()):
        applied = item.applied
        if applied == passed(rule) and not item.thresholds:
            quiet.setdefault(item.parts, []).append(rule)
        else:
            found = [applied.outcome.outcome, applied.outcome.reason, applied.violations]
            others[rule] = [item.thresholds, item.parts, *found]
    scans = {
        path: [digest, _text_digest(checkpoint.run.scan_text_of(checkpoint, path))]
        for path, digest in checkpoint.run.digests_of(checkpoint).items()
    }
    return json.dumps([parts, list(quiet.items()), others, scans, _known(checkpoint, memory)], separators=(",", ":"))


def _text_digest(text: str) -> str:
    from blake3 import blake3

    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)


def _survives(violations: Sequence[Violation]) -> bool:
    """Whether evidence is the same after it was text."""
    try:
        return not violations or repr(tuple(map(_violation, json.loads(json.dumps(violations))))) == repr(violations)
    except (TypeError, ValueError):
        return False


def _known(checkpoint: Checkpoint, memory: int) -> dict[str, Any]:
    """Facts that rules over the run ask of every checkpoint, as far as they are worth it and survive being text."""
    from audit.formats.damage import Damage

    known: dict[str, Any] = {
        "sound": checkpoint.damages == (),
        "clean": checkpoint.optional("secrets") == (),
        "memory": max(memory, checkpoint.kept),
    }
    arguments = checkpoint.optional("early_arguments")
    if arguments is not None and not isinstance(arguments, Damage) and _is_plain(list(arguments)):
        known["early_arguments"] = arguments
    scheduler = checkpoint.optional("scheduler")
    if scheduler is not None and _is_plain(list(scheduler)):
        known["scheduler"] = scheduler
    return known


def _is_plain(values: list[Any]) -> bool:
    """Whether values are the same after they were text, but for the tuple of names that is the last of them."""
    plain = [*values[:-1], list(values[-1])]
    try:
        return repr(json.loads(json.dumps(plain))) == repr(plain)
    except (TypeError, ValueError, RecursionError):
        return False


def _parsed(text: str) -> _Document | None:
    """What was remembered; None for text of another shape."""
    from audit.formats.scheduler import SchedulerState
    from audit.formats.training_args import TrainingArguments

    try:
        parts, quiet, others, scans, known = json.loads(text)
        said: dict[str, _Said] = {}
        for rest, rules in quiet:
            common = tuple(rest)
            said.update((rule, _Said("", common, passed(rule))) for rule in rules)
        for rule, (thresholds, rest, outcome, reason, found) in others.items():
            before = RuleOutcome(rule, None, Outcome(outcome), _is(reason, str | None))
            said[rule] = _Said(_is(thresholds, str), tuple(rest), Applied(tuple(map(_violation, found)), before))
        facts: dict[str, Any] = {"unread": {}}  # only what is proven is remembered
        if known["sound"]:
            facts["damages"] = ()
        if known["clean"]:
            facts["secrets"] = ()
        if "early_arguments" in known:
            name, values, names = known["early_arguments"]
            facts["early_arguments"] = TrainingArguments(_is(name, str), _is(values, dict), tuple(names))
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
        read = {path: _Scan(_is(digest, str), _is(own, str)) for path, (digest, own) in scans.items()}
        digests = {part: _is(found, str) for part, found in parts.items()}
        return _Document(digests, said, read, facts, _is(known["memory"], int))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError):
        return None


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
