"""The ``audit`` command. One file per subcommand: parse, call, print, exit."""

import gc
import sys
from collections.abc import Sequence

COMMANDS = {
    "verify": "judge runs: can their checkpoints be trusted?",
    "report": "one page with the curves and the findings, to look at",
    "guard": "what may be resumed from: the newest checkpoint that is really resumable",
    "seal": "take the digests of sound checkpoints, and write them for b3sum or sha256sum",
    "quarantine": "move broken checkpoints aside, so that a trainer finds the good one; and back",
    "train": "train every batch in the inbox through a backend: guarded, proven, every example once",
    "plan": "before any GPU hour: what audit train would do, whether it fits, and whether it would work",
    "snapshot": "copy the newest proven checkpoint to a dated directory, and verify the copy",
    "prune": "remove old checkpoints, and never the last proven one or the best",
    "list": "table of a run's checkpoints",
    "history": "the batches of a continuous training: steps, examples, losses, what was set aside",
    "show": "one checkpoint in detail",
    "best": "the checkpoint with the best value of a logged metric",
    "diff": "what is different between two checkpoints, and by how much",
    "export": "log history and checkpoints of a run as JSON or CSV",
    "rules": "all rules, one line each",
    "explain": "what a rule checks, why, and what to do",
    "backends": "the trainers there are, and what each can do",
    "demo": "train a tiny LoRA model offline, verify it, break it, show what is found",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 or 2 as docs/contract.md says, 130 when interrupted."""
    # A short process that makes many values and hardly any garbage: looking for cycles would cost a tenth of its time.
    gc.disable()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    from audit.cli.parser import dispatch

    return dispatch(arguments, COMMANDS)
