"""``audit fleet``: the command as a user calls it, killed in the middle, and on a terminal."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.cli import run as command_line
from audit.fleet.store import Store
from tests.audit.cli.conftest import Ended, command, one_line
from tests.audit.cli.terminal import Terminal
from tests.audit.cli.test_documents import document
from tests.audit.fleet.conftest import Grow, _seed, age, grow, rows_of, tree

__all__ = ["_seed", "grow", "tree"]

Audit = Callable[..., Ended]
BY_STRUCTURE = " (3 by structure, without reading every byte: --depth full, --full 1%)"


@pytest.fixture
def needs_pyarrow() -> None:
    pytest.importorskip("pyarrow", reason="the extra fleet is not installed")


@pytest.mark.usefixtures("needs_pyarrow")
def test_a_pass_says_what_it_found_and_a_second_one_that_nothing_changed(audit: Audit, tree: Path, grow: Grow) -> None:
    grow("ann/good", "bob/good")
    (run,) = grow("bob/bad")
    Path(run, "checkpoint-2", "optimizer.pt").unlink()
    age(run)

    first = audit("fleet", str(tree), "--workers", "1")

    assert (first.code, first.err) == (1, "")
    assert first.out.startswith(f"3 runs: 2 sound, 0 suspect, 1 broken{BY_STRUCTURE}\n3 audited, 0 unchanged\n")
    assert f"{run}  broken   checkpoint-1  files/missing-optimizer" in first.out
    second = document(audit, 1, "fleet", str(tree))
    assert (second["action"], second["audited"], second["taken"]) == ("audit", 0, 3)
    assert [item["run"] for item in second["worst"]] == [run]
    assert audit("fleet", str(tree), "-q").out == f"3 runs: 2 sound, 0 suspect, 1 broken{BY_STRUCTURE}\n"
    assert audit("fleet", str(tree), "-q", "--fail-on", "never").code == 0
    page = document(audit, 0, "fleet", "report", "fleet.parquet")
    assert (page["page"], page["runs"]) == ("fleet.html", 3)
    assert run in Path("fleet.html").read_text()
    assert audit("fleet", "report", "fleet.parquet", "-o", "-").out.startswith("<!DOCTYPE html>")
    Path("fleet.html").write_text("mine")
    assert "is not a page of ours" in one_line(audit("fleet", "report", "fleet.parquet"))
    assert "is the table itself" in one_line(audit("fleet", "report", "fleet.parquet", "-o", "./fleet.parquet"))


@pytest.mark.usefixtures("needs_pyarrow")
def test_shards_go_through_the_hands_of_other_commands(audit: Audit, tree: Path, grow: Grow) -> None:
    grow("a", "b", "c")
    listed = audit("fleet", str(tree), "--engine", "list", "--batch", "2", "-o", "t")
    assert (listed.code, listed.out) == (0, "0\n1\n")
    assert "3 of 3 runs in 2 shards: audit fleet t --shard K" in listed.err
    assert document(audit, 0, "fleet", "t", "--shard", "1")["runs"] == 1
    assert "1 of 2 shards are not worked off: 0;" in one_line(audit("fleet", "t", "--gather"))
    assert document(audit, 2, "fleet", "t", "--gather", "--allow-missing")["statuses"]["failed"] == 2
    assert document(audit, 0, "fleet", str(tree), "--engine", "list", "-o", "t")["shards"] == 1
    assert audit("fleet", "t", "--shard", "0").out == "shard 0: 2 runs\n"
    assert audit("fleet", "t", "--gather", "-q").out == f"3 runs: 3 sound, 0 suspect, 0 broken{BY_STRUCTURE}\n"


def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_made(audit: Audit, tree: Path) -> None:
    for words, why in (
        ((str(tree / "no"),), "no such directory"),
        (("t", "--gather"), "is no table of audit fleet"),
        (("t", "u", "--gather"), "and nothing else"),
        (("t", "--gather", "--shard", "1"), "not both"),
        (("report",), "and nothing else"),
        (("report", "t"), "is no table of audit fleet"),
        ((str(tree), "--full", "nothing"), "is not a share"),
        ((str(tree), "--budget-bytes", "much"), "500MB or 5GiB; see audit fleet --help"),
        ((str(tree), "--budget-bytes", "0"), "to read nothing in full, leave out --full and --depth full"),
        ((str(tree), "--batch", "0"), "'0' is not a number of runs from 1 to 99999"),
        ((str(tree), "--workers", "0"), "'0' is not a number of processes from 1 to 99999"),
        ((str(tree), "--timeout", "0"), "is not a number of seconds"),
        (("t", "--shard", "-x"), "shard"),
    ):
        assert why in one_line(audit("fleet", *words)), words
    assert os.listdir() == []


@pytest.mark.usefixtures("needs_pyarrow")
def test_a_root_without_a_run_is_refused_unless_that_is_meant(audit: Audit, tree: Path) -> None:
    assert "no run below it" in one_line(audit("fleet", str(tree)))
    assert audit("fleet", str(tree), "--allow-empty", "-q").out == "0 runs: 0 sound, 0 suspect, 0 broken\n"


def test_without_pyarrow_it_says_what_to_install(audit: Audit, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert 'pip install "checkpoint-audit[fleet]"' in one_line(audit("fleet", str(tree)))


@pytest.mark.slow
@pytest.mark.usefixtures("needs_pyarrow")
def test_a_driver_that_is_killed_again_and_again_loses_nothing(tree: Path, grow: Grow) -> None:
    names = [f"run-{number:03}" for number in range(60)]
    grow(*names)
    words = command(["fleet", str(tree), "-o", "t", "--batch", "1", "--workers", "2", "--depth", "full"])
    store, seen = Store("t"), 0
    for kill in range(5):
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while child.poll() is None and (kill == 0 or not os.path.exists(store.listing)):
            if len(store.part_numbers()) > 5:
                break
            time.sleep(0.005)
        time.sleep(0.2 * kill)  # in the listing, in the auditing, in between
        child.kill()
        child.wait()
        seen = max(seen, len(store.part_numbers()))
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)

    assert seen > 5
    assert done.returncode == 0
    assert [os.path.basename(item.row.run) for item in rows_of(store)] == names
    assert {item.row.verdict for item in rows_of(store)} == {"sound"}
    audited, taken = map(int, re.findall(r"([0-9]+) audited, ([0-9]+) unchanged", done.stdout)[0])
    assert audited + taken == 60
    assert taken > 5  # rows of the killed passes


@pytest.mark.slow
@pytest.mark.usefixtures("needs_pyarrow")
def test_ctrl_c_keeps_what_was_done_and_a_bar_shows_the_rest(tree: Path, grow: Grow) -> None:
    grow(*(f"run-{number:03}" for number in range(80)))
    words = ["fleet", str(tree), "-o", "t", "--batch", "1", "--workers", "1"]
    with Terminal(words, columns=120) as screen:
        screen.until("runs/s")
        screen.send("\x03")
        assert screen.ended() == 130
        assert "interrupted" in screen.seen
        assert "Traceback" not in screen.seen
    done = len(Store("t").part_numbers())
    assert 0 < done < 80
    with Terminal(words, columns=120) as screen:
        assert screen.ended() == 0
    assert f"{80 - done} audited, {done} unchanged" in screen.seen


@pytest.mark.usefixtures("needs_pyarrow")
def test_no_token_of_a_run_is_in_a_table_or_on_a_page(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    duckdb = pytest.importorskip("duckdb")
    from audit.testing.runs import edit_state, make_run

    token = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
    run = make_run(tree / "run", (100, 200), layers=1)
    edit_state(f"{run}/checkpoint-200", global_step=token, max_steps=token, best_model_checkpoint=token)
    assert command_line(["fleet", str(tree), "--workers", "1"]) == 1
    command_line(["fleet", "report", "fleet.parquet"])
    found = [duckdb.sql(f"from 'fleet.parquet/{name}.parquet'").fetchall() for name in ("runs", "findings")]
    assert len(found[1]) > 0
    said = str(found) + Path("fleet.html").read_text() + json.dumps(capfd.readouterr())
    assert token not in said
