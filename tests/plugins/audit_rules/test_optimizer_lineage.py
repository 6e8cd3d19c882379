"""Whether the state of an optimizer goes on from that of the checkpoint before, of a sharded one part by part."""

from types import SimpleNamespace
from typing import Any

import pytest

from audit.formats.optimizer import OptimizerState
from audit.formats.pickle_values import TensorRef
from audit.plugin import Checkpoint
from audit_rules.optimizer._lineage import against_previous

SQUARES = TensorRef("F32", (4,), (1,), "0", 0, 4)


def optimizer(state: dict[Any, dict[str, Any]], places: dict[str, Any] | None = None, **group: Any) -> OptimizerState:
    groups = [{"params": list(state), "lr": 1e-3, **group}]
    return OptimizerState("adam", groups, state, [], None, places or {})  # type: ignore[arg-type]


SHARDED = {"0": (("a", "data/0"),)}
BOTH = {"w": {"exp_avg": SQUARES, "exp_avg_sq": SQUARES}}


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (optimizer(BOTH, SHARDED, eps=1e-8), None),
        (optimizer({"w": {"exp_avg": SQUARES}}, SHARDED, eps=1e-8), "has no exp_avg_sq for parameter w"),
        (optimizer({"w": {**BOTH["w"], "max": SQUARES}}, SHARDED, eps=1e-8), None),
        (optimizer(BOTH, SHARDED), "has no eps in group 0"),
        (optimizer(BOTH, SHARDED, eps=1e-8, more=1), None),
        (optimizer({"w": {"exp_avg": SQUARES}}), None),  # of one file torch takes it
    ],
)
def test_a_sharded_state_that_lacks_a_part_of_the_one_before_is_found(now: OptimizerState, says: str | None) -> None:
    facts = {"optimizer": optimizer(BOTH, SHARDED, eps=1e-8)}
    previous = SimpleNamespace(name="checkpoint-1", optional=facts.get)
    checkpoint: Checkpoint = SimpleNamespace(optional={"previous": previous}.get)  # type: ignore[assignment]

    found = list(against_previous(checkpoint, now))

    assert found == ([] if says is None else [f"{says}, but checkpoint-1 has"])
