"""The next leg of a configuration, asked for its word on what the guard hands out."""

import pytest

from audit.judging.decision import Limits
from audit.training.config import read_train_config
from audit.training.next_leg import NextLeg
from tests.audit.training.conftest import Shop, plan


def leg_of(shop: Shop, run: str | None = None) -> NextLeg:
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    return NextLeg(run or str(shop.run), config, trainer, shop.registry, None)


def test_what_a_rule_finds_in_the_plan_is_the_reason(changed: Shop) -> None:
    leg = leg_of(changed)

    reason = leg.veto(plan(changed).decision)

    assert reason is not None
    assert reason.endswith("(plan/adapter-changed)")


def test_a_plan_that_fits_is_no_reason(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.drop("b.jsonl", [3, 4])

    assert leg_of(shop).veto(plan(shop).decision) is None


def test_the_configuration_of_another_run_is_said(shop: Shop) -> None:
    assert leg_of(shop).lines == []
    (line,) = leg_of(shop, str(shop.home / "other")).lines
    assert line.endswith("this run is checked as if it were that one")


@pytest.mark.parametrize(
    ("table", "asked", "meant"),
    [
        ("", Limits(), Limits()),
        ("strict = true\nexact = true\nmax-rollback = 5", Limits(), Limits(True, 5, exact=True)),
        ("strict = false", Limits(strict=True, exact=True), Limits(strict=True, exact=True)),
        (
            "max-rollback = 5",
            Limits(max_rollback=0, lineage="checkpoint-1"),
            Limits(max_rollback=0, lineage="checkpoint-1"),
        ),
    ],
)
def test_the_limits_of_the_table_hold_where_the_command_line_has_none(
    shop: Shop, table: str, asked: Limits, meant: Limits
) -> None:
    config = shop.home / "train.toml"
    config.write_text(f"{config.read_text()}\n[guard]\n{table}\n")

    assert leg_of(shop).limits(asked) == meant
