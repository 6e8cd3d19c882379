"""The ``audit`` command. One file per subcommand: parse, call, print, exit."""

import gc
import sys
from collections.abc import Mapping, Sequence
from typing import Any

COMMANDS = {
    "verify": "check that the checkpoints of runs are sound and can be resumed from",
    "fleet": "audit all runs below directories or URLs, into tables; write a page of them",
    "report": "write one page with the curves and findings of runs",
    "rehearse": "restore a checkpoint of audit train in a scratch directory, train steps of it again, and compare",
    "guard": "print the newest checkpoint that is safe to resume from",
    "best": "print the checkpoint with the best value of a logged metric",
    "quarantine": "move broken checkpoints aside so that a trainer resumes from a good one, or move them back",
    "init": "write a first configuration of audit train, with every key explained",
    "plan": "show what audit train would do, what it needs, and whether it would work",
    "train": "train every data file in the inbox, each example once, and verify every checkpoint",
    "data": "show how the rows of a data file are read, and which part of them is trained on",
    "history": "list what audit train has trained: steps, examples and loss of each data file, files set aside",
    "watch": "show a run live: step, loss, learning rate, checkpoints, free disk space",
    "list": "list the checkpoints of a run: step, loss, size, date, and whether each can be resumed from",
    "show": "show one checkpoint in detail",
    "diff": "show what differs between two checkpoints, and by how much",
    "export": "export the log history and checkpoints of a run as JSON or CSV",
    "seal": "record checksums of sound checkpoints, in files that b3sum or sha256sum can check",
    "snapshot": "copy the newest checkpoint that passes every check to a dated directory, and verify the copy",
    "merge": "merge the LoRA adapter of a proven checkpoint into its base model, and prove the result",
    "prune": "remove old checkpoints, but never the newest that passes every check, or the best",
    "rules": "list the rules that checkpoints are checked by",
    "explain": "explain what a rule checks, why, and what to do",
    "backends": "list the trainers whose checkpoints can be read, and those that audit train can run",
    "demo": "train a tiny LoRA model offline, verify it, break it, and show what is found",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 or 2 as docs/contract.md says, 130 when interrupted."""
    # A short process that makes many values and hardly any garbage: looking for cycles would cost a tenth of its time.
    gc.disable()
    code = run(sys.argv[1:] if arguments is None else arguments)
    gc.freeze()  # nor is there anything to look for at its end
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    if tuple(arguments) in (("--version",), ("-V",)):  # what scripts ask for needs no parser
        from audit.version import __version__

        try:
            print(f"checkpoint-audit {__version__}", flush=True)
            return 0
        except (OSError, AttributeError):  # a closed pipe, a full disk, no stdout: the parser says so
            pass
    from audit.cli.parser import dispatch

    return dispatch(arguments, COMMANDS, _with_plugins)


def _with_plugins(own: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    from audit.cli.brought import with_plugins

    return with_plugins(own)
