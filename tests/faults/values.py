"""Files that can be read and hold wrong values: flipped bits, NaN, edited states, files of another step."""

import os
import shutil
from typing import Any

from tests.faults.missing_files import BASE, BEFORE, FIRST, NEWEST, inside
from tests.faults.table import Damage, Group
from tests.faults.tools import (
    ADAPTER,
    STATE,
    New,
    edit_json,
    edit_tensors,
    edit_torch,
    flip,
    pickle_offset,
    put,
    record_span,
    tensor_span,
)

# -- bits -------------------------------------------------------------------------------------------------------

bits = Group("Flipped bits", BASE, NEWEST, BEFORE)


def _exponent_of_a_weight(run: str) -> None:
    offset, length = tensor_span(inside(run, ADAPTER), "lora_A")
    flip(inside(run, ADAPTER), offset + length // 8 * 4 + 3, 6)


def _name_in_the_header(run: str) -> None:
    flip(inside(run, ADAPTER), pickle_offset(inside(run, ADAPTER), b"q_proj"), 0)


def _bit_of_record(name: str, number: int, byte: int, bit: int) -> Damage:
    def damage(run: str) -> None:
        offset, _ = record_span(inside(run, name), number)
        flip(inside(run, name), offset + byte, bit)

    return damage


def _bit_of_pickle(run: str) -> None:
    flip(inside(run, "optimizer.pt"), pickle_offset(inside(run, "optimizer.pt"), b"exp_avg"), 1)


def _scheduler_bit(run: str) -> None:
    path = inside(run, "scheduler.pt")
    offset = pickle_offset(path, b"last_epoch") + len(b"last_epoch")
    with open(path, "rb") as file:
        file.seek(offset)
        tail = file.read(8)
    flip(path, offset + tail.index(b"K") + 1, 3)


def _crc_field(run: str) -> None:
    path = inside(run, "optimizer.pt")
    with open(path, "rb") as file:
        data = file.read()
    flip(path, data.rindex(b"PK\x01\x02") + 16, 0)


bits.add(
    "adapter weights: an exponent bit of one weight",
    "weights/outlier",
    _exponent_of_a_weight,
    severity="warning",
    blocks=False,
    depth="full",
)
bits.add("adapter weights: a bit of a tensor's name", "adapter/shape-mismatch", _name_in_the_header)
bits.add(
    "optimizer.pt: a mantissa bit of a moment",
    "integrity/archive",
    _bit_of_record("optimizer.pt", 1, 0, 2),
    depth="full",
)
bits.add("optimizer.pt: a bit of data.pkl", "integrity/archive", _bit_of_pickle, depth="full")
bits.add("optimizer.pt: a checksum field of its directory", "integrity/archive", _crc_field, depth="full")
bits.add(
    "rng_state.pth: a bit of the generator",
    "integrity/archive",
    _bit_of_record("rng_state.pth", 0, 40, 1),
    depth="full",
)

# -- NaN, zeros, signs ------------------------------------------------------------------------------------------

numbers = Group("NaN, zeros, signs", BASE, NEWEST, BEFORE)


def _first(tensors: dict[str, Any], part: str) -> Any:
    return tensors[next(name for name in sorted(tensors) if part in name)]


def weight(part: str, value: float) -> Damage:
    def damage(run: str) -> None:
        edit_tensors(inside(run, ADAPTER), lambda tensors: _first(tensors, part).view(-1).__setitem__(3, value))

    return damage


def all_of(part: str, factor: float) -> Damage:
    def edit(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if part in name:
                tensor.mul_(factor)

    return lambda run: edit_tensors(inside(run, ADAPTER), edit)


def moment(key: str, value: float, everything: bool = False) -> Damage:
    def edit(optimizer: dict[str, Any]) -> None:
        for state in optimizer["state"].values():
            if everything:
                state[key].fill_(value)
            else:
                state[key].view(-1)[1] = value
                return

    return lambda run: edit_torch(inside(run, "optimizer.pt"), edit)


def _all_moments_zero(run: str) -> None:
    def edit(optimizer: dict[str, Any]) -> None:
        for state in optimizer["state"].values():
            state["exp_avg"].zero_()
            state["exp_avg_sq"].zero_()

    edit_torch(inside(run, "optimizer.pt"), edit)


full = {"depth": "full"}
numbers.add("one NaN in the adapter weights", "weights/not-finite", weight("lora_B", float("nan")), depth="full")
numbers.add("one infinity in the adapter weights", "weights/not-finite", weight("lora_A", float("inf")), depth="full")
numbers.add("one NaN in a moment", "optimizer/not-finite", moment("exp_avg", float("nan")), depth="full")
numbers.add("one infinity in a second moment", "optimizer/not-finite", moment("exp_avg_sq", float("inf")), depth="full")
numbers.add("a second moment below zero", "optimizer/negative-moment", moment("exp_avg_sq", -1e-6), depth="full")
numbers.add("all moments zero, step kept", "optimizer/fresh", _all_moments_zero, depth="full")
numbers.add("every lora_B zero", "weights/untrained", all_of("lora_B", 0.0), blocks=False, depth="full")
numbers.add("every weight zero", "weights/untrained", all_of("lora_", 0.0), depth="full")


def _hollow(run: str) -> None:
    edit_tensors(inside(run, ADAPTER), lambda tensors: tensors.clear())


def _zero_sized(run: str) -> None:
    edit_tensors(inside(run, ADAPTER), lambda tensors: New({name: tensor[:0] for name, tensor in tensors.items()}))


numbers.add("adapter weights without any tensor", "weights/hollow", _hollow)
numbers.add("adapter weights with zero-sized tensors", "weights/hollow", _zero_sized)


def _rank_slice(run: str) -> None:
    def edit(tensors: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor[tensor.shape[0] // 4 :] = 0

    edit_tensors(inside(run, ADAPTER), edit)


numbers.add(
    "one rank's slice of lora_B saved as the whole", "weights/rank-slice", _rank_slice, blocks=False, depth="full"
)

# -- trainer state ----------------------------------------------------------------------------------------------

state = Group("Edited trainer state", BASE, NEWEST, BEFORE)


def set_state(**values: Any) -> Damage:
    return lambda run: put(inside(run, STATE), **values)


def edit_state(edit: Any) -> Damage:
    return lambda run: edit_json(inside(run, STATE), edit)


def _swap_entries(document: Any) -> None:
    history = document["log_history"]
    history[-1], history[-2] = history[-2], history[-1]


def _later_entry(document: Any) -> None:
    document["log_history"][-1]["step"] = document["global_step"] + 10


def _digit(document: Any) -> None:
    document["log_history"][2]["loss"] += 0.5


def _text_for_a_number(document: Any) -> None:
    document["log_history"][-1]["loss"] = "3.5"


state.add("global_step 0", "steps/directory-mismatch", set_state(global_step=0))
state.add("global_step lowered", "steps/directory-mismatch", set_state(global_step=50))
state.add("global_step raised", "steps/directory-mismatch", set_state(global_step=70))
state.add("global_step removed", "steps/invalid-state", edit_state(lambda document: document.pop("global_step")))
state.add("global_step is text", "steps/invalid-state", set_state(global_step="60"))
state.add("global_step negative", "steps/invalid-state", set_state(global_step=-1))
state.add("the state is a list", "steps/invalid-state", edit_state(lambda document: New([document])))
state.add("log_history is an object", "steps/invalid-state", set_state(log_history={"step": 1}))
state.add("log_history holds numbers", "steps/invalid-state", set_state(log_history=[1, 2]))
state.add("train_batch_size null", "steps/invalid-state", set_state(train_batch_size=None))
state.add(
    "a key that Trainer does not know",
    "steps/invalid-state",
    set_state(some_new_key=1),
    severity="warning",
    blocks=False,
)
state.add("max_steps below global_step", "steps/beyond-schedule", set_state(max_steps=50), blocks=False)
state.add("two log entries exchanged", "history/not-ascending", edit_state(_swap_entries), blocks=False)
state.add("a log entry after global_step", "history/beyond-step", edit_state(_later_entry), blocks=False)
state.add("log_history emptied", "history/forked", set_state(log_history=[]))
state.add("a digit of an old loss changed", "history/forked", edit_state(_digit))
state.add("a logged loss is text", "history/invalid-value", edit_state(_text_for_a_number), blocks=False)
# -- files of another step --------------------------------------------------------------------------------------

swapped = Group("Files of another step", BASE, NEWEST, BEFORE)


def from_before(*names: str) -> Damage:
    def damage(run: str) -> None:
        for name in names:
            shutil.copy2(inside(run, name, BEFORE), inside(run, name))

    return damage


def _whole_checkpoint(run: str) -> None:
    shutil.rmtree(inside(run, ""))
    shutil.copytree(inside(run, "", BEFORE), inside(run, ""))


def _rewritten_half(run: str) -> None:
    """A second run wrote weights and optimizer of step 60 into checkpoint-40 and was killed before its state."""
    for name in (ADAPTER, "optimizer.pt"):
        shutil.copy2(inside(run, name), inside(run, name, BEFORE))


def _stale_copy(run: str) -> None:
    shutil.copytree(inside(run, "", FIRST), inside(run, "", "checkpoint-90"))


def _copy_back_much_later(run: str) -> None:
    """Copy by hand, a minute after the save: the tests themselves are faster than anybody."""
    copy = inside(run, ADAPTER, BEFORE)
    shutil.copyfile(inside(run, ADAPTER), copy)
    later = os.stat(copy).st_mtime + 60
    os.utime(copy, (later, later))


swapped.add("trainer_state.json of an older step", "steps/directory-mismatch", from_before(STATE))
swapped.add("optimizer.pt of an older step", "optimizer/unchanged", from_before("optimizer.pt"), depth="full")
swapped.add(
    "optimizer.pt of an older step, quick", "optimizer/step-mismatch", from_before("optimizer.pt"), depth="only quick"
)
swapped.add("scheduler.pt of an older step", "scheduler/step-mismatch", from_before("scheduler.pt"))
swapped.add("adapter weights of an older step", "weights/unchanged", from_before(ADAPTER), depth="full")
swapped.add("a whole older checkpoint under this name", "steps/directory-mismatch", _whole_checkpoint)
swapped.add(
    "checkpoint overwritten in place, killed half way",
    "optimizer/step-mismatch",
    _rewritten_half,
    checkpoint=BEFORE,
    blocks=False,
)
swapped.add(
    "adapter weights of a later step in an older checkpoint",
    "weights/unchanged",
    _copy_back_much_later,
    checkpoint=BEFORE,
    blocks=False,
    depth="full",
)
killed = Group("Files of another step", BASE, "checkpoint-90", NEWEST)
killed.add("an old checkpoint copied under a larger number", "steps/directory-mismatch", _stale_copy)
