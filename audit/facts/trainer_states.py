"""The trainer states of all complete checkpoints of a run: read, or remembered of files that are the same."""

from collections.abc import Iterable, Mapping, Sequence
from json import dumps, loads
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.allowance import Allowance
from audit.facts.lineage import Ancestry
from audit.facts.shared import Shared
from audit.formats.damage import Damage

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.formats.known_histories import KnownHistories
    from audit.formats.trainer_state import StateDocument

    States = Mapping[str, StateDocument | Damage]

MOST_REMEMBERED = 16 << 10
"""Characters of a remembered state. What is longer is read: its log begins in this checkpoint."""


class KnownState(NamedTuple):
    """A trainer state as it is remembered: its ``document`` without the log, and the ``own`` entries of the log.

    They follow those of the checkpoint ``base``, whose file had the digest ``base_digest`` and whose log had
    ``base_count`` entries. ``raw``: length, digest and head (both in hexadecimal) of the log's bytes. ``weight``: bytes
    of memory, about.
    """

    document: dict[str, Any]
    base: str
    base_digest: str
    base_count: int
    own: list[dict[str, Any]]
    raw: tuple[int, str, str]
    weight: int

    @classmethod
    def of(cls, values: Sequence[Any]) -> "KnownState":
        """Return the state that was text. Raises TypeError or ValueError for another shape."""
        document, base, base_digest, base_count, own, (length, digest, head), weight = values
        known = cls(document, base, base_digest, base_count, own, (length, digest, head), weight)
        kinds = (dict, str, str, int, list, tuple, int)
        if not all(map(isinstance, known, kinds)) or not all(type(entry) is dict for entry in own):
            raise TypeError
        if type(length) is not int or len(bytes.fromhex(digest)) != 32 or not bytes.fromhex(head):
            raise ValueError
        return known


def known_state(document: "StateDocument | Damage | None", base: str, base_digest: str) -> KnownState | None:
    """Return what to remember of a state, None if its file has to be read the next time.

    Its log continues that of the checkpoint ``base``, whose file has the digest ``base_digest``.
    """
    if document is None or isinstance(document, Damage) or document.problems:
        return None
    history = document.history
    if history is None or history.base is None or history.raw is None or not history.raw.head:
        return None
    length, digest, head = history.raw
    raw = length, digest.hex(), head.hex()
    known = KnownState(document.document, base, base_digest, history.base_count, history.own, raw, document.weight)
    try:
        text = dumps(known)
    except (TypeError, ValueError, RecursionError):
        return None
    same = len(text) <= MOST_REMEMBERED and repr(KnownState.of(loads(text))) == repr(known)
    return known if same else None


class TrainerStates:
    """Reads the states of a run in order of steps.

    Thus a history which continues an earlier one is recognised by its bytes and only its new part is parsed: 200
    checkpoints share most of theirs. A state that is ``known`` is not read if that which it continues is the same:
    ``digests`` of the files with the states, by checkpoint, where they are those of the files as they are.
    """

    def __init__(
        self,
        file: str,
        allowance: Allowance,
        shared: Shared,
        known: Mapping[str, KnownState],
        digests: Mapping[str, str],
    ) -> None:
        self._file = file
        self._allowance = allowance
        self._shared = shared
        self._known = known
        self._digests = digests

    def of(self, checkpoints: "Iterable[Checkpoint]") -> "States":
        """Return the states of the checkpoints, given by step, that have one."""
        from audit.facts.file import TOO_MUCH
        from audit.formats.known_histories import KnownHistories

        ancestry = Ancestry()
        heads = KnownHistories()
        found: dict[str, StateDocument | Damage] = {}
        for checkpoint in checkpoints:
            files = checkpoint.optional("files")
            if not files or self._file not in files:
                continue
            document = self._remembered(checkpoint.name, found, heads) or self._read(checkpoint, heads)
            if document is None:
                continue
            if not isinstance(document, Damage):
                fits = self._allowance.keep(document.weight)
                document = _slim(document, self._shared) if fits else TOO_MUCH
            found[checkpoint.name] = document
            if not isinstance(document, Damage) and document.history is not None:
                history = ancestry.attach(document.history, heads)
                if history is not document.history:
                    found[checkpoint.name] = document._replace(history=history)
                heads.remove(history.base)
                heads.add(history)
        return found

    def _read(self, checkpoint: "Checkpoint", heads: "KnownHistories") -> "StateDocument | Damage | None":
        from audit.formats.trainer_state import read_trainer_state

        try:
            found: StateDocument | Damage = checkpoint.files[self._file].read(read_trainer_state, heads)
        except NotApplicable:
            return None
        return found

    def _remembered(self, name: str, found: "States", heads: "KnownHistories") -> "StateDocument | None":
        """Return a state that need not be read: it continues the log of a file that is as it was.

        If another checkpoint continues that log by now, this one may continue that other, and is read.
        """
        from audit.formats.trainer_state import continued

        known = self._known.get(name)
        if known is None or self._digests.get(known.base) != known.base_digest:
            return None
        before = found.get(known.base)
        base = before.history if before is not None and not isinstance(before, Damage) else None
        if base is None or base not in heads or len(base) != known.base_count:
            return None
        return continued(known.document, known.own, base, known.raw, known.weight)


def _slim(document: "StateDocument", shared: Shared) -> "StateDocument":
    """A trainer state without what those of other checkpoints hold as well: names, and all that stays the same."""
    values = shared.document("state", document.document)
    state = document.state
    if state is not None:
        callbacks, best = values.get("stateful_callbacks"), values.get("best_model_checkpoint")
        state = state._replace(stateful_callbacks=callbacks, best_model_checkpoint=best)
    return document._replace(document=values, state=state)
