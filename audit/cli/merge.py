"""``audit merge RUN OUT``: a LoRA adapter into its base model, proven."""

import argparse
import sys
from typing import Any

from audit.backend.names import number_of
from audit.cli.documents import add_format, write_document
from audit.cli.options import LOCAL_RUN, add_shared, options_of
from audit.cli.parser import complain, one_line, write
from audit.cli.progress import Progress
from audit.cli.values import size
from audit.errors import RefusedError
from audit.manager import load
from audit.merging.plan import DTYPES
from audit.text import human_bytes

EXAMPLES = (
    ("audit merge current_model/ merged/ --base ~/models/base", "merge the newest proven checkpoint"),
    ("audit merge current_model/ merged/", "find the base by its name in the cache of the Hub"),
    ("audit merge current_model/ merged/ --checkpoint 300 --dtype bfloat16", "merge another one, written in bfloat16"),
    ("audit merge current_model/ merged/ --format json", "print the proof, which is in merged/merge.json, too"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help=LOCAL_RUN)
    parser.add_argument("out", metavar="OUT", help="directory of the merged model, which must not exist yet")
    parser.add_argument(
        "--checkpoint", type=_step, metavar="N", help="merge checkpoint-N (default: the newest proven one)"
    )
    parser.add_argument(
        "--base",
        metavar="DIR",
        help="directory of the base model, or its name in the cache of the Hub (default: the name in the adapter)",
    )
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="type of the merged weights (default: that of the base)")
    parser.add_argument(
        "--max-shard-size",
        type=size,
        metavar="SIZE",
        help="bytes of tensors in a file at most, such as 5GB (default: the files of the base)",
    )
    parser.add_argument(
        "--untie",
        action="store_true",
        help="if the adapter changes one of two tied tensors, the embedding or the output layer, write both",
    )
    add_format(parser)
    add_shared(parser, "merge")


def call(arguments: argparse.Namespace) -> int:
    """Merge, and print what was proven; 1 if it was refused, and then there is no OUT."""
    from audit.merging.merge import Choices, merge

    registry = load()
    options = options_of(arguments, registry)
    choices = Choices(arguments.checkpoint, arguments.base, arguments.dtype, arguments.max_shard_size, arguments.untie)
    quiet = arguments.quiet > 0
    try:
        with (
            Progress(arguments.run, quiet=quiet) as progress,
            Progress(arguments.out, quiet=quiet, doing="merging") as merging,
        ):

            def merged(count: int, total: int) -> None:
                progress.stop()
                merging.advance(count, total)

            found = merge(
                arguments.run,
                arguments.out,
                choices,
                options,
                registry=registry,
                progress=progress.advance,
                merging=merged,
            )
    except RefusedError as error:
        if arguments.format == "json":
            write_document({"run": arguments.run, "refusal": str(error), "path": None, "merge": None, "notes": []})
        complain("merge", error)
        return 1
    if arguments.format == "json":
        write_document({**found.document, "notes": found.notes})
    elif not quiet:
        write(_told(found.path, found.document["merge"]), None)
    for note in found.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    return 0


def _told(path: str, proof: Any) -> str:
    counts, base = proof["tensors"], proof["base"]
    size = human_bytes(sum(found["size"] for found in proof["files"].values()))
    rows = sum(item["rows_recomputed"] for item in proof["changed"])
    compared = (
        "its files are those that the ledger records"
        if base["sealed"]
        else f"as the ledger records it ({', '.join(base['identity'])})"
        if base["identity"]
        else "not compared: the ledger does not record it"
    )
    parts = [f"{counts['merged']} merged"]
    parts += [f"{counts[kind]} {kind}" for kind in ("replaced", "converted") if counts[kind]]
    return (
        f"merged  {proof['checkpoint']} into {path}  ({size}, proven)\n"
        f"  tensors  {', '.join(parts)}, {counts['copied']} the base's byte for byte\n"
        f"  proof    every byte read again; {rows} rows computed again in float64; merge.json\n"
        f"  base     {base['path']}: {compared}\n"
    )


def _step(text: str) -> int:
    step = number_of(text) if not text.isdigit() else int(text) if text.isascii() and len(text) < 19 else None
    if step is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a step like 300, or a name like checkpoint-300")
    return step
