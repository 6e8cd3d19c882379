"""What holds for every built-in rule."""

import inspect
import re
import sys
from collections import Counter
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan
from audit.facts.run import Run
from audit.findings import Severity
from audit.rules import ANY, Rule
from audit_rules import plugin

RULES = {rule.id: rule for rule in plugin.audit_rules()}
TESTS = Path(__file__).parent / "plugins" / "audit_rules"
DOCS = Path(__file__).parents[1] / "docs"
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@pytest.fixture(scope="module")
def written() -> ModuleType:
    """What writes the documentation."""
    spec = util.spec_from_file_location("write_rules", DOCS / "write_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_rules() -> None:
    assert RULES


def test_ids_are_unique() -> None:
    counted = Counter(rule.id for rule in plugin.audit_rules())

    assert [id for id, times in counted.items() if times > 1] == []


@every_rule
def test_the_id_is_the_path_of_the_file(rule: Rule) -> None:
    module = rule.function.__module__

    assert rule.id == module.removeprefix("audit_rules.").replace(".", "/").replace("_", "-")
    assert rule.function.__name__ == module.rpartition(".")[2]


@every_rule
def test_the_id_is_a_family_and_a_name_in_small_letters(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*", rule.id)


@every_rule
def test_the_docstring_starts_with_one_sentence(rule: Rule) -> None:
    assert re.fullmatch(r"[A-Z`].{10,110}\.", rule.title)


@every_rule
def test_the_docstring_goes_on_to_say_why(rule: Rule) -> None:
    first, _, body = rule.documentation.partition("\n\n")

    assert first == rule.title
    assert len(body.split()) >= 12


@every_rule
def test_the_remedy_says_in_sentences_what_to_do(rule: Rule) -> None:
    assert re.match(r"[A-Z`]", rule.remedy)
    assert rule.remedy.endswith(".")
    assert len(rule.remedy.split()) >= 3


@every_rule
def test_every_fact_that_it_asks_for_exists(rule: Rule) -> None:
    owner: type = {"checkpoint": Checkpoint, "run": Run, "plan": Plan}[rule.scope]
    set_at_birth = owner.__init__.__code__.co_names  # type: ignore[misc]

    assert [need for need in rule.needs if not hasattr(owner, need) and need not in set_at_birth] == []


@every_rule
def test_what_blocks_a_resume_is_more_than_a_remark(rule: Rule) -> None:
    assert not (rule.blocks_resume and rule.severity is Severity.INFO)


@every_rule
def test_what_explains_it_is_another_rule(rule: Rule) -> None:
    assert rule.id not in rule.explained_by
    assert [cause for cause in rule.explained_by if cause not in RULES and cause != ANY] == []


@every_rule
def test_thresholds_can_be_written_in_a_configuration_file(rule: Rule) -> None:
    assert [name for name, value in rule.options.items() if not isinstance(value, bool | int | float | str)] == []


@every_rule
def test_it_is_a_generator_with_a_test_of_the_same_name(rule: Rule) -> None:
    family, name = rule.function.__module__.split(".")[1:]

    assert inspect.isgeneratorfunction(rule.function)
    assert (TESTS / family / f"test_{name}.py").is_file()


def test_every_test_of_a_rule_has_its_rule() -> None:
    tested = {f"{path.parent.name}/{path.stem.removeprefix('test_')}" for path in TESTS.glob("*/test_*.py")}

    assert tested - {id.replace("-", "_") for id in RULES} == set()


@pytest.mark.parametrize("family", sorted({rule.function.__module__.rpartition(".")[0] for rule in RULES.values()}))
def test_the_family_says_what_it_is_for(family: str) -> None:
    said = sys.modules[family].__doc__ or ""

    assert re.fullmatch(r"[A-Z`].{20,200}\.", said)
    assert "Rules of the family" not in said


def test_the_documentation_is_current(written: ModuleType) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "rules").glob("*.md")}
    made = written.pages()

    assert sorted(pages) == sorted(made), "run `tox run -e docs`"
    assert [name for name in made if pages[name] != made[name]] == [], "run `tox run -e docs`"


@every_rule
def test_it_stands_in_the_documentation_under_its_name(rule: Rule) -> None:
    page = (DOCS / "rules" / f"{rule.family}.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {rule.id.partition('/')[2]}\n")[2].partition("\n## ")[0]
    section = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", section)

    assert f"`{rule.id}` · **{rule.severity.value}**" in section, "run `tox run -e docs`"
    assert rule.title in section
    assert rule.remedy in section.replace("\n", " ")
    assert [name for name in rule.options if f"`{name} = " not in section] == []


def test_why_it_happens_is_linked_from_the_rule(written: ModuleType) -> None:
    reasons = written.reasons_of(
        "# Why\n\n## A file, gone\n\nNamed by [x](rules/files.md#missing-optimizer).\n\n## Other\n"
    )

    assert reasons == {"files/missing-optimizer": [("A file, gone", "../why.md#a-file-gone")]}
