"""audit data: what is said of a data file, and the exit code."""

import gzip
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from tests.audit.cli.conftest import Ended

Audit = Callable[..., Ended]
PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
ALPACA = [
    {"instruction": "Add.", "input": "2 + 2", "output": "4"},
    {"instruction": "Name the capital of France.", "output": "Paris"},
    {"instruction": "Say nothing.", "output": ""},
]
COMMAND = (
    'run = "run"\nbackend = "command"\n[data]\ninbox = "inbox"\n[command]\nargv = ["true"]\nresume_argv = ["true"]\n'
)


def test_the_example_of_the_documentation(audit: Audit) -> None:
    Path("alpaca.json").write_text(json.dumps(ALPACA))

    ended = audit("data", "alpaca.json")

    assert (ended.code, ended.err) == (1, "")
    (shown,) = re.findall(r"```console\n\$ audit data alpaca.json\n(.*?)```", PAGE, re.DOTALL)
    assert ended.out == shown


def test_json_is_as_its_schema_says(audit: Audit) -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(json.dumps(ALPACA[0]).encode()))
    schema = json.loads((files("audit") / "schemas" / "data-1.json").read_text(encoding="utf-8"))

    ended = audit("data", "a.jsonl.gz", "--format", "json")
    found = json.loads(ended.out)

    assert ended.code == 0
    jsonschema.validate(found, schema)
    assert (found["container"], found["format"], found["rows"]) == ("JSON Lines, gzip", "alpaca", 1)
    assert found["first"]["pieces"][-1] == {"text": "4", "trained_on": True}
    Path("b.jsonl").write_text("7\n")
    jsonschema.validate(json.loads(audit("data", "b.jsonl", "--format", "json").out), schema)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"text": "a"}\n', 0),
        (b'{"text": "a"}\n7\n', 1),
        (b'{"text": "a"}\n{"text": ""}\n', 1),
        (b'[{"text": "a"}', 2),
        (b"", 2),
        (gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], 2),
    ],
)
def test_the_exit_code_says_whether_the_file_can_be_read(content: bytes, code: int, audit: Audit) -> None:
    Path("a.jsonl").write_bytes(content)

    ended = audit("data", "a.jsonl")

    assert ended.code == code
    assert len(ended.err.splitlines()) == (not ended.out)


@pytest.mark.parametrize("name", ["nothing.jsonl", "."])
def test_what_is_no_file_is_refused_in_one_line(name: str, audit: Audit) -> None:
    ended = audit("data", name)

    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)


def test_a_long_first_example_is_cut_and_its_control_characters_are_not_printed(audit: Audit) -> None:
    Path("a.jsonl").write_text(json.dumps({"text": "\x1b[31mred\n" * 5000}))

    out = audit("data", "a.jsonl").out

    assert "\x1b" not in out
    assert len(out.splitlines()) < 60
    assert out.endswith("  ... and more; --format json has all\n")


def test_a_backend_that_reads_the_file_itself_is_said_to(audit: Audit) -> None:
    Path("train.toml").write_text(COMMAND)
    Path("a.jsonl").write_text('{"text": "a"}\n')

    ended = audit("data", "a.jsonl", "--config", "train.toml")

    assert ended.code == 0
    assert "note: the backend command reads the file itself: how it tokenizes rows is not known" in ended.out


def test_the_tokenizer_of_the_configuration_says_what_is_trained_on(audit: Audit) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    from transformers import LlamaConfig

    from tests.backends.hf_trainer.letters import letters

    LlamaConfig(vocab_size=300, max_position_embeddings=64).save_pretrained("base")
    letters().save_pretrained("base")
    Path("train.toml").write_text('run = "run"\n[data]\ninbox = "inbox"\n[model]\nname_or_path = "base"\n')
    long = {"instruction": "a", "output": "b" * 99}
    Path("a.txt").write_text(json.dumps([ALPACA[0], long, {"instruction": "a" * 99, "output": "b"}]))

    ended = audit("data", "a.txt", "--config", "train.toml")

    assert (ended.code, ended.err) == (1, "")
    assert "truncated   1 to the greatest length" in ended.out
    assert "refused     row 3: has nothing to learn within its first 64 tokens" in ended.out
    assert "note: audit train would ignore it: a.txt matches none of *.jsonl, *.json" in ended.out
    assert ended.out.endswith(
        "  | <|start|>user\n  | Add.\n  |\n  | 2 + 2<|end|>\n  | <|start|>assistant\n  > 4<|end|>\n"
    )


def test_ids_need_no_tokenizer(audit: Audit) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    Path("train.toml").write_text('run = "run"\n[data]\ninbox = "inbox"\n[model.random]\nvocab_size = 96\n')
    Path("a.jsonl").write_text('{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}\n{"input_ids": [5, 96]}\n')

    ended = audit("data", "a.jsonl", "--config", "train.toml")

    assert ended.code == 1
    assert "trained on  2 of 3 tokens (67%)" in ended.out
    assert "refused     row 2: has the id 96; the model's vocabulary has 96, from 0" in ended.out
    assert ended.out.endswith("  | 5\n  > 6 7\n")
    Path("b.jsonl").write_text('{"text": "a"}\n')
    ended = audit("data", "b.jsonl", "--config", "train.toml")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
