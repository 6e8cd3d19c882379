"""A pass over a tree: what changed is audited, the rest is taken over, and no kill loses what was done."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the extra fleet is not installed")

from audit.errors import AuditError
from audit.fleet.engines import Part
from audit.fleet.engines.local import audit as local
from audit.fleet.one_run import audit_run
from audit.fleet.passes import gather, order_of, shards, work_off
from audit.fleet.planning import Choice
from audit.fleet.store import Store
from audit.fleet.tasks import Batch, Order
from audit.manager import load
from audit.options import Options
from tests.audit.fleet.conftest import Grow, Pass, age, rows_of


class Here:
    """An engine in this process, which notes what it was given; it ends after so many batches."""

    def __init__(self, last: int | None = None) -> None:
        self.runs: list[str] = []
        self.depths: list[str] = []
        self._last = last

    def __call__(self, batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
        registry = load()
        for number, tasks in batches:
            if number == self._last:
                raise KeyboardInterrupt
            self.runs += [os.path.basename(task.run) for task in tasks]
            self.depths += [task.depth for task in tasks]
            yield number, [audit_run(task, order, registry) for task in tasks]


def verdicts(store: Store) -> dict[str, str | None]:
    return {os.path.basename(item.row.run): item.row.verdict for item in rows_of(store)}


def test_a_pass_makes_a_row_of_each_run_and_of_each_finding(over: Pass, grow: Grow, store: Store) -> None:
    grow("a/one", "a/two", "b/three")
    broken = Path(grow("b/four")[0])
    (broken / "checkpoint-2/optimizer.pt").unlink()
    age(broken)

    summary = over(workers=2, batch=1)

    assert (summary.runs, summary.audited, summary.taken) == (4, 4, 0)
    assert summary.verdicts == {"sound": 3, "suspect": 0, "broken": 1}
    assert summary.code(Options().fail_on) == 1
    assert summary.code(None) == 0
    assert [row.run for row in summary.worst] == [str(broken)]
    assert verdicts(store) == {"one": "sound", "two": "sound", "four": "broken", "three": "sound"}
    found = [finding for item in rows_of(store) for finding in item.findings if finding.severity == "error"]
    assert [(item.run, item.rule) for item in found] == [(str(broken), "files/missing-optimizer")]
    assert sorted(os.listdir(store.path)) == ["findings.parquet", "lock", "runs.parquet"]


def test_only_what_changed_is_audited_again(over: Pass, grow: Grow, store: Store) -> None:
    runs = grow("a", "b", "c", "d")
    over(engine=Here())
    before = {item.row.run: item for item in rows_of(store)}
    os.unlink(f"{runs[1]}/checkpoint-2/optimizer.pt")
    age(runs[1])
    shutil.rmtree(runs[2])
    grow("e")
    engine = Here()

    summary = over(engine=engine)

    assert engine.runs == ["b", "e"]
    assert (summary.audited, summary.taken) == (2, 2)
    assert verdicts(store) == {"a": "sound", "b": "broken", "d": "sound", "e": "sound"}
    after = {item.row.run: item for item in rows_of(store)}
    assert [after[run] == before[run] for run in (runs[0], runs[3])] == [True, True]
    again = Here()
    over(engine=again)
    assert again.runs == []
    over(engine=again, anew=True)
    assert again.runs == ["a", "b", "d", "e"]


def test_other_options_or_another_program_judge_anew(over: Pass, grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    grow("a")
    over(engine=Here())
    for words in ({"ignore": ("security",)}, {"depth": "full"}):
        engine = Here()
        over(engine=engine, **words)
        assert engine.runs == ["a"]
    monkeypatch.setattr("audit.judging.program._digest_of", lambda _: "another")
    engine = Here()
    over(engine=engine, depth="full")
    assert engine.runs == ["a"]


def test_a_young_run_is_judged_each_time_since_its_age_counts(over: Pass, grow: Grow) -> None:
    young, _ = grow("young", "old")
    age(young, 5)
    over(engine=Here())
    engine = Here()
    over(engine=engine)
    assert engine.runs == ["young"]


def test_a_row_of_full_depth_is_taken_over_at_quick_depth_and_not_the_other_way(over: Pass, grow: Grow) -> None:
    grow("a")
    for depth, expected in (("full", ["a"]), ("quick", []), ("full", [])):
        engine = Here()
        over(engine=engine, depth=depth)
        assert engine.runs == expected


def test_a_rotating_share_is_read_in_full_until_every_run_was(over: Pass, grow: Grow) -> None:
    names = [f"run-{number}" for number in range(12)]
    grow(*names)
    over(engine=Here())
    seen: list[str] = []
    for _ in range(4):
        engine = Here()
        over(engine=engine, share=0.25)
        assert set(engine.depths) <= {"full"}
        seen += engine.runs
    assert sorted(seen) == sorted(names)


def test_a_budget_leaves_the_rest_at_quick_depth_and_the_next_pass_reads_it(
    over: Pass, grow: Grow, store: Store
) -> None:
    grow("a", "b", "c")
    over(engine=Here())
    size = rows_of(store)[0].row.bytes
    engine = Here()
    assert over(engine=engine, depth="full", budget=size + 1).curbed == 2
    assert (engine.runs, engine.depths) == (["a"], ["full"])
    over(engine=engine, depth="full", budget=2 * size)
    assert engine.runs == ["a", "b", "c"]


def test_a_pass_that_is_interrupted_goes_on_with_what_it_had(over: Pass, grow: Grow, store: Store) -> None:
    names = [f"run-{number}" for number in range(6)]
    grow(*names)
    with pytest.raises(KeyboardInterrupt):
        over(engine=Here(last=2), batch=2)
    assert store.part_numbers() == [0, 1]
    part = Path(store.path, "unfinished", "part-00001.parquet")
    part.write_bytes(part.read_bytes()[:100])  # the power failed
    Path(store.path, "runs.parquet.4711.tmp").write_bytes(b"half a table")
    engine = Here()

    summary = over(engine=engine, batch=2)

    assert engine.runs == names[2:]
    assert summary.runs == 6
    assert list(verdicts(store)) == names
    assert sorted(os.listdir(store.path)) == ["findings.parquet", "lock", "runs.parquet"]


def test_an_interrupted_pass_keeps_the_rows_of_runs_that_it_had_not_reached(
    over: Pass, grow: Grow, store: Store
) -> None:
    runs = grow("a", "b", "c")
    over(engine=Here())
    for run in runs:
        os.unlink(f"{run}/checkpoint-2/optimizer.pt")
        age(run)
    with pytest.raises(KeyboardInterrupt):
        over(engine=Here(last=1), batch=1)
    with pytest.raises(KeyboardInterrupt):
        over(engine=Here(last=0), batch=1)

    assert verdicts(store) == {"a": "broken", "b": "sound", "c": "sound"}


def test_a_share_that_was_read_before_an_interruption_is_not_read_again(over: Pass, grow: Grow) -> None:
    grow("a", "b", "c")
    over(engine=Here())
    with pytest.raises(KeyboardInterrupt):
        over(engine=Here(last=2), share=1.0, batch=1)
    engine = Here()
    over(engine=engine, share=1.0, batch=1)
    assert engine.runs == ["c"]


def test_a_tree_that_is_not_mounted_takes_no_row_away(over: Pass, grow: Grow, store: Store, tree: Path) -> None:
    grow("a")
    over(engine=Here())
    tree.rename(tree.with_name("away"))
    tree.mkdir()
    with pytest.raises(AuditError, match="no run below it"):
        over(engine=Here())
    assert verdicts(store) == {"a": "sound"}
    assert over(engine=Here(), allow_empty=True).runs == 0
    tree.rmdir()
    with pytest.raises(AuditError, match="no such directory"):
        over(engine=Here())


def test_a_row_that_the_engine_lost_is_a_row_that_says_so(over: Pass, grow: Grow, store: Store) -> None:
    grow("a", "b")

    def forgetful(batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
        for number, rows in Here()(batches, order, workers):
            yield number, rows[1:]

    summary = over(engine=forgetful)

    assert summary.statuses["failed"] == 1
    assert summary.code(None) == 2
    assert verdicts(store) == {"a": None, "b": "sound"}
    engine = Here()
    over(engine=engine)
    assert engine.runs == ["a"]


@pytest.mark.slow
def test_shards_are_worked_off_in_any_order_and_gathered(over: Pass, grow: Grow, store: Store, tree: Path) -> None:
    grow(*(f"run-{number}" for number in range(5)))
    registry = load()
    order = order_of(Options(), registry)
    planned = shards(store, [str(tree)], order, Choice(batch=2), registry)
    assert (planned.runs, planned.batches) == (5, 3)
    work_off(store, 2)
    work_off(store, 0)

    with pytest.raises(AuditError, match="1 of 3 shards are not worked off: 1;"):
        gather(store)
    with pytest.raises(AuditError, match="has no shard 3"):
        work_off(store, 3)
    partly = Store(shutil.copytree(store.path, f"{store.path}-partly"))
    summary = gather(partly, allow_missing=True)
    assert (summary.runs, summary.statuses["failed"]) == (5, 2)
    work_off(store, 1)
    assert gather(store).verdicts["sound"] == 5
    with pytest.raises(AuditError, match="has no shards"):
        gather(store)


def test_a_shard_of_an_older_plan_is_of_no_use(
    grow: Grow, store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow("a")
    registry = load()
    order = order_of(Options(), registry)
    shards(store, [str(tree)], order, Choice(), registry)
    real = store.shard

    def anew(number: int) -> tuple[Batch, Order]:
        found = real(number)
        shards(store, [str(tree)], order, Choice(), registry)
        return found

    monkeypatch.setattr(store, "shard", anew)
    with pytest.raises(AuditError, match="made anew"):
        work_off(store, 0)
    assert store.part_numbers() == []


def test_two_passes_do_not_write_at_the_same_time(over: Pass, grow: Grow, store: Store) -> None:
    grow("a")
    store.make()
    with store.locked(), pytest.raises(AuditError, match="another audit fleet"):
        over(engine=Here())


def test_a_place_that_holds_something_else_is_left_alone(over: Pass, grow: Grow, tmp_path: Path) -> None:
    from audit.fleet.store import Store

    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    for name, why in (("file", "is a file"), ("full", "has other files in it, such as notes.txt")):
        with pytest.raises(AuditError, match=why):
            Store(str(tmp_path / name)).make()
    (run,) = grow("a")
    with pytest.raises(AuditError, match="inside a checkpoint"):
        Store(f"{run}/checkpoint-2/fleet").make()


def test_a_table_of_somebody_else_or_a_damaged_one_is_left_alone(over: Pass, grow: Grow, store: Store) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    grow("a")
    store.make()
    write_table(pa.table({"run": ["a"]}), store.table.runs)
    with pytest.raises(AuditError, match="was not written by audit fleet"):
        over(engine=Here())
    Path(store.table.runs).write_bytes(b"PAR1")
    with pytest.raises(AuditError, match="cannot be read"):
        over(engine=Here())


@pytest.mark.slow
def test_the_local_engine_gives_the_same_rows(over: Pass, grow: Grow, store: Store) -> None:
    grow("a", "b", "c")
    over(engine=Here())
    here = [item.row._replace(seconds=0, audited=None) for item in rows_of(store)]
    over(engine=local, workers=2, batch=1, anew=True)
    assert [item.row._replace(seconds=0, audited=None, number=1) for item in rows_of(store)] == here


def test_runs_behind_a_url_are_found_and_judged_like_those_of_a_disk(
    over: Pass, grow: Grow, store: Store, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = pytest.importorskip("fsspec", reason="the extra remote is not installed").filesystem("memory")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runs = grow("ann/a", "ann/b", "bob/c")
    os.unlink(f"{runs[1]}/checkpoint-2/optimizer.pt")
    age(tree)
    for file in tree.rglob("*"):
        if file.is_file():
            memory.pipe(f"/fleet/{file.relative_to(tree)}", file.read_bytes())
    over(engine=Here())
    here = rows_of(store)
    engine = Here()

    summary = over(engine=engine, root="memory://fleet/", settle_seconds=0.0)

    assert summary.verdicts == {"sound": 2, "suspect": 0, "broken": 1}
    rows = rows_of(store)
    assert [item.row.run for item in rows] == [run.replace(str(tree), "memory://fleet") for run in runs]
    same = ("owner", "verdict", "resume_from", "errors", "rules", "bytes", "bytes_not_resumable", "bytes_superseded")
    assert [[getattr(item.row, name) for name in same] for item in rows] == [
        [getattr(item.row, name) for name in same] for item in here
    ]
    assert not (tmp_path / "state").exists()
    with pytest.raises(AuditError, match="no run below it"):
        over(engine=engine, root="memory://elsewhere")
    with pytest.raises(AuditError, match="no storage is known for nope://"):
        over(engine=engine, root="nope://x/y")
    with pytest.raises(AuditError, match="is no plain URL"):
        over(engine=engine, root="s3://me:secret@bucket/x")
    assert len(rows_of(store)) == 3
    assert not Path(store.path, "unfinished").exists()


def test_the_tables_are_not_kept_behind_a_url() -> None:
    with pytest.raises(AuditError, match="kept on this machine"):
        Store("s3://bucket/fleet.parquet").make()
