"""Write rows into the ledger of a run: those of ``audit train``, and rows of any shape."""

from typing import Any, NamedTuple

from audit.ledger.store import Ledger, open_ledger


def tell(run: str, *events: dict[str, Any]) -> str:
    """Append batch rows; return the run."""
    append(run, *(("batch", content) for content in events))
    return run


def append(run: str, *rows: tuple[str, dict[str, Any]]) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    for kind, content in rows:
        append_any(ledger, kind, content)
    ledger.close()


class AnyRow(NamedTuple):
    """A row of any shape, as a newer version may write it, or somebody who means harm."""

    kind: str
    content: dict[str, Any]

    def row(self) -> tuple[str, dict[str, Any]]:
        return self.kind, self.content


def append_any(ledger: Ledger, kind: str, content: dict[str, Any]) -> None:
    ledger.append(AnyRow(kind, content))  # type: ignore[arg-type]


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
