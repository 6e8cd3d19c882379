"""audit diff: two checkpoints side by side, with the exit codes of diff(1)."""

import json
import os
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from struct import pack
from typing import Any

import jsonschema
import pytest

from audit.testing.json_files import safetensors_bytes
from audit.testing.runs import edit_arguments, edit_json, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]
ADAPTER = "adapter_model.safetensors"
NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A checkpoint and its copy in another run."""
    make_run(tmp_path / "a", (100,))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return str(tmp_path / "a" / "checkpoint-100"), str(tmp_path / "b" / "checkpoint-100")


def document(audit: Audit, a: str, b: str, code: int = 1) -> dict[str, Any]:
    ended = audit("diff", a, b, "--format", "json")
    assert ended.code == code, ended.err
    found: dict[str, Any] = json.loads(ended.out, parse_constant=pytest.fail)
    return found


def put(path: str, tensors: dict[str, FakeTensor]) -> None:
    Path(path, ADAPTER).write_bytes(safetensors_bytes(tensors))


def floats(*values: float) -> FakeTensor:
    return FakeTensor("F32", (len(values),), pack(f"<{len(values)}f", *values))


def test_a_copy_is_the_same_whatever_its_times(audit: Audit, pair: tuple[str, str]) -> None:
    os.utime(f"{pair[1]}/{ADAPTER}", (1, 1))
    ended = audit("diff", *pair)
    assert (ended.code, ended.err) == (0, "")
    assert "The same: 8 files, byte for byte." in ended.out


def test_quiet_says_it_with_the_exit_code_alone(audit: Audit, pair: tuple[str, str]) -> None:
    assert audit("diff", *pair, "-q") == (0, "", "")
    Path(pair[1], "README.md").write_text("another")
    assert audit("diff", *pair, "-q") == (1, "", "")


def test_a_changed_tensor_is_named_with_how_much_it_changed(audit: Audit, pair: tuple[str, str]) -> None:
    put(pair[0], {"x": floats(3.0, 4.0, 0.0), "y": floats(1.0)})
    put(pair[1], {"x": floats(3.0, 4.0, -0.5), "y": floats(1.0)})
    tensors = document(audit, *pair)["tensors"]
    assert tensors["same"] == 1
    assert tensors["different"] == [
        {
            "name": "x", "kind": "changed", "dtype": ["F32", "F32"], "shape": [[3], [3]], "elements": 3, "changed": 1,
            "max_abs": 0.5, "relative_l2": 0.1, "nonfinite": 0,
        }
    ]  # fmt: skip


def test_tensors_that_came_and_went_and_have_another_shape_or_type(audit: Audit, pair: tuple[str, str]) -> None:
    half = FakeTensor("BF16", (1,), b"\x80\x3f")
    put(pair[0], {"gone": floats(1.0), "longer": floats(1.0), "type": floats(1.0)})
    put(pair[1], {"longer": floats(1.0, 2.0), "new": floats(1.0), "type": half})
    kinds = {item["name"]: item["kind"] for item in document(audit, *pair)["tensors"]["different"]}
    assert kinds == {"gone": "removed", "new": "added", "longer": "shape", "type": "dtype"}
    assert "1 changed" not in audit("diff", *pair).out


def test_weights_in_another_format_are_compared_by_name(audit: Audit, pair: tuple[str, str]) -> None:
    put(pair[0], {"x": floats(1.0, 2.0), "y": floats(1.0)})
    os.unlink(f"{pair[1]}/{ADAPTER}")
    Path(pair[1], "adapter_model.bin").write_bytes(torch_archive_bytes({"x": floats(1.0, 2.0), "y": floats(3.0)}))
    found = document(audit, *pair)
    assert [(item["name"], item["max_abs"]) for item in found["tensors"]["different"]] == [("y", 2.0)]
    assert found["files"]["added"] == ["adapter_model.bin"]


def test_arguments_adapters_and_state_are_compared_by_value(audit: Audit, pair: tuple[str, str]) -> None:
    edit_arguments(pair[1], learning_rate=0.5)
    edit_json(f"{pair[0]}/adapter_config.json", target_modules=["a", "b", "c"])
    edit_json(f"{pair[1]}/adapter_config.json", target_modules=["c", "a", "b"], lora_alpha=99)
    values = document(audit, *pair)["values"]
    assert values["training arguments"] == {"learning_rate": {"a": 0.0001, "b": 0.5}}
    assert values["adapter default"] == {"lora_alpha": {"a": 8, "b": 99}}
    assert "learning_rate  0.0001  ->  0.5" in audit("diff", *pair).out


def test_a_difference_that_six_digits_do_not_show_is_shown_in_full(audit: Audit, pair: tuple[str, str]) -> None:
    edit_arguments(pair[1], learning_rate=0.000100000001)
    assert "learning_rate  0.0001  ->  0.000100000001" in audit("diff", *pair).out


def test_how_the_logs_belong_together(audit: Audit, run: str, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", (100,), seed=1)
    one, two = f"{run}/checkpoint-100", f"{run}/checkpoint-200"
    assert document(audit, one, two)["relation"] == "B continues A: its log begins with the 10 entries of A's"
    assert document(audit, two, one)["relation"] == "A continues B: its log begins with the 10 entries of B's"
    assert document(audit, one, other)["relation"] == "different runs: the logs share no entry"
    assert document(audit, one, one, 0)["relation"] == "the same log of 10 entries"


def test_very_many_tensors_are_shown_when_all_are_asked_for(audit: Audit, pair: tuple[str, str]) -> None:
    put(pair[1], {f"t{number}": floats(1.0) for number in range(100)})
    assert "and 88 more; --all shows them" in audit("diff", *pair).out
    assert "more; --all" not in audit("diff", *pair, "--all").out


def test_a_damaged_file_is_trouble_and_the_rest_is_compared(audit: Audit, pair: tuple[str, str]) -> None:
    with open(f"{pair[1]}/{ADAPTER}", "r+b") as file:
        file.truncate(500)
    edit_arguments(pair[1], learning_rate=0.5)
    ended = audit("diff", *pair)
    assert ended.code == 2
    assert ended.err.startswith(f"audit diff: B: {ADAPTER} is truncated: 500 of at least ")
    assert ended.err.count("\n") == 1
    assert "learning_rate" in ended.out
    assert "0 removed" in ended.out


def test_the_same_damage_on_both_sides_is_no_difference(audit: Audit, pair: tuple[str, str]) -> None:
    for path in pair:
        Path(path, ADAPTER).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert audit("diff", *pair).code == 0


def test_a_link_that_leads_out_is_not_followed(audit: Audit, pair: tuple[str, str]) -> None:
    os.unlink(f"{pair[1]}/{ADAPTER}")
    os.symlink(f"{pair[0]}/{ADAPTER}", f"{pair[1]}/{ADAPTER}")
    ended = audit("diff", *pair)
    assert ended.code == 2
    assert f"B: {ADAPTER} is no regular file of the checkpoint" in ended.err


def test_a_tensor_that_shares_its_storage_a_thousand_times_does_not_take_a_thousand_times_as_long(
    audit: Audit, pair: tuple[str, str]
) -> None:
    for path, value in zip(pair, (b"a", b"b"), strict=True):
        os.unlink(f"{path}/{ADAPTER}")
        shared = FakeTensor("U8", (5000,), value * 5000)
        data = torch_archive_bytes({f"t{number}": shared for number in range(100)})
        Path(path, "adapter_model.bin").write_bytes(data)
    ended = audit("diff", *pair)
    assert ended.code == 2
    assert "its elements share more storage than the files hold; not compared" in ended.err
    assert ended.err.count("\n") == 21


def test_paths_are_shown_as_they_were_given(
    audit: Audit, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(pair[0]).parents[1])
    out = audit("diff", "a/checkpoint-100", "b/").out
    assert out.startswith("A  a/checkpoint-100\nB  b/checkpoint-100\n")
    assert audit("show", "a/checkpoint-100").out.startswith("a/checkpoint-100\n")


def test_an_unfinished_checkpoint_is_not_compared(audit: Audit, pair: tuple[str, str], tmp_path: Path) -> None:
    os.unlink(f"{pair[1]}/trainer_state.json")
    assert "checkpoint-100 is in progress: " in one_line(audit("diff", *pair))
    assert "no such run" in one_line(audit("diff", pair[0], str(tmp_path / "nowhere")))
    assert "no checkpoint-N directory in it" in one_line(audit("diff", pair[0], str(tmp_path / "cwd")))


def test_names_of_an_enemy_do_not_reach_the_terminal(audit: Audit, pair: tuple[str, str]) -> None:
    Path(pair[1], "evil\x1b[31m.txt").write_text("x")
    edit_json(f"{pair[1]}/adapter_config.json", **{"key\x1b[31m": "value\x1b[31m", "r": "\n\x1b[2J"})
    ended = audit("diff", *pair)
    assert ended.code == 1
    assert "\x1b" not in ended.out + ended.err


def test_a_checkpoint_with_several_adapters_names_each(audit: Audit, pair: tuple[str, str]) -> None:
    for path in pair:
        os.makedirs(f"{path}/second")
        for name in (ADAPTER, "adapter_config.json"):
            shutil.copy(f"{path}/{name}", f"{path}/second/{name}")

    def change(tensors: dict[str, FakeTensor]) -> None:
        tensors[NAME] = tensors[NAME]._replace(data=tensors[NAME].data[::-1])

    edit_tensors(f"{pair[1]}/second/{ADAPTER}", change)
    assert [item["name"] for item in document(audit, *pair)["tensors"]["different"]] == [f"second/{NAME}"]


def test_the_difference_as_json_fits_its_schema(audit: Audit, run: str) -> None:
    schema = json.loads((files("audit") / "schemas" / "diff-1.json").read_text(encoding="utf-8"))
    ended = audit("diff", f"{run}/checkpoint-200", f"{run}/checkpoint-300", "--format", "json")
    document = json.loads(ended.out)

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    assert document.keys() == schema["properties"].keys()
    assert document["tensors"]["different"]
