"""What is trained stays what it is, whatever happens to the file under its name."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.training.config import Data
from audit.training.data_files import DataFile, digest_of, seen
from audit.training.held_file import PREFIX, HeldFiles
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.places import put
from tests.audit.training.toy import Kill, write_rows

Make = Callable[..., Shop]


def at(moment: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A tick that does something once, at the first moment of this name."""
    left = [moment]

    def tick(now: str) -> None:
        if now in left:
            left.remove(now)
            act()

    return tick


def replace(shop: Shop, name: str, examples: list[int]) -> None:
    """As rsync does it: written aside, then renamed."""
    write_rows(shop.inbox / ".incoming", examples).rename(shop.inbox / name)


def examples_in(shop: Shop, name: str) -> list[int]:
    return [json.loads(line)["input_ids"][0] for line in (shop.home / "done" / name).read_text().splitlines()]


def file_of(path: Path) -> DataFile:
    found = seen(str(path), path.name)
    assert found is not None
    return found


def hidden(shop: Shop) -> list[str]:
    return [name for name in os.listdir(shop.inbox) if name.startswith(".")]


@pytest.mark.parametrize("moment", ["step 1", "saving 3", "step 4"])
def test_a_file_replaced_while_it_is_trained_is_a_new_file_and_both_are_trained_once(moment: str, shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.tick = at(moment, lambda: replace(shop, "a.jsonl", list(range(20, 25))))

    assert shop.train() == 0

    assert sorted(shop.trained()[:8]) == list(range(8))
    assert sorted(shop.trained()[8:]) == list(range(20, 25))
    assert shop.names("done") == ["a.1.jsonl", "a.jsonl"]
    assert shop.names("inbox") == []
    assert verify(str(shop.run)).verdict == "sound"


def test_replaced_and_then_killed_the_batch_goes_on_with_what_it_was(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))

    def replace_and_die() -> None:
        replace(shop, "a.jsonl", [20, 21])
        raise Kill

    shop.backend.tick = at("step 4", replace_and_die)
    with pytest.raises(Kill):
        shop.train()
    assert len(hidden(shop)) == 1

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), 20, 21]
    assert hidden(shop) == []
    assert examples_in(shop, "a.jsonl") == list(range(8))
    assert examples_in(shop, "a.1.jsonl") == [20, 21]


@pytest.mark.parametrize("how", ["replaced", "deleted"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_stopped_and_then_gone_from_the_inbox_the_batch_goes_on_and_comes_to_done(
    how: str, times: int, shop: Shop
) -> None:
    shop.drop("a.jsonl", list(range(8)))
    for time in range(1, times + 1):
        shop.backend.stop_after = time
        assert shop.train() == 143
        if time == 1:
            replace(shop, "a.jsonl", [20, 21]) if how == "replaced" else (shop.inbox / "a.jsonl").unlink()
    shop.backend.stop_after = None

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), *([20, 21] if how == "replaced" else [])]
    assert examples_in(shop, "a.jsonl") == list(range(8))
    assert shop.names("done") == (["a.1.jsonl", "a.jsonl"] if how == "replaced" else ["a.jsonl"])
    assert hidden(shop) == []


def test_killed_and_gone_back_before_its_first_save_the_batch_is_still_there(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.train()
    shop.drop("b.jsonl", list(range(10, 18)))
    shop.backend.stop_after = 4
    assert shop.train() == 143
    shop.backend.stop_after = None
    (shop.inbox / "b.jsonl").unlink()
    (shop.run / "checkpoint-4" / "optimizer.pt").unlink()
    (shop.run / "checkpoint-3" / "optimizer.pt").unlink()

    assert shop.train() == 0

    assert sorted(shop.trained()) == [1, 2, 3, 4, *range(10, 18)]
    assert examples_in(shop, "b.jsonl") == list(range(10, 18))


def test_a_file_that_is_put_in_the_place_of_a_trained_one_at_its_retirement_stays(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    rename = os.rename

    def replaced_first(source: str, target: str) -> None:
        if str(source) == str(shop.inbox / "a.jsonl"):
            monkeypatch.setattr(os, "rename", rename)
            write_rows(shop.inbox / ".incoming", [20, 21]).replace(shop.inbox / "a.jsonl")
        rename(source, target)

    monkeypatch.setattr(os, "rename", replaced_first)
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 20, 21]
    assert examples_in(shop, "a.jsonl") == [1, 2, 3]
    assert examples_in(shop, "a.1.jsonl") == [20, 21]
    assert hidden(shop) == []


@pytest.mark.parametrize("moment", ["step 1", "step 4", "saved 4"])
def test_a_file_written_into_while_it_is_trained_is_trained_anew_as_what_it_became(moment: str, shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))

    def append() -> None:
        with path.open("a") as stream:
            stream.write('{"input_ids": [30, 30]}\n')

    shop.backend.tick = at(moment, append)
    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), 30]
    (failed,) = shop.said("failed")
    assert "was written to while it was trained" in failed["reason"]
    assert shop.said("note") == []  # it was not removed
    assert shop.names("done") == ["a.jsonl"]
    assert verify(str(shop.run)).verdict == "sound"


