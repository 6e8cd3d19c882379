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
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from audit.facts.checkpoint import ANYTHING, Checkpoint
from audit.facts.run import Run
from audit.facts.trainer_states import KnownState, known_state
from audit.findings import Outcome
from audit.judging.outcome_parts import digest_of_part
from audit.judging.outcome_text import (
    Applied,
    Pattern,
    Said,
    document_from,
    document_text,
    passed,
    scans_digest,
    survives,
)
from audit.options import Options
from audit.rules import Rule

KEY = ""
"""Where they are among a checkpoint's remembered scans: no file has an empty path."""


class _Held(NamedTuple):
    """What is remembered of a checkpoint whose own files are the same.

    ``alive``: whether all of some parts are as they were, by their places. ``memory`` that its contents take, as
    :class:`audit.facts.allowance.Allowance` counts it.
    """

    place: int
    pattern: Pattern
    digests: Sequence[str]
    alive: dict[tuple[int, ...], bool]
    memory: int


class _New(NamedTuple):
    """An outcome of this audit, with the names of the parts that it rests on."""

    thresholds: str
    parts: tuple[str, ...]
    applied: Applied


class Outcomes:
    """The remembered outcomes of one run at full depth, and those that come anew. Made before the run is judged."""

    def __init__(self, run: Run, program: str, options: Options) -> None:
        self._run = run
        self.program = program
        self._thresholds = {
            rule: json.dumps(found, sort_keys=True, default=repr) for rule, found in options.rules.items() if found
        }
        self._stamp = f"3:{program}:{run.backend.name}"
        self._names = [item.name for item in run.checkpoints]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._parts: dict[str, str | None] = {}
        self._judging = True
        self._held: dict[str, _Held] = {}
        self._new: dict[str, dict[str, _New]] = {}
        self._looked_at: tuple[str, dict[tuple[str, ...], tuple[str, ...]]] = ("", {})
        for checkpoint in run.judged:
            self._recall(checkpoint)

    # -- while the run is judged --------------------------------------------------------------------------------

    def holding(self, checkpoint: Checkpoint) -> Mapping[str, Applied]:
        """Return what rules said that need not be applied, by their ids, as far as no other checkpoint is read for it.

        See :meth:`of` for rules that compare a checkpoint with all others.
        """
        held = self._held.get(checkpoint.name)
        if held is None:
            return {}
        pattern = held.pattern
        if pattern.thresholds == self._thresholds and all(self._is_same(held, place) for place in pattern.near):
            return pattern.applied  # nearly always
        return {rule: applied for rule, applied in pattern.applied.items() if self._holds(held, rule)}

    def of(self, rule: Rule, checkpoint: Checkpoint) -> Applied | None:
        """Return what a rule said, None if it has to be applied."""
        held = self._held.get(checkpoint.name)
        return held.pattern.said[rule.id].applied if held is not None and self._holds(held, rule.id) else None

    def note(self, rule: Rule, checkpoint: Checkpoint, applied: Applied, seen: Iterable[str]) -> None:
        """Hear what a rule said that was applied, and what it looked at."""
        if ANYTHING not in seen and applied.outcome.outcome is not Outcome.ERROR and survives(applied.violations):
            parts = self._same_parts(checkpoint.name, tuple(sorted({checkpoint.name, *seen})))
            said = _New(self._thresholds.get(rule.id, ""), parts, applied)
            self._new.setdefault(checkpoint.name, {})[rule.id] = said

    def _same_parts(self, checkpoint: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parts of a checkpoint's rule, once: most rules look at the same few."""
        if self._looked_at[0] != checkpoint:
            self._looked_at = (checkpoint, {})
        return self._looked_at[1].setdefault(parts, parts)

    def _holds(self, held: _Held, rule: str) -> bool:
        said = held.pattern.said.get(rule)
        if said is None or said.thresholds != self._thresholds.get(rule, ""):
            return False
        if said.parts not in held.alive:
            held.alive[said.parts] = all(self._is_same(held, place) for place in said.parts)
        return held.alive[said.parts]

    def _is_same(self, held: _Held, place: int) -> bool:
        part = self._absolute(held.pattern.parts[place], held.place)
        now = self._part(part) if part is not None else None
        return now is not None and now == held.digests[place]

    # -- what an outcome rests on -------------------------------------------------------------------------------

    def _part(self, part: str) -> str | None:
        """Digest of a part of the run as it is now, None if it cannot be relied on."""
        if part not in self._parts:
            name, _, what = part.partition("!")
            place = self._places.get(name)
            checkpoint = self._run.checkpoints[place] if place is not None else None
            kind, _, path = what.partition(":")
            there = checkpoint is not None and checkpoint.complete
            self._parts[part] = digest_of_part(self._run, checkpoint, kind, path) if checkpoint and there else None
        return self._parts[part]

    def _relative(self, part: str, place: int) -> str:
        """A part with the distance of its checkpoint from that at a place of the run, instead of the name."""
        name, mark, what = part.partition("!")
        return f"{self._places[name] - place:+d}{mark}{what}"

    def _absolute(self, part: str, place: int) -> str | None:
        """A part by the name of its checkpoint, None if no checkpoint of the run is so far away."""
        distance, mark, what = part.partition("!")
        try:
            there = place + int(distance)
        except ValueError:
            return None
        return f"{self._names[there]}{mark}{what}" if 0 <= there < len(self._names) else None

    # -- in and out of the ledger -------------------------------------------------------------------------------

    def _recall(self, checkpoint: Checkpoint) -> None:
        """Take what is remembered of a checkpoint that is as it was, and what is known of its files."""
        records, name = self._run.records, checkpoint.name
        stamp, text = records.scans.get((name, KEY), ("", ""))
        if stamp != self._stamp or name not in records.seals or self._part(name) is None:
            return
        document = document_from(text)
        if document is None:
            return
        held = _Held(self._places[name], document.pattern, document.digests, {}, document.memory)
        if "+0" not in document.pattern.parts or not self._is_same(held, document.pattern.parts.index("+0")):
            return
        if scans_digest(records.scans.get((name, path), ("", ""))[1] for path in document.files) != document.scans:
            return
        if not self._run.allowance.keep(document.memory):  # judged anew, it would take as much
            return
        self._held[name] = held
        self._run.give_scans(checkpoint, document.files)
        if document.state is not None:
            self._run.give_state(checkpoint, document.state)
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
        pattern, digests = self._pattern(checkpoint, held, new)
        memory = held.memory if held is not None else 0
        whole = self._stamp, document_text(checkpoint, pattern, digests, memory, self._state_of(checkpoint))
        return None if self._run.records.scans.get((checkpoint.name, KEY)) == whole else whole

    def _pattern(self, checkpoint: Checkpoint, held: _Held | None, new: dict[str, _New]) -> tuple[Pattern, list[str]]:
        """What the rules said that holds on, and the digests of its parts."""
        place = self._places[checkpoint.name]
        said = {rule: (item.thresholds, item.parts, item.applied) for rule, item in new.items()}
        for rule, before in held.pattern.said.items() if held is not None else ():
            if held is not None and rule not in said and self._holds(held, rule):
                rest = tuple(self._absolute(held.pattern.parts[part], place) or "" for part in before.parts)
                said[rule] = before.thresholds, rest, before.applied
        parts: dict[str, int] = {}
        digests: list[str] = []
        found: dict[str, Said] = {}
        for rule, (thresholds, names, applied) in sorted(said.items()):
            known = [self._part(part) for part in names]
            if None in known:
                continue
            for part, digest in zip(names, known, strict=True):
                if part not in parts and digest is not None:
                    parts[part] = len(digests)
                    digests.append(digest)
            found[rule] = Said(thresholds, tuple(parts[part] for part in names), applied)
        return Pattern(tuple(self._relative(part, place) for part in parts), found), digests

    @cached_property
    def _owners(self) -> dict[int, str]:
        """The checkpoint of each history, by its identity."""
        histories = ((item.name, item.optional("history")) for item in self._run.checkpoints)
        return {id(history): name for name, history in histories if history is not None}

    def _state_of(self, checkpoint: Checkpoint) -> KnownState | None:
        """What to remember of the trainer state, if its log continues that of another checkpoint of the run."""
        history = checkpoint.optional("history")
        base = self._owners.get(id(history.base)) if history is not None else None
        if base is None:
            return None
        file = self._run.backend.state_file
        digest = self._run.digests_of(self._run.checkpoints[self._places[base]]).get(file)
        if digest is None:
            return None
        return known_state(checkpoint.optional("state_document"), base, digest)


__all__ = ["KEY", "Applied", "Outcomes", "passed"]
