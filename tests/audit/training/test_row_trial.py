"""Rows that a leg would refuse before its first step are refused in the plan, by what the leg itself uses."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import BadData, LegData, LegRequest, LegResult, Tell
from audit.errors import ConfigError
from audit.training import row_trial
from tests.audit.training.conftest import Shop, plan
from tests.audit.training.toy import POISON, Toy

Make = Callable[..., Shop]
Rows = Iterable[tuple[int, Mapping[str, Any], str]]
NOT_OURS = 10**5
"""An example that speaks against the configuration."""


class Trying(Toy):
    """Refuses the same rows in a trial and in a leg; ``files`` are those that were tried."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[str, int]] = []

    def row_trial(self, settings: Mapping[str, Any]) -> Callable[[Rows, LegData], str | None]:
        return self._tried

    def _tried(self, rows: Rows, data: LegData) -> str | None:
        number = 0
        for number, row, _ in rows:
            if row["input_ids"][0] == NOT_OURS:
                raise ConfigError("toy: such rows need another toy")
            if row["input_ids"][0] == POISON:
                raise BadData(data.path, number, "is poison")
        self.files.append((Path(data.path).name, number))
        return None

    def train(self, request: LegRequest, tell: Tell) -> LegResult:
        from audit.data.rows import checked_rows

        self._tried(checked_rows(request.data.path), request.data)
        if "eval" in request.data.options:
            try:
                held_out = request.data._replace(path=request.data.options["eval"])
                self._tried(checked_rows(held_out.path), held_out)
            except BadData as error:
                raise ConfigError(f"data.eval: {error}") from error
        return super().train(request, tell)


@pytest.fixture
def trying(make_shop: Make) -> Shop:
    return make_shop(backend=Trying())


def test_a_file_with_a_bad_row_would_be_set_aside_and_what_follows_is_planned_without_it(trying: Shop) -> None:
    trying.drop("a.jsonl", [1, 2, 3])
    trying.drop("b.jsonl", [4, POISON])
    trying.drop("c.jsonl", [5, 6])

    forecast = plan(trying)

    assert [(item.file, item.event, item.reason) for item in forecast.aside] == [
        ("b.jsonl", "rejected", "row 2: is poison")
    ]
    planned = [(leg.work.file.name, leg.work.request.first_step, leg.work.request.last_step) for leg in forecast.legs]
    assert planned == [("a.jsonl", 0, 2), ("c.jsonl", 2, 3)]
    assert [leg.tried for leg in forecast.legs] == [3, 2]
    assert trying.names("inbox") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert trying.train() == 1
    assert [(event["file"], event["reason"]) for event in trying.said("rejected")] == [("b.jsonl", "row 2: is poison")]
    assert [(event["file"], event["first_step"], event["last_step"]) for event in trying.said("finished")] == planned


def test_a_configuration_that_does_not_go_with_the_rows_is_the_refusal(trying: Shop) -> None:
    trying.drop("a.jsonl", [1, 2])
    trying.drop("b.jsonl", [NOT_OURS])

    forecast = plan(trying)

    assert forecast.refusal == "toy: such rows need another toy (b.jsonl)"
    assert [(leg.work.file.name, leg.tried) for leg in forecast.legs] == [("a.jsonl", 2), ("b.jsonl", None)]
    with pytest.raises(ConfigError, match="such rows need another toy"):
        trying.train()


def test_of_several_files_that_are_trained_as_one_the_one_with_the_bad_row_is_named(make_shop: Make) -> None:
    shop = make_shop(data="group = 4", backend=Trying())
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, POISON])
    shop.drop("c.jsonl", [5, 6])

    forecast = plan(shop)

    assert [(item.file, item.reason) for item in forecast.aside] == [("b.jsonl", "row 2: is poison")]
    assert [(leg.work.file.name, leg.tried) for leg in forecast.legs] == [("a.jsonl and 1 more", 4)]
    assert shop.train() == 1
    assert [event["file"] for event in shop.said("rejected")] == ["b.jsonl"]


def test_a_bad_row_of_a_batch_that_was_begun_is_a_refusal(make_shop: Make) -> None:
    shop = make_shop(backend=Trying())
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    shop.train()
    shop.backend._tried = _poisoned  # type: ignore[attr-defined]

    forecast = plan(shop)

    assert forecast.refusal == "a.jsonl: row 3: is poison"
    assert forecast.aside == ()


def _poisoned(rows: Rows, data: LegData) -> None:
    raise BadData(data.path, 3, "is poison")


def test_the_held_out_file_is_read_once_and_a_bad_row_of_it_is_the_fault_of_the_configuration(make_shop: Make) -> None:
    backend = Trying()
    backend.evaluates = True
    shop = make_shop(data='eval = "held-out.jsonl"', backend=backend)
    held_out = shop.home / "held-out.jsonl"
    held_out.write_text(json.dumps({"input_ids": [7, 7]}) + "\n")
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])

    assert plan(shop).works
    assert backend.files == [("a.jsonl", 2), ("held-out.jsonl", 1), ("b.jsonl", 2)]

    held_out.write_text(json.dumps({"input_ids": [POISON, POISON]}) + "\n")
    assert plan(shop).refusal == f"data.eval: {held_out}:1: is poison"
    with pytest.raises(ConfigError, match=r"held-out\.jsonl:1: is poison"):
        shop.train()


def test_of_a_long_file_the_first_rows_are_tried_and_it_is_said_how_many(
    trying: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_trial, "MOST_ROWS", 3)
    trying.drop("a.jsonl", [1, 2, 3, POISON])

    forecast = plan(trying)

    assert [leg.tried for leg in forecast.legs] == [3]
    assert any("only the first 3 of its 4 rows" in note for note in forecast.notes)
    assert forecast.works
    monkeypatch.setattr(row_trial, "MOST_BYTES", 1)
    assert [leg.tried for leg in plan(trying).legs] == [1]


def test_of_many_files_the_later_ones_have_a_few_rows_tried(trying: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_trial, "MOST_IN_ALL", 5)
    monkeypatch.setattr(row_trial, "FEWEST", 1)
    for number in range(3):
        trying.drop(f"{number}.jsonl", list(range(number * 9, number * 9 + 4)))

    assert [leg.tried for leg in plan(trying).legs] == [4, 1, 1]


def test_a_link_where_a_checkpoint_would_be_saved_is_in_the_plan(trying: Shop) -> None:
    trying.drop("a.jsonl", [1, 2])
    trying.train()
    trying.drop("b.jsonl", [3, 4])
    (trying.run / "tmp-checkpoint-2").symlink_to(trying.home)

    assert "tmp-checkpoint-2: is a link" in (plan(trying).refusal or "")


def test_a_backend_that_offers_no_trial_has_none(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])

    assert [leg.tried for leg in plan(shop).legs] == [None]
