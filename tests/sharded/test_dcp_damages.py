"""Every damage to FSDP's sharded states: put to torch's own loader and to us; the table is in docs/sharded.md.

``pytest tests/sharded --update-faults`` writes the table anew.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.judging.guard import consult
from audit.options import Options
from tests.dcp import make_sharded
from tests.sharded.dcp_damages import DAMAGES, Damage
from tests.sharded.loader import outcome
from tests.sharded.page import Row, current, put

ROWS: dict[str, Row] = {}
OPTIONS = Options(settle_seconds=0)


def judged(run: Path, damage: Damage, newest: str, before: str) -> tuple[list[str], str | None]:
    """Damage the newest checkpoint; return the rules that found something and what the guard hands out."""
    damage.harm(run / newest, run / before)
    report = verify(str(run), OPTIONS)
    assert not report.crashed
    found = dict.fromkeys(item.rule for item in report.findings if item.severity is not Severity.INFO)
    assert all(item.checkpoint in (newest, None) for item in report.findings if item.severity is not Severity.INFO)
    return list(found), consult(str(run), options=OPTIONS).decision.checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_torch_wrote(damage: Damage, clean_run: Callable[[str], str], tmp_path: Path) -> None:
    clean, run = Path(clean_run("fsdp_sharded")), tmp_path / "run"
    shutil.copytree(clean, run, ignore=shutil.ignore_patterns(".audit"))

    rules, handed_out = judged(run, damage, "checkpoint-9", "checkpoint-6")

    loads = outcome(run / "checkpoint-9", clean / "checkpoint-9")
    refused = handed_out != "checkpoint-9"
    ROWS[damage.title] = Row(damage.title, damage.group, loads, tuple(rules), refused, damage.untold)
    assert (loads == "same") == damage.harmless
    assert refused == (not damage.harmless and not damage.untold), (rules, loads)
    assert handed_out in ("checkpoint-9", "checkpoint-6")
    if damage.harmless:
        assert rules == []


@pytest.mark.parametrize("damage", [item for item in DAMAGES.values() if not item.torch], ids=lambda item: item.title)
def test_a_tree_written_like_it(damage: Damage, tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")

    rules, handed_out = judged(run, damage, "checkpoint-200", "checkpoint-100")

    if not damage.untold:
        assert (handed_out != "checkpoint-200") == (not damage.harmless), rules
    if damage.harmless:
        assert rules == []


@pytest.mark.slow
def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if len(ROWS) < len(DAMAGES):
        pytest.skip("not every damage was tried in this process")
    if request.config.getoption("--update-faults"):
        put(ROWS.values())
    assert current(ROWS.values()), "run `tox run -e campaign -- tests/sharded --update-faults`"