def test_a_file_that_shrinks_while_it_is_trained_is_no_bad_file(shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))
    shop.backend.tick = at("step 2", lambda: write_rows(path, [1, 2]))
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2]
    assert shop.names("rejected") == []


def test_what_was_trained_before_such_a_change_is_not_given_up_silently(shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    assert shop.train() == 143
    shop.backend.stop_after = None
    shop.backend.tick = at("step 3", lambda: write_rows(path, [1, 2]))
    with pytest.raises(TrainRefused, match=CHANGED):
        shop.train()


CHANGED = r"a\.jsonl: is trained to step 2, not to its end, but /.*/inbox/a\.jsonl was changed since.*--skip-lost"


@pytest.mark.parametrize("how", ["in place", "renamed", "replaced and not held"])
def test_a_file_that_was_edited_between_two_calls_is_named_and_nobody_is_blocked(how: str, shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))
    text = path.read_text()
    shop.backend.stop_after = 2
    assert shop.train() == 143
    shop.backend.stop_after = None
    if how == "replaced and not held":
        for name in hidden(shop):
            (shop.inbox / name).unlink()
        replace(shop, "a.jsonl", [20, 21])
    else:
        write_rows(path, [20, 21])
    match = CHANGED
    if how == "renamed":
        path.rename(shop.inbox / "b.jsonl")
        match = CHANGED.replace("inbox/a", "inbox/b")
    for _ in range(2):
        with pytest.raises(TrainRefused, match=match):
            shop.train()

    if how == "in place":
        path.write_text(text)
        assert shop.train() == 0
        assert sorted(shop.trained()) == list(range(8))
    else:
        assert shop.train(skip_lost=True) == 0
        assert sorted(shop.trained())[-2:] == [20, 21]
        assert len(shop.trained()) == 6
    assert hidden(shop) == []


@pytest.mark.parametrize("moment", ["step 1", "step 4", "saved 4"])
def test_a_mere_touch_changes_nothing(moment: str, shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))
    shop.backend.tick = at(moment, lambda: os.utime(path, ns=(1, 1)))
    assert shop.train() == 0
    assert shop.said("failed") == []
    assert [event["first_step"] for event in shop.said("batch")] == [0]
    assert shop.names("done") == ["a.jsonl"]


def test_a_touch_between_two_calls_changes_nothing(shop: Shop) -> None:
    path = shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    assert shop.train() == 143
    shop.backend.stop_after = None
    os.utime(path, ns=(1, 1))
    assert shop.train() == 0
    assert sorted(shop.trained()) == list(range(8))


def test_a_file_that_is_taken_away_while_it_is_trained_is_in_done_all_the_same(shop: Shop) -> None:
    path = shop.drop("a.jsonl", [1, 2, 3])
    shop.backend.tick = at("step 2", path.unlink)
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3]
    assert shop.names("done") == ["a.jsonl"]


def test_a_bad_file_that_was_replaced_is_the_one_that_is_set_aside(shop: Shop) -> None:
    from tests.audit.training.toy import POISON

    shop.drop("a.jsonl", [1, POISON])
    first = shop.backend.train

    def train(*arguments: object) -> object:
        shop.backend.train = first  # type: ignore[method-assign]
        replace(shop, "a.jsonl", [7])
        return first(*arguments)  # type: ignore[arg-type]

    shop.backend.train = train  # type: ignore[assignment, method-assign]
    assert shop.train() == 1
    assert str(POISON) in (shop.home / "rejected" / "a.jsonl").read_text()
    assert shop.trained() == [7]


