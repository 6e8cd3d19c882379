"""Plugins are loaded once, and what is wrong with one of them is said with its name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import AuditError, PluginError
from audit.hookspecs import Context, hookimpl
from audit.manager import _entry_points, load


class Twin:
    @hookimpl
    def audit_backends(self) -> list[Any]:
        return [SimpleNamespace(name="hf-trainer")]


class Counting:
    @hookimpl
    def audit_reporters(self) -> dict[str, Any]:
        return {"count": lambda reports, context: f"{len(reports)} runs, {len(context.rules)} rules\n"}


class Misspelt:
    @hookimpl
    def audit_rulez(self) -> list[Any]:
        return []


def test_the_built_in_plugins_come_through_entry_points() -> None:
    registry = load()

    assert [backend.name for backend in registry.backends] == [
        "accelerate",
        "deepspeed",
        "hf-trainer",
        "lightning",
        "torch-dcp",
    ]
    assert {"console", "json"} <= registry.reporters.keys()
    assert {"hf_trainer", "reporters", "rules"} <= {name for name, _ in registry.plugins.list_name_plugin()}
    assert "files/missing-optimizer" in {rule.id for rule in registry.rules}


def test_entry_points_are_read_as_the_standard_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "a-1.dist-info": "[console_scripts]\naudit = other:main\n\n[audit]\n# a comment\n  Team = a_team \n\n[more]\nb = c\n",
        "b-1.egg-info": "[auditors]\nnot = ours\n",
        "c-1.dist-info": "[audit]\nother=another\xff\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "entry_points.txt").write_text(text, encoding="latin-1")
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "nowhere")])
    assert _entry_points() == {("Team", "a_team"), ("other", "another\ufffd")}


def test_two_plugins_with_one_name_are_refused() -> None:
    with pytest.raises(PluginError, match="backend named 'hf-trainer'"):
        load([Twin()])


def test_a_reporter_of_others_gets_the_reports_and_the_rules() -> None:
    registry = load([Counting()])

    assert registry.reporter("count")([], Context(rules=registry.rules)) == f"0 runs, {len(registry.rules)} rules\n"


def test_a_format_that_is_there_already_is_refused() -> None:
    with pytest.raises(PluginError, match="reporter named 'count'"):
        load([Counting(), Counting()])


def test_a_misspelt_hook_is_refused() -> None:
    with pytest.raises(PluginError, match="audit_rulez"):
        load([Misspelt()])


def test_a_name_with_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(AuditError, match="did you mean 'files/missing-optimizer'"):
        load().rule("files/mising-optimizer")


def test_without_the_reporters_entry_point_the_installation_is_named() -> None:
    stale = load().with_rules(())  # a copy: a process has one registry
    stale.reporters = {}
    with pytest.raises(AuditError, match="no output format is installed; reinstall checkpoint-audit"):
        stale.reporter("console")
