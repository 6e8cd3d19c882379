import ast
import builtins
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import audit.plugin
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan
from audit.facts.run import Run

SOURCE = Path(audit.plugin.__file__).read_text(encoding="utf-8")
NAMES = sorted(audit.plugin.__all__)


def seen_by_a_type_checker() -> dict[str, tuple[str, str]]:
    """Return each name with its module and its name there, as the imports under ``if TYPE_CHECKING`` have them."""
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If) and len(node.body) > 10]
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def names_in(annotation: str) -> set[str]:
    """Return the types of this project that an annotation names."""
    tree = ast.parse(annotation.strip("'\""), mode="eval")
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name for name in found if not hasattr(builtins, name)} - {"Any", "Mapping"}


def facts() -> set[tuple[str, str]]:
    """Return every fact that a rule may ask for, with the annotation of what it returns."""
    found = set()
    for owner in (Checkpoint, Run, Plan):
        tree = ast.parse(Path(str(sys.modules[owner.__module__].__file__)).read_text(encoding="utf-8"))
        (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner.__name__]
        for node in body:
            if (
                isinstance(node, ast.FunctionDef)
                and not node.name.startswith("_")
                and node.decorator_list
                and node.returns
            ):
                found.add((f"{owner.__name__}.{node.name}", ast.unparse(node.returns)))
    return found


def test_no_name_is_there_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_type_checker_sees_what_a_program_gets() -> None:
    assert seen_by_a_type_checker() == audit.plugin._FROM
    assert sorted(audit.plugin._FROM) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_what_its_home_defines(name: str) -> None:
    module, attribute = seen_by_a_type_checker()[name]

    assert getattr(audit.plugin, name) is getattr(import_module(module), attribute)


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'audit\.plugin' has no attribute 'Checkpiont'"):
        audit.plugin.Checkpiont  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, audit.plugin; print(sorted(name for name in sys.modules if name.startswith('audit')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['audit', 'audit.plugin', 'audit.version']"


@pytest.mark.parametrize(("fact", "annotation"), sorted(facts()))
def test_the_type_of_every_fact_can_be_imported(fact: str, annotation: str) -> None:
    assert names_in(annotation) - set(NAMES) == set(), fact


def test_a_deprecated_name_works_and_names_its_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.plugin.DEPRECATED, "Save", "Checkpoint")

    with pytest.warns(
        DeprecationWarning, match=r"^audit\.plugin\.Save is deprecated; use audit\.plugin\.Checkpoint$"
    ) as told:
        from audit.plugin import Save  # type: ignore[attr-defined]

    assert Save is Checkpoint
    assert told[0].filename == __file__
    assert "Save" not in dir(audit.plugin)


def test_a_deprecated_name_warns_every_plugin_that_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.plugin.DEPRECATED, "Save", "Checkpoint")

    for _ in range(2):
        with pytest.warns(DeprecationWarning, match="Save"):
            audit.plugin.Save  # type: ignore[attr-defined]  # noqa: B018


def test_the_table_of_deprecated_names_leads_to_names_that_are_there() -> None:
    assert set(audit.plugin.DEPRECATED.values()) <= set(NAMES)
    assert not set(audit.plugin.DEPRECATED) & set(NAMES)


def test_names_that_are_not_deprecated_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            getattr(audit.plugin, name)