def test_where_there_are_no_hard_links_a_replaced_file_gives_up_the_leg(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.tick = at("step 3", lambda: replace(shop, "a.jsonl", [20, 21]))
    assert shop.train() == 0
    assert sorted(shop.trained()) == [20, 21]


def test_no_second_name_is_left_when_all_is_trained(shop: Shop) -> None:
    (shop.inbox / f"{PREFIX}0123.jsonl").write_text("of a call long ago")
    shop.drop("a.jsonl", [1])
    shop.train()
    assert hidden(shop) == []


def test_after_a_failure_the_file_is_held_until_its_batch_is_retired(make_shop: Make) -> None:
    shop = make_shop(toy='fail = "it burns"')
    shop.drop("a.jsonl", [1, 2, 3])
    with pytest.raises(Exception, match="it burns"):
        shop.train()
    assert shop.names("inbox") == ["a.jsonl"]
    assert len(hidden(shop)) == 1


def test_the_last_copy_of_a_file_that_was_never_trained_is_set_aside_and_not_deleted(shop: Shop) -> None:
    (shop.inbox / f"{PREFIX}0123.jsonl").write_text("of a call long ago")
    assert shop.train() == 0
    assert hidden(shop) == []
    assert (shop.home / "rejected" / "0123.jsonl").read_text() == "of a call long ago"
    assert "the last copy of" in shop.said("note")[0]["text"]


def test_a_file_that_changed_since_it_was_looked_at_leaves_the_held_one(tmp_path: Path) -> None:
    file = file_of(write_rows(tmp_path / "a.jsonl", [1]))
    digest, files = digest_of(file), HeldFiles(str(tmp_path))
    held = files.hold(file, digest)
    write_rows(tmp_path / "b", [2]).rename(tmp_path / "a.jsonl")
    assert files.hold(file, digest) is None
    assert files.find("a.jsonl", digest) == held


def test_a_file_that_changed_since_it_was_looked_at_is_not_held(tmp_path: Path) -> None:
    file = file_of(write_rows(tmp_path / "a.jsonl", [1]))
    digest = digest_of(file)
    write_rows(tmp_path / "b", [2]).rename(tmp_path / "a.jsonl")
    assert HeldFiles(str(tmp_path)).hold(file, digest) is None
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_what_a_killed_call_held_is_found_by_its_bytes_alone(tmp_path: Path) -> None:
    file = file_of(write_rows(tmp_path / "a.jsonl", [1]))
    digest, files = digest_of(file), HeldFiles(str(tmp_path))
    held = files.hold(file, digest)
    assert held is not None
    assert held.name == "a.jsonl"
    assert files.find("a.jsonl", digest) == held
    assert files.hold(file, digest) == held  # left by a kill: taken again

    Path(held.path).write_text("another")
    assert files.find("a.jsonl", digest) is None


def test_a_file_of_done_needs_no_second_name(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    file = file_of(write_rows(tmp_path / "done" / "a.jsonl", [1]))
    assert HeldFiles(str(tmp_path / "inbox")).hold(file, digest_of(file)) == file


@pytest.mark.parametrize(("name", "other"), [("a.jsonl", "a.1.jsonl"), ("a.jsonl.gz", "a.1.jsonl.gz")])
def test_a_file_that_came_after_its_digest_goes_back_beside_yet_another_one(
    name: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(write_rows(tmp_path / name, [1]))
    digest = digest_of(file)
    write_rows(tmp_path / "b", [2]).rename(tmp_path / name)
    rename = os.rename

    def and_another_comes(source: str, target: str) -> None:
        rename(source, target)
        write_rows(tmp_path / name, [3])

    monkeypatch.setattr(os, "rename", and_another_comes)
    HeldFiles(str(tmp_path)).take(file, digest)

    assert sorted(os.listdir(tmp_path)) == sorted([name, other])
    assert json.loads((tmp_path / other).read_text())["input_ids"][0] == 2


def test_the_names_of_held_files_are_those_that_lead_to_the_same_bytes(data: Data) -> None:
    one, two = put(data, "a.jsonl", "1"), put(data, "b.jsonl", "2")
    files = HeldFiles(data.inbox)
    assert files.names_of([one, two]) == []

    assert files.hold(two, digest_of(two)) is not None
    assert files.names_of([one, two]) == ["b.jsonl"]
    assert HeldFiles(os.path.join(data.inbox, "nowhere")).names_of([one, two]) == []


@pytest.mark.parametrize("changed", [False, True])
def test_where_the_second_name_cannot_be_given_a_file_is_trained_under_its_own_unless_it_changed(
    changed: bool, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(data, "a.jsonl", "1")

    def refuse(*_: object) -> None:
        if changed:
            os.utime(file.path, (1e9, 1e9))
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    assert HeldFiles(data.inbox).hold(file, digest_of(file)) == (None if changed else file)
    assert os.listdir(data.inbox) == ["a.jsonl"]


@pytest.mark.parametrize("held", [False, True])
def test_a_file_that_is_taken_has_its_second_name_alone(held: bool, data: Data) -> None:
    file, files = put(data, "a.jsonl", "1"), HeldFiles(data.inbox)
    digest = digest_of(file)
    before = files.hold(file, digest) if held else None

    taken = files.take(file, digest)

    assert os.listdir(data.inbox) == [os.path.basename(taken.path)]
    assert taken.path.startswith(os.path.join(data.inbox, PREFIX))
    assert digest_of(taken) == digest
    assert before in (None, taken)
    files.release("a.jsonl", digest)
    assert os.listdir(data.inbox) == []


def test_what_a_killed_call_left_is_in_nobodys_way(data: Data) -> None:
    file, files = put(data, "a.jsonl", "1"), HeldFiles(data.inbox)
    digest = digest_of(file)
    held = files.hold(file, digest)
    assert held is not None
    os.rename(held.path, f"{held.path}.taken")

    assert files.hold(file, digest) == held
    assert sorted(os.listdir(data.inbox)) == [os.path.basename(held.path), "a.jsonl"]


def test_what_cannot_be_read_is_no_held_file(data: Data) -> None:
    file, files = put(data, "a.jsonl", "1"), HeldFiles(data.inbox)
    digest = digest_of(file)
    held = files.hold(file, digest)
    assert held is not None
    os.unlink(held.path)
    os.mkdir(held.path)

    assert files.find("a.jsonl", digest) is None


def test_in_an_inbox_that_is_gone_nothing_is_left(data: Data) -> None:
    assert list(HeldFiles(os.path.join(data.inbox, "nowhere")).left()) == []
