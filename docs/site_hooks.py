"""What mkdocs does beside rendering the pages: they are written for GitHub too, and some lie outside of this folder."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    **{f"audit/schemas/{path.name}": f"schemas/{path.name}" for path in (ROOT / "audit" / "schemas").glob("*.json")},
}
"""Files of the project that the site shows, by the path that they have there."""
DARK = '[data-bs-theme="dark"] .codehilite'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them, so that one link fits both."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside of this folder, and the colours of code."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, "css/code.css", content=_colours()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn what GitHub reads otherwise than Python-Markdown into what both read alike."""
    source = next((path for path, name in OUTSIDE.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    lines, fenced, before = [], False, ""
    for line in markdown.split("\n"):
        fenced ^= line.startswith("```")
        if fenced or line.startswith("```"):
            line = re.sub(r"^```(\w+) \S+$", r"```\1", line)  # ```python file.py
        else:
            line = re.sub(r"\]\(([^)\s:]+)\)", lambda found: f"]({_inside(found[1], source)})", line)
            if line.startswith("|"):
                line = re.sub(r"`[^`]*`", lambda found: found[0].replace("\\|", "|"), line)
            if _item(line) and before.strip() and not _item(before) and not before.startswith(" "):
                lines.append("")  # a list needs no blank line before it on GitHub
        lines.append(line)
        before = line
    return "\n".join(lines)


def slug(heading: str, separator: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def _item(line: str) -> bool:
    return re.match(r"(\* |- |1\. )", line) is not None


def _inside(target: str, source: str) -> str:
    """Return where a link of the project leads within the site."""
    path, mark, fragment = target.partition("#")
    if not path:
        return target
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    here = posixpath.dirname(OUTSIDE.get(source, source.removeprefix("docs/"))) or "."
    there = OUTSIDE.get(meant, meant.removeprefix("docs/"))
    return posixpath.relpath(there, here) + mark + fragment


def _colours() -> str:
    light = HtmlFormatter(style="default", nobackground=True).get_style_defs(".codehilite")
    return f"{light}\n{HtmlFormatter(style='github-dark', nobackground=True).get_style_defs(DARK)}\n"
