from hypothesis import given
from hypothesis import strategies as st

from audit.facts.series import Point, series, tail
from audit.formats.history import Entry, History


def test_only_numbers_with_a_step_are_in_a_series() -> None:
    entries: list[dict[str, object]] = [
        {"loss": 2, "step": 1},
        {"loss": "1.5", "step": 2},
        {"loss": True, "step": 3},
        {"eval_loss": 1.0, "step": 4},
        {"loss": 1.5},
        {"loss": 1.25, "step": 5},
    ]

    assert series(entries, "loss") == [Point(1, 2.0), Point(5, 1.25)]


def test_an_integer_beyond_any_float_is_infinite() -> None:
    assert series([{"loss": 10**400, "step": 1}], "loss") == [Point(1, float("inf"))]


def test_the_tail_reaches_into_earlier_histories() -> None:
    def entries(*steps: int) -> list[dict[str, float]]:
        return [{"loss": float(step), "step": step} for step in steps]

    history = History([{"eval_loss": 1.0, "step": 5}, *entries(6)], History(entries(4, 5), History(entries(1, 2, 3))))

    assert [point.step for point in tail(history, "loss", 4)] == [3, 4, 5, 6]
    assert [point.step for point in tail(history, "loss", 9)] == [1, 2, 3, 4, 5, 6]


@given(
    st.lists(st.lists(st.sampled_from([{"step": 1, "loss": 2.0}, {"step": 2}, {"loss": 3}]), max_size=3), min_size=1)
)
def test_the_series_of_a_history_is_that_of_its_entries_whichever_is_asked_first(parts: list[list[Entry]]) -> None:
    history: History | None = None
    chain = [history := History(own, history) for own in parts]
    for link in (chain[len(chain) // 2], chain[-1], *chain):
        assert series(link, "loss") == series(list(link), "loss")
