"""Make a run of many checkpoints with long histories: ``python benchmarks/make_histories.py RUN [COUNT] [ENTRIES]``.

Every checkpoint holds the histories of the ones before it, as Trainer writes them: 200 checkpoints of 100 000 entries
are 3.4 GB of JSON. The other files are those of a run from ``audit.testing``.
"""

import json
import os
import sys

from audit.testing.runs import make_run


def entry(step: int) -> str:
    """One entry of log_history, as ``json.dumps(indent=2, sort_keys=True)`` lays it out inside the state."""
    return (
        f'    {{\n      "epoch": {step / 1000},\n      "grad_norm": {1 + step % 7 / 10},\n'
        f'      "learning_rate": 0.0001,\n      "loss": {2 + 100 / (step + 50) + step % 13 / 100},\n'
        f'      "step": {step}\n    }}'
    )


def main(run: str, count: int = 200, entries: int = 100_000) -> None:
    """Write the run."""
    first = entries - count + 1
    make_run(run, steps=tuple(range(first, entries + 1)), max_steps=entries, save_steps=1, schedule="constant")
    written = ",\n".join(entry(step) for step in range(1, entries + 1)).encode()
    end = 0
    for step in range(1, entries + 1):
        end += len(entry(step)) + 2
        if step < first:
            continue
        path = os.path.join(run, f"checkpoint-{step}", "trainer_state.json")
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        state["log_history"] = ["HERE"]
        head, tail = json.dumps(state, indent=2, sort_keys=True).split('    "HERE"')
        with open(path, "wb") as out:
            out.write(head.encode() + written[: end - 2] + tail.encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
