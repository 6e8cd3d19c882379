"""Write the table of formats in docs/contract.md from the docstrings of the reporters: `tox run -e docs`."""

from importlib import import_module
from pathlib import Path

from audit.reporters.plugin import FORMATS

PAGE = Path(__file__).parent / "contract.md"
BEGIN, END = "<!-- formats: written by tox run -e docs -->\n", "<!-- end of formats -->\n"


def page(text: str) -> str:
    """Return the page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{_table()}\n{END}{after}"


def _table() -> str:
    rows = [f"| `{name}` | {_title(name)} |\n" for name in FORMATS]
    return "".join(["| format | is |\n", "| --- | --- |\n", *rows])


def _title(name: str) -> str:
    document = import_module(f"audit.reporters.{name}").__doc__ or ""
    return document.splitlines()[0].rstrip(".").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
