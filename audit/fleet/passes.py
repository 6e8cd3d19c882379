"""One pass over a fleet: list, compare, audit what changed, put the tables together.

A pass that was interrupted leaves its parts; the next one, over the same roots or others, begins with their rows. The
same pass can be worked off by other commands: :func:`shards`, :func:`work_off`, :func:`gather`.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.findings import Severity
from audit.fleet.discovery import opener, outermost
from audit.fleet.engines import Engine
from audit.fleet.gathering import gathered, missing, rescued
from audit.fleet.planning import Choice, Planned, plan
from audit.fleet.rows import AUDITED, FAILED, GONE, UNREAD, Audited, RunRow
from audit.fleet.store import Store
from audit.fleet.supervised import worker
from audit.fleet.tables import write_tables
from audit.fleet.tasks import SECONDS, Order, options_document
from audit.manager import Registry
from audit.options import Options
from audit.report import BROKEN, SOUND, SUSPECT
from audit.text import local_date, utc_time
from audit.version import __version__

WORST = 10
"""Runs that a summary names."""


class Summary(NamedTuple):
    """What is in the tables after a pass: ``verdicts`` and ``statuses`` count runs, ``rules`` runs by rule.

    ``audited`` runs were audited in this pass, the rows of ``taken`` were taken over,
    ``curbed`` were left at quick depth by the budget; ``by_structure`` of those with a verdict were not read in full.
    ``worst`` are the runs with the most errors, then those that could not be audited. ``reaching`` counts runs by their
    most severe finding.
    """

    runs: int
    audited: int
    taken: int
    curbed: int
    verdicts: Mapping[str, int]
    statuses: Mapping[str, int]
    not_judged: int
    by_structure: int
    crashed: tuple[str, ...]
    rules: Mapping[str, int]
    reaching: Mapping[Severity, int]
    bytes: int
    bytes_not_resumable: int
    bytes_superseded: int
    worst: tuple[RunRow, ...]

    def code(self, threshold: Severity | None) -> int:
        """Return the exit code: 2 if a run could not be audited or a rule crashed, 1 for violations, else 0."""
        if self.statuses.get(FAILED) or self.crashed:
            return 2
        found = (level for level, count in self.reaching.items() if count)
        return int(threshold is not None and any(level.rank >= threshold.rank for level in found))


class Progress:
    """Hears how a pass goes on; does nothing."""

    def listed(self, runs: int) -> None:
        """So many runs were listed so far."""

    def planned(self, found: Planned) -> None:
        """The listing is complete."""

    def done(self, runs: int) -> None:
        """So many more runs have a row."""


def order_of(options: Options, registry: Registry, seconds: float = SECONDS) -> Order:
    """Return how a pass judges, with a digest of all that its rows depend on beside the files."""
    from blake3 import blake3

    from audit.judging.program import program_of

    program = program_of(registry) or secrets.token_hex(16)  # a plugin in no file: nothing can be taken over
    day = local_date() if any(item.until for item in options.accept) else ""
    asked = options_document(options._replace(depth="", fail_on=None, jobs=1, cache=True, ledger=False, scrub=0.0))
    basis = blake3(json.dumps([program, asked, day], sort_keys=True).encode()).hexdigest(16)
    return Order(options._replace(ledger=False), basis, seconds)


def run_pass(
    store: Store,
    roots: Sequence[str],
    judging: Order,
    choice: Choice,
    registry: Registry,
    engine: Engine,
    workers: int,
    progress: Progress | None = None,
) -> Summary:
    """Do a whole pass and return what is in the tables then. Raises AuditError; what was audited until then is kept."""
    hears = progress or Progress()
    store.make()
    with store.locked():
        document, planned = _planned(store, roots, judging, choice, registry, hears)
        hears.planned(planned)
        for number, rows in engine(store.batches(), judging, workers):
            store.write_part(number, rows, document["id"])
            hears.done(len(rows))
        return _finished(store, document)


def shards(
    store: Store,
    roots: Sequence[str],
    judging: Order,
    choice: Choice,
    registry: Registry,
    progress: Progress | None = None,
) -> Planned:
    """List and compare, and write each batch as a shard for :func:`work_off`. Raises AuditError."""
    store.make()
    with store.locked():
        _, planned = _planned(store, roots, judging, choice, registry, progress or Progress())
        for batch in store.batches():
            store.write_shard(batch, judging)
        return planned


def work_off(store: Store, number: int) -> list[Audited]:
    """Audit the runs of one shard and keep their rows as its part. Raises AuditError."""
    store.check()
    document = _unfinished(store)
    batch, judging = store.shard(number)
    with worker(judging) as own:
        rows = [own.audit(task) for task in batch.tasks]
    if _unfinished(store)["id"] != document["id"]:
        raise AuditError(f"{store.path}: its shards were made anew meanwhile, so shard {number} is of no use")
    store.write_part(number, rows, document["id"])
    return rows


def gather(store: Store, allow_missing: bool = False) -> Summary:
    """Put the tables together when all shards are worked off. Raises AuditError if some are not.

    With ``allow_missing`` the runs of such shards are rows that say so.
    """
    store.check()
    with store.locked():
        document = _unfinished(store)
        left = missing(store, document)
        if left and not allow_missing:
            names = ", ".join(map(str, left[:10])) + (", ..." if len(left) > 10 else "")
            raise AuditError(
                f"{store.path}: {len(left)} of {document['batches']} shards are not worked off: {names}; "
                "do that first, or give --allow-missing"
            )
        return _finished(store, document)


def _unfinished(store: Store) -> dict[str, Any]:
    found = store.plan()
    if found is None:
        raise AuditError(f"{store.path}: has no shards; make some with: audit fleet ROOT --engine list")
    return found


def _planned(
    store: Store, roots: Sequence[str], judging: Order, choice: Choice, registry: Registry, hears: Progress
) -> tuple[dict[str, Any], Planned]:
    outermost(roots)
    about = _about(store)
    before = store.plan()
    if before is not None and store.part_numbers():
        write_tables(*store.table, rescued(store, before["id"]), _text(about))
    store.clear()
    store.begin()
    number = about["pass"] + 1
    backends = [registry.backend(judging.options.backend)] if judging.options.backend else registry.backends
    try:
        planned = plan(store, roots, backends, judging, choice, number, hears.listed, opener(registry))
    except AuditError:  # such as a bucket that cannot be read: the rows stay
        store.clear()
        raise
    if not planned.runs and not judging.options.allow_empty:  # such as a disk that is not mounted: the rows stay
        store.clear()
        raise AuditError(f"{', '.join(roots)}: no run below it; if there is none yet, say so with --allow-empty")
    document = {
        "id": secrets.token_hex(8),
        "pass": number,
        "batches": planned.batches,
        "audited": planned.audited,
        "taken": planned.taken,
        "curbed": planned.curbed,
        "order": judging.document(),
    }
    store.write_plan(document)
    return document, planned


def _about(store: Store) -> dict[str, Any]:
    """What the table says of itself; ``pass`` counts the finished ones."""
    if not store.table.there:
        return {"pass": 0}
    try:
        found = json.loads(store.table.about())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("pass"), int):
        raise AuditError(f"{store.table.runs}: was written by another version of audit fleet; move it away")
    return found


def _text(about: Mapping[str, Any]) -> bytes:
    return json.dumps(about).encode("ascii")


def _finished(store: Store, document: Mapping[str, Any]) -> Summary:
    counts = _Counts()
    rows = gathered(store, document["id"], Order.read(document["order"]))
    about = {"pass": document["pass"], "made": utc_time(), "version": __version__}
    write_tables(*store.table, counts.over(rows), _text(about))
    store.clear()
    return counts.summary(*(document[name] for name in ("audited", "taken", "curbed")))


class _Counts:
    def __init__(self) -> None:
        self._runs = self._not_judged = self._by_structure = 0
        self._verdicts: Counter[str] = Counter({SOUND: 0, SUSPECT: 0, BROKEN: 0})
        self._statuses: Counter[str] = Counter({AUDITED: 0, FAILED: 0, UNREAD: 0, GONE: 0})
        self._rules: Counter[str] = Counter()
        self._reaching: Counter[Severity] = Counter()
        self._crashed: set[str] = set()
        self._bytes = [0, 0, 0]
        self._worst: list[RunRow] = []

    def over(self, rows: Iterable[Audited]) -> Iterator[Audited]:
        for item in rows:
            self._count(item.row)
            yield item

    def _count(self, row: RunRow) -> None:
        self._runs += 1
        self._statuses[row.status] += 1
        if row.verdict is not None:
            self._verdicts[row.verdict] += 1
            self._not_judged += not row.judged
            self._by_structure += row.depth == "quick"
        self._rules.update(row.rules)
        self._crashed.update(row.crashed)
        levels = ((Severity.ERROR, row.errors), (Severity.WARNING, row.warnings), (Severity.INFO, row.infos))
        self._reaching.update(level for level, count in levels if count)
        for place, size in enumerate((row.bytes, row.bytes_not_resumable, row.bytes_superseded)):
            self._bytes[place] += size
        if row.errors or row.status == FAILED:
            self._worst.append(row)
            if len(self._worst) >= 20 * WORST:
                self._worst = worst_of(self._worst)

    def summary(self, audited: int, taken: int, curbed: int) -> Summary:
        return Summary(
            self._runs,
            audited,
            taken,
            curbed,
            dict(self._verdicts),
            dict(self._statuses),
            self._not_judged,
            self._by_structure,
            tuple(sorted(self._crashed)),
            dict(self._rules.most_common()),
            dict(self._reaching),
            self._bytes[0],
            self._bytes[1],
            self._bytes[2],
            tuple(worst_of(self._worst)),
        )


def worst_of(rows: Iterable[RunRow], most: int = WORST) -> list[RunRow]:
    """Return the worst rows first: nothing to resume from, then by errors and warnings, then what failed."""

    def key(row: RunRow) -> tuple[bool, bool, int, int, str]:
        return row.status != AUDITED, row.resume_from is not None, -row.errors, -row.warnings, row.run

    return sorted(rows, key=key)[:most]
