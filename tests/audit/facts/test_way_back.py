"""How far the weights went back, on made-up ones."""

from pathlib import Path
from struct import pack

import pytest

from audit.facts.run import open_run
from audit.manager import load
from audit.scan import differences
from audit.testing.runs import edit_tensors, make_run
from audit.testing.torch_files import FakeTensor


def way(path: Path, *values: float, full: bool = True, only: str = "") -> float | None:
    """The way back over the last two of some checkpoints, whose weights are all one number each."""
    steps = [100 * (place + 1) for place in range(len(values))]
    run = make_run(path, steps=steps, full=full)
    for step, value in zip(steps, values, strict=True):

        def fill(tensors: dict[str, FakeTensor], value: float = value) -> None:
            for name, tensor in tensors.items():
                if only in name:
                    count = len(tensor.data) // 4
                    tensors[name] = tensor._replace(data=pack(f"<{count}f", *[value] * count))

        edit_tensors(path / f"checkpoint-{step}" / f"{'model' if full else 'adapter_model'}.safetensors", fill)
    opened = open_run(run, load().backends)
    first, *_, before, after = [opened.checkpoints[0], *opened.checkpoints]
    return opened.way_back(first, before, after)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 3.0, 3.5), -0.25),  # went on
        ((1.0, 3.0, 1.0), 1.0),  # began again
        ((1.0, 3.0, 2.0), 0.5),
    ],
)
def test_the_way_is_a_share_of_the_whole_one(tmp_path: Path, values: tuple[float, ...], expected: float) -> None:
    assert way(tmp_path / "run", *values) == pytest.approx(expected)


def test_of_a_single_checkpoint_before_only_an_adapter_tells(tmp_path: Path) -> None:
    assert way(tmp_path / "full", 3.0, 1.0) is None
    assert way(tmp_path / "lora", 2.0, 0.5, full=False, only="lora_B") == pytest.approx(0.75)


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    assert way(tmp_path / "run", 1.0, float("nan"), 2.0) is None


def test_of_each_checkpoint_little_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.facts.way_back.ELEMENTS", 16)
    monkeypatch.setattr("audit.facts.way_back.LEAST", 4)
    monkeypatch.setattr("audit.facts.way_back.MOST_TENSORS", 4)
    counts: list[int] = []
    read = differences.first_values

    def counted(part: differences.Part, count: int) -> differences.Floats | None:
        counts.append(count)
        return read(part, count)

    monkeypatch.setattr(differences, "first_values", counted)

    assert way(tmp_path / "run", 1.0, 3.0, 1.0) == pytest.approx(1.0)
    assert sum(counts) <= 3 * 16
