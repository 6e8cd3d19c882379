"""JSON for programs: the option ``--format json``, and the one document on stdout that each command prints with it.

A document is complete or not there: what could not be done is a line on stderr and exit code 2, as without the option.
A refusal (exit code 1) is a part of the document. ``audit/schemas/`` describes each; docs/schemas.md lists them.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from audit.cli.parser import write
from audit.text import plain

SCHEMA_VERSION = 1


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format console|json``."""
    parser.add_argument(
        "--format",
        choices=("console", "json"),
        default="console",
        help="console: text for people (default); json: for scripts",
    )


def write_document(fields: Mapping[str, Any], *, as_is: bool = False) -> None:
    """Print one JSON object, with ``schema_version`` first.

    Values of audited files pass through :func:`audit.text.plain`; ``as_is`` is for text that has to be whole.
    """
    document = {"schema_version": SCHEMA_VERSION, **fields}
    write(json.dumps(document if as_is else plain(document), indent=2, allow_nan=False) + "\n", None)
