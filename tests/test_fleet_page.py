"""The recipes of docs/fleet.md answer what they ask, on the tables of a small fleet."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="the extra fleet is not installed")
pytest.importorskip("duckdb")

import duckdb

from audit.cli import run as command
from audit.testing.runs import make_run
from tests.audit.fleet.conftest import age

PAGE = (Path(__file__).parents[1] / "docs" / "fleet.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^```sql\n-- (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_recipes_of_the_page_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = Path(make_run(tmp_path / "runs/ann/bad", (1, 2), rank=1, layers=1))
    make_run(tmp_path / "runs/bob/old", (1, 2), rank=1, layers=1)
    make_run(tmp_path / "runs/bob/lost", (1,), rank=1, layers=1)
    age(tmp_path / "runs/bob", 300 * 86400)
    age(bad)
    assert command(["fleet", "runs", "-q", "--workers", "1"]) == 0
    shutil.copy("fleet.parquet/runs.parquet", "yesterday.parquet")
    for path in (bad / "checkpoint-2/optimizer.pt", tmp_path / "runs/bob/lost/checkpoint-1/optimizer.pt"):
        path.unlink()
    assert command(["fleet", "runs", "-q", "--workers", "1"]) == 1

    found: dict[str, list[Any]] = {what: duckdb.sql(text.rstrip(";\n")).fetchall() for what, text in RECIPES.items()}

    rule = "files/missing-optimizer"
    assert (rule, "error", 2, 2) in found["Which rules found most?"]
    assert [Path(row[0]).name for row in found["What can nobody resume from?"]] == ["lost"]
    assert {row[0] for row in found["Whose checkpoints could be freed, in GB?"]} == {"ann", "bob"}
    assert {Path(row[0]).name for row in found["What has nobody written to for half a year?"]} >= {"old"}
    assert ("quick", "broken", 2) in found["Which runs are judged by structure only?"]
    newest = found["All findings of the newest checkpoint of each broken run."]
    assert {(Path(row[0]).name, row[1], row[3]) for row in newest} == {
        ("bad", "checkpoint-2", rule), ("lost", "checkpoint-1", rule)
    }  # fmt: skip
    assert {Path(row[0]).name for row in found["What broke since the last time?"]} == {"bad", "lost"}
