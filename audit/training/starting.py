"""A first configuration of ``audit train`` as text: every key with its meaning beside it, the optional ones commented.

The core's keys are those of ``schemas/train.json``; the backend writes its own tables
(:class:`audit.backend.training.StartingBackend`), and so do plugins that hear of the training.
"""

import json
import re
import shlex
from collections.abc import Sequence

from audit.backend.training import TrainingBackend
from audit.errors import AuditError, ConfigError
from audit.hookspecs import Observer
from audit.text import escaped

COMMENT_AT = 44
"""Column of the comments: wide enough for most lines, so that they stand below one another."""

_CORE = """\
# Configuration of audit train, with the keys that most need; all others: docs/train.md, "All keys".
# A line that begins with "# " and a key shows its default or an example. Paths are relative to this file.
#
#   audit plan {name}     says what would be trained, and whether it would work
#   audit train {name}    trains every file in the inbox

run = {run}  # directory of the run: checkpoint-N/ are saved in it
# backend = "hf-trainer"  # the trainer; "command" starts any launcher
# seed = 42  # for the order of the data, dropout and new weights

[data]
inbox = {inbox}  # drop *.jsonl, *.json or *.parquet here, one file a batch
# done = "done"  # where trained files go
# rejected = "rejected"  # where files with a bad row and duplicates go
# after = "keep"  # move trained files to done; "delete": delete them
# epochs = 1  # how often each file is trained
# shuffle = false  # train rows in the order of the file
# pattern = ["*.jsonl"]  # names of data files
# format = "messages"  # the format of the rows, instead of detecting it
# max_length = 1024  # tokens of one example; the limit of the model if not set
# loss_on = "completion"  # train on the answers only; "all": on every token
# eval = "eval.jsonl"  # a file to evaluate on, with arguments.eval_strategy
# group = 1000  # train small files together until they have so many examples
# group-seconds = 300  # with --watch: how long the oldest of them waits
# replay = 0.1  # with each new file as many rows of earlier ones, as a share
"""
_REST = """\

[schedule]
# total_steps = 10000  # needed by cosine and linear: their end, over all files
# decay_steps = 500  # needed by warmup_stable_decay: steps of its decay

[guard]
# strict = true  # stop if the newest checkpoint is broken, instead of going back
# best = "eval_loss"  # keep the best checkpoint by data.eval, over all files
# exact = true  # stop if no checkpoint resumes bit for bit
# max-rollback = 500  # stop if going back would discard more steps than this
# rehearse = "resume"  # prove what a killed training resumes from by restoring it; or "daily"

[watch]
# settle-seconds = 2  # seconds without a change until a file is complete
# release-seconds = 30  # seconds without a file until a daemon lets the GPU go
# snapshots = "snapshots"  # directory for a daily copy of the newest checkpoint

# [retry]  # try a leg again that was killed or ran out of memory
# times = 2  # how often
# wait-seconds = 60  # before the first time; twice as long before each further one

# [notify]  # tell a program or an address what needs a person
# command = ["notify-send", "audit train"]  # gets the event as JSON on stdin
# url = "https://example.org/hook"  # gets it by POST
# events = ["refused", "error", "failed", "rejected", "disk-short", "day"]  # which
# timeout-seconds = 10  # how long one try may take
# tries = 4  # how often an event is tried

# [report]  # a page with the curves, written after each batch
# file = "report.html"  # open it in a browser: it shows what is new by itself

# [trackers]  # those of report_to in [arguments]: what the audit finds is logged there, too
# findings = false  # leave it off
# timeout-seconds = 30  # how long they may take for it; then no more is logged to them in this call

# [verify]  # how checkpoints are judged; audit.toml if not set
# fail-on = "warning"  # minimum severity that fails
"""


def starting_config(
    name: str,
    run: str,
    inbox: str,
    model: str,
    whole_model: bool,
    trainer: TrainingBackend,
    observers: Sequence[Observer] = (),
) -> str:
    """Return the text; ``name`` is that of the file. Raises AuditError if the backend has no first configuration.

    The tables of ``observers`` that have a ``starting_table`` come last, commented out as they write them.
    """
    asked = getattr(trainer, "starting_tables", None)
    if asked is None:
        raise AuditError(f"the backend {trainer.name} has no first configuration; write one as docs/backends.md shows")
    core = _CORE.format(name=escaped(shlex.quote(name)), run=toml_text(run), inbox=toml_text(inbox))
    tables = [item.starting_table() for item in observers if hasattr(item, "starting_table")]
    return aligned("\n".join([f"{core}\n{asked(toml_text(model), whole_model)}{_REST}", *tables]))


def toml_text(text: str) -> str:
    """Return a text as a string of TOML. Raises ConfigError if a file in UTF-8 cannot hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!a}: is not valid UTF-8, and a configuration cannot name it") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def aligned(text: str) -> str:
    """Put the comments behind keys below one another."""
    lines = []
    for line in text.splitlines():
        found = re.fullmatch(r"((?:# )?[\w-]+ = .*|# \[\w+\])  # (.*)", line)
        lines.append(f"{found[1].ljust(COMMENT_AT)}  # {found[2]}" if found else line)
    return "\n".join(lines) + "\n"
