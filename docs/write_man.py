"""Write the manual page docs/audit.1 from the parser, which also makes ``--help``: `tox run -e docs`."""

import os
import re
from pathlib import Path

PAGE = Path(__file__).parent / "audit.1"


def page() -> str:
    """Return the page as it should be: every command with its arguments."""
    from argparse_manpage.manpage import Manpage

    from audit.cli import COMMANDS
    from audit.cli.brought import with_plugins
    from audit.cli.parser import build
    from audit.cli.registered import fill_in
    from audit.version import __version__

    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "10000"  # troff breaks lines
    try:
        named, modules = with_plugins(COMMANDS)
        parser = build(named, named, modules)
        commands = next(action.choices for action in parser._actions if action.dest == "command")  # noqa: SLF001
        for known in (parser, *dict(commands or {}).values()):
            fill_in(known)
        about = {
            "project_name": "checkpoint-audit",
            "version": __version__,
            "description": "check whether the checkpoints of a training run can be trusted",
            "manual_section": 1,
            "manual_title": "User Commands",
        }
        text = str(Manpage(parser, format="single-commands-section", _data=about))
    finally:
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width
    return re.sub(r'^(\.TH AUDIT "1") "[^"]*"', r'\1 ""', text.rstrip() + "\n")  # no date: the version says enough


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
