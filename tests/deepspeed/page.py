"""The page docs/sharded-deepspeed.md: what DeepSpeed makes of each damage, and what the audit does."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "sharded-deepspeed.md"
STAGES = (2, 3)

HEAD = """\
# DeepSpeed ZeRO: kinds of damage

What becomes of a damaged checkpoint of two ranks, by two judges: `load_checkpoint` of DeepSpeed 0.19.8, called as
Trainer calls it, and the audit. Written by the tests (`tox run -e deepspeed -- --update-faults`); each row is a test.

* **crashes**: a rank raises an exception. Usually the others wait for it until they are ended.
* **silent**: both ranks load it without a message, and the values are not those that were saved.
* **the same**: what was saved is loaded.

`refused`: the guard does not hand the checkpoint out.
"""

TAIL = """
Under ZeRO 3 nothing in a partition says which rank it belongs to: two exchanged files are told by the values of the
checkpoint before, or, of the only checkpoint of a run, by a seal. A model.safetensors that was cut is reported, but
does not refuse the checkpoint: a resume with DeepSpeed never reads it. A `partition_count` that does not fit is
refused, although DeepSpeed does not compare it: such a file is of another run. Settings of the optimizer in
which all ranks agree are compared with the schedule and with the checkpoint before; a difference is reported, but the
checkpoint is handed out.

## What is not judged

A mixture of experts (`layer_*_expert_*`, `expp_rank_*`), a pipeline (`layer_*-model_*`), tensor parallelism
(`mp_rank_01` and up) and universal checkpoints (`*_universal`) are recognised by their names. A checkpoint with one of
them is *not judged*: it is handed out, but nothing is proven of it, and `audit guard --strict` does not accept it.

## Looking at one

`audit show` names the stage, the tag, steps, processes, and how many parameters and elements the partitions hold.
`audit diff A B` puts the parameters together from the partitions, block by block, and compares them tensor by tensor,
also if the two were saved at other stages or by other numbers of processes. What is in no partition (buffers, and
frozen parameters under ZeRO 1 and 2) is taken from the model states; frozen parameters under ZeRO 3 are compared as
files only.

## Another number of processes

DeepSpeed does not load the partitions of ZeRO in another number of processes than saved them. `audit plan` and
`audit guard`, with `--processes N`, refuse it before the training is started; how other layouts take it is in
[the guard](guard.md#another-number-of-processes).
"""


class Row(NamedTuple):
    """One damage of one stage: ``deepspeed`` is what its loader did, ``rules`` found it, ``refused`` by the guard."""

    deepspeed: str
    rules: tuple[str, ...]
    refused: bool


def page(rows: Mapping[tuple[int, str], Row]) -> str:
    """The page as it should be."""
    text = HEAD
    for stage in STAGES:
        text += f"\n## ZeRO {stage}\n\n| damage | DeepSpeed | found by | guard |\n| --- | --- | --- | --- |\n"
        for (number, title), row in rows.items():
            if number == stage:
                found = ", ".join(map(linked, row.rules))
                text += f"| {title} | {row.deepspeed} | {found} | {'refused' if row.refused else ''} |\n"
    return text + TAIL


def linked(rule: str) -> str:
    """A rule's id, as a link to its section."""
    family, _, name = rule.partition("/")
    return f"[{rule}](rules/{family}.md#{name})"


def written() -> dict[tuple[int, str], Row]:
    """The rows that are in the page."""
    found: dict[tuple[int, str], Row] = {}
    stage = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## ZeRO ([0-9])", line):
            stage = int(heading[1])
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        if len(cells) == 4 and cells[0] not in ("damage", "---"):
            rules = tuple(re.findall(r"\[([^\]]+)\]", cells[2]))
            found[stage, cells[0]] = Row(cells[1], rules, cells[3] == "refused")
    return found
