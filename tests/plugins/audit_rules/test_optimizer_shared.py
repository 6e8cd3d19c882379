"""The tensors of an optimizer with what the scan found, in one file or in the parts of a sharded state."""

from typing import Any

import pytest

from audit.formats.optimizer import OptimizerState
from audit.formats.pickle_values import TensorRef
from audit.plugin import FileScan, Layout, NotApplicable, SpanScan
from audit_rules.optimizer._shared import moments, place_of

SQUARES = TensorRef("F32", (4,), (1,), "0", 0, 4)
QUIET = SpanScan(
    nonfinite=False, negative=False, all_zero=True, peak=0.0, zero_run=8, zero_run_at=0, crc=None, complete=True
)


def optimizer(state: dict[Any, dict[str, Any]], places: dict[str, Any] | None = None, **group: Any) -> OptimizerState:
    groups = [{"params": list(state), "lr": 1e-3, **group}]
    return OptimizerState("adam", groups, state, [], None, places or {})  # type: ignore[arg-type]


def scan(*spans: SpanScan, error: str | None = None) -> FileScan:
    return FileScan("", 9, 9, {f"data/{number}": span for number, span in enumerate(spans)}, error)


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        (Layout("adapter", optimizer="optimizer.pt"), "optimizer.pt"),
        (Layout("fsdp", sharded_optimizer=("optimizer_0/__0_0.distcp",)), "optimizer_0"),
        (Layout("fsdp", sharded_weights=("state/__0_0.distcp",)), "state"),  # one directory for both
        (Layout("fsdp", sharded_weights=("w/0.distcp",), sharded_optimizer=("o/0.distcp",)), "o"),
        (Layout("fsdp", sharded_weights=("__0_0.distcp",)), "__0_0.distcp"),
        (Layout("full"), None),
    ],
)
def test_the_place_of_an_optimizer_is_a_file_or_a_directory(layout: Layout, place: str | None) -> None:
    assert place_of(layout) == place


def test_a_tensor_in_one_file_has_the_scan_of_its_record() -> None:
    (found,) = moments(optimizer({0: {"exp_avg_sq": SQUARES}}), Layout("full", optimizer="o.pt"), {"o.pt": scan(QUIET)})

    assert found == (0, "exp_avg_sq", SQUARES, QUIET)


def test_a_tensor_in_several_parts_has_what_was_found_in_any_of_them() -> None:
    state = optimizer({"w": {"exp_avg_sq": SQUARES}}, {"0": (("a", "data/0"), ("b", "data/0"))})
    bad = QUIET._replace(nonfinite=True, negative=True, all_zero=False, peak=3.0)

    def found(*parts: SpanScan) -> list[SpanScan]:
        return [item.scan for item in moments(state, Layout("fsdp"), dict(zip("ab", map(scan, parts), strict=False)))]

    assert found(QUIET, QUIET) == [QUIET._replace(zero_run=0)]
    assert found(QUIET, bad) == found(bad, QUIET) == [bad._replace(zero_run=0)]
    assert found(QUIET, QUIET._replace(complete=False)) == []
    assert found(QUIET) == []  # the other part was not read


def test_where_nothing_was_read_there_is_nothing_to_judge() -> None:
    with pytest.raises(NotApplicable, match="could not be read completely"):
        moments(optimizer({0: {"exp_avg_sq": SQUARES}}), Layout("full", optimizer="o.pt"), {"o.pt": scan(error="torn")})
