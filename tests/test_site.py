"""The site shows what GitHub shows, although Python-Markdown reads some things differently: `tox run -e site`."""

import re
from collections import Counter
from html.parser import HTMLParser
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="the group site is not installed")
ROOT = Path(__file__).parents[1]
PAGES = {
    **{path.relative_to(ROOT / "docs").with_suffix(".html"): path for path in (ROOT / "docs").rglob("*.md")},
    Path("contributing.html"): ROOT / "CONTRIBUTING.md",
    Path("security.html"): ROOT / "SECURITY.md",
    Path("changelog.html"): ROOT / "CHANGELOG.md",
    Path("benchmarks.html"): ROOT / "benchmarks" / "README.md",
}


class Shown(HTMLParser):
    """What a page is made of: how many of each element, and the text of code within sentences."""

    COUNTED = frozenset(
        ["h1", "h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "td", "pre", "blockquote", "strong", "em", "a", "img"]
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.code: list[str] = []
        self.depth = 0
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if "headerlink" in (dict(attributes).get("class") or ""):
            return
        self.elements[tag] += tag in self.COUNTED
        self.depth += tag == "pre"
        if tag == "code" and not self.depth:
            self.inside = True
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "pre"
        self.inside = self.inside and tag != "code"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.code[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; a warning of mkdocs is an error here."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    place = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(place))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return place


def body(page: str) -> str:
    found = re.search(r'role="main">(.*?)<footer', page, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", PAGES, ids=str)
def test_a_page_shows_what_github_shows(site: Path, name: Path) -> None:
    from markdown_it import MarkdownIt

    expected = Shown(MarkdownIt("commonmark").enable("table").render(PAGES[name].read_text(encoding="utf-8")))

    shown = Shown(body((site / name).read_text(encoding="utf-8")))

    assert +shown.elements == +expected.elements
    assert shown.code == expected.code


@pytest.mark.parametrize("name", PAGES, ids=str)
def test_a_page_loads_nothing_from_elsewhere(site: Path, name: Path) -> None:
    page = (site / name).read_text(encoding="utf-8")

    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', page) == []


def test_the_anchor_of_a_rule_is_its_name(site: Path) -> None:
    page = (site / "rules" / "files.html").read_text(encoding="utf-8")

    assert '<h2 id="missing-optimizer">' in page


def test_what_lies_outside_of_the_pages_is_there(site: Path) -> None:
    page = (site / "schemas.html").read_text(encoding="utf-8")

    assert 'href="schemas/report-1.json"' in page
    assert (site / "schemas" / "report-1.json").read_bytes() == (ROOT / "audit/schemas/report-1.json").read_bytes()
    assert 'href="benchmarks.html#' in (site / "trainer.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("Two things:\n* one\n  and more\n* two", "Two things:\n\n* one\n  and more\n* two"),
        ("```sh\nls\n* no list\n```", "```sh\nls\n* no list\n```"),
        ("```python audit_team.py\n```", "```python\n```"),
        ("| `a\\|b` | c \\| d |", "| `a|b` | c \\| d |"),
        ("[x](../CONTRIBUTING.md#add-a-rule)", "[x](contributing.md#add-a-rule)"),
        ("[x](rules/files.md) [y](#here) [z](https://a.org/b)", "[x](rules/files.md) [y](#here) [z](https://a.org/b)"),
    ],
)
def test_what_github_reads_otherwise_is_rewritten(written: str, given: str) -> None:
    spec = util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = util.module_from_spec(spec)
    spec.loader.exec_module(hooks)

    assert hooks.on_page_markdown(written, page=SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))) == given
