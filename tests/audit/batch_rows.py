"""Write batch rows into the ledger of a run, as ``audit train`` does."""

from typing import Any

from audit.ledger.store import open_ledger


def tell(run: str, *events: dict[str, Any]) -> str:
    """Append batch rows; return the run."""
    append(run, *(("batch", content) for content in events))
    return run


def append(run: str, *rows: tuple[str, dict[str, Any]]) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    for kind, content in rows:
        ledger.append(kind, content)
    ledger.close()


def event(name: str, batch: str, **content: Any) -> dict[str, Any]:
    return {"event": name, "batch": f"digest of {batch}", "file": f"{batch}.jsonl", **content}


def leg(
    batch: str, first: int, last: int | None, epochs: int = 1, per_step: int | None = 4, done: int = 0
) -> dict[str, Any]:
    """The beginning of a leg; ``done`` examples of the batch were trained before."""
    examples = done + (last - first) * per_step if last is not None and per_step is not None else None
    return event(
        "leg",
        batch,
        first_step=first,
        last_step=last,
        first_example=done,
        examples=examples,
        examples_per_step=per_step,
        epochs=epochs,
    )


def finished(batch: str, first: int, last: int, **content: Any) -> dict[str, Any]:
    return event("finished", batch, first_step=first, last_step=last, checkpoint=f"checkpoint-{last}", **content)
