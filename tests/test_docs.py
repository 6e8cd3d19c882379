"""The documents keep up with the program."""

import argparse
import json
import re
import tomllib
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import yaml

import audit
from audit.cli import COMMANDS, verify
from audit.cli.brought import with_plugins
from audit.config import read
from audit.manager import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
WRITTEN = {"api.md"}  # from docstrings
HAND_WRITTEN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in WRITTEN),
]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
PRESENT = CONTRACT.partition("## Agreed for later releases")[0]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_contract_names_every_command_and_no_other() -> None:
    rows = PRESENT.partition("## Commands")[2].partition("\n## ")[0]

    assert set(re.findall(r"`audit ([a-z]+)", "".join(re.findall(r"^\| (`audit .*?) \|", rows, re.MULTILINE)))) == set(
        with_plugins(COMMANDS)[0]
    )


def test_the_contract_names_every_option_of_verify_and_no_other() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    verify.configure(parser)
    longest = {action.option_strings[-1] for action in parser._actions if action.option_strings}
    table = PRESENT.partition("| option of `verify` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`-.*?) \| ", table, re.MULTILINE)
    shorts = {"-o": "--output", "-q": "--quiet", "-v": "--verbose"}

    assert {shorts.get(name, name) for name in re.findall(r"`(-[-a-z]+)", " ".join(rows))} == longest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _, fragment = target.partition("#")
        if "://" in target:
            continue
        there = (document.parent / path) if path else document
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE) if there.is_file() else []
        if not there.is_file() or (fragment and fragment not in map(anchor, headings)):
            dead.append(target)

    assert dead == []


def test_the_glossary_of_the_readme_is_short_and_says_what_the_page_of_words_says() -> None:
    def meanings(text: str) -> dict[str, str]:
        return dict(re.findall(r"^\| (\w[\w ]*) \| (.*) \|$", text, re.MULTILINE))

    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Eight words\n")[2].partition("\n## ")[0]
    glossary = {word: text for word, text in meanings(readme).items() if word != "word"}
    words = meanings((ROOT / "docs" / "words.md").read_text(encoding="utf-8"))

    assert 0 < len(glossary) <= 8
    assert {word: words.get(word) for word in glossary} == glossary


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_output_is_still_to_be_filled_in(document: Path) -> None:
    assert "<!-- output" not in document.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without what cannot be wrapped: blocks of code, tables, headings, HTML, and a line that is one link."""
    kept = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ *(\||#|<|(?:[-*] )?\[[^\]]*\]\([^)]*\)[.:,]?$).*$", "", kept, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "document",
    [*HAND_WRITTEN, ROOT / "docs" / "api.md", *sorted((ROOT / "docs" / "rules").glob("*.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_line_of_prose_is_longer_than_120_columns(document: Path) -> None:
    lines = prose(document.read_text(encoding="utf-8")).splitlines()

    assert [line for line in lines if len(line) > 120] == []


def test_prose_is_what_can_be_wrapped() -> None:
    long = "word " * 30
    fences = f"```console\n$ {long}\n```\n"

    assert prose(f"{fences}| {long} |\n# {long}\n<p>{long}</p>\n[{long}](a.md).\n{fences}").strip() == ""
    assert prose(f"{fences}{long}\n* [a link](a.md) and {long}\n{fences}").count(long) == 2


# -- the site ----------------------------------------------------------------------------------------------------------


def pages_of(nav: Any) -> list[str]:
    """The pages of a part of the navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


def test_every_page_stands_in_the_navigation_once_and_no_other_does() -> None:
    # Not yaml.load: a tag of mkdocs.yml may name code.
    nav = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    outside = {"contributing.md", "security.md", "changelog.md", "benchmarks.md"}  # docs/site_hooks.py adds these

    assert len(nav) == len(set(nav))
    assert set(nav) - outside == pages, "a page of docs/ needs a line under `nav` in mkdocs.yml"


def test_nothing_of_the_site_comes_from_elsewhere() -> None:
    styles = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "css").glob("*.css"))
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    assert "url(" not in styles
    assert "@import" not in styles
    assert "highlightjs: false" in site
    assert "://" not in site


# -- reference ---------------------------------------------------------------------------------------------------------


def script(name: str) -> Any:
    """A script of docs/, which is no package."""
    spec = util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_python_api_is_current() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    assert page == script("write_api").page(), "run `tox run -e docs`"
    assert [name for name in audit.__all__ if f"### audit.{name}\n" not in page] == []


def test_the_manual_page_is_current_and_names_every_command() -> None:
    page = (ROOT / "docs" / "audit.1").read_text(encoding="utf-8")

    assert page == script("write_man").page(), "run `tox run -e docs`"
    assert re.findall(r"^\.SS \\fBaudit (\S+)\\fR", page, re.MULTILINE) == list(with_plugins(COMMANDS)[0])
    assert "{names}" not in page


def test_the_contract_names_the_formats_that_are_registered_and_no_other() -> None:
    section = CONTRACT.partition("## Formats")[2].partition("\n## ")[0]

    assert script("write_formats").page(CONTRACT) == CONTRACT, "run `tox run -e docs`"
    assert re.findall(r"^\| `([a-z]+)` \|", section, re.MULTILINE) == list(load().reporters)


def test_every_key_of_the_configuration_stands_on_its_page_and_no_other() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = page.partition("## Keys")[2].partition("\n## ")[0]
    schema = json.loads((ROOT / "audit" / "schemas" / "config.json").read_text(encoding="utf-8"))

    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(schema["properties"])


def test_the_configurations_on_the_page_are_taken_and_say_the_same(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = []
    for name, text in re.findall(r"^```toml (\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
        found.append(read(str(tmp_path / name), load()))

    accepting, first, second = found
    assert first == second != audit.Options()
    assert [item.rule for item in accepting.accept] == ["learning-rate/rose-again"]


def test_a_typo_in_the_configuration_is_refused_as_on_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    text, message = re.findall(r"^\$ cat audit.toml\n(.*?)\$ .*?\n(.*?)\n", page, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "audit.toml").write_text(text)
    assert tomllib.loads(text)

    with pytest.raises(audit.AuditError) as refused:
        read(str(tmp_path / "audit.toml"), load())

    assert f"audit verify: {refused.value}".replace(str(tmp_path), "/home/me/project") == message


def test_every_schema_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    assert set(re.findall(r"^\| \[(\S+)\]", page, re.MULTILINE)) == {
        path.name for path in (ROOT / "audit" / "schemas").glob("*.json")
    }
    exec(compile(example, "docs/schemas.md", "exec"), {})
