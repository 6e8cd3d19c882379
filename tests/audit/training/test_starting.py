"""What `audit init` writes: every key is explained, and every key of the schema is there."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from audit.errors import AuditError, ConfigError
from audit.manager import load
from audit.training.starting import aligned, starting_config, toml_text

ROOT = Path(__file__).parents[3]


def config(whole_model: bool = False, name: str = "train.toml") -> str:
    known = load()
    trainer = known.trainer("hf-trainer")
    return starting_config(name, "current_model", "inbox", "org/base", whole_model, trainer, known.observers)


def uncommented(text: str) -> str:
    return re.sub(r"^# (?=(\[?[\w-]+\]?)( = |  +#))", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("whole_model", [False, True])
def test_every_key_is_explained_on_its_line(whole_model: bool) -> None:
    keys = [line for line in uncommented(config(whole_model)).splitlines() if re.match(r"[\w-]+ = ", line)]

    assert len(keys) > 40
    assert [line for line in keys if not re.search(r"  # \S.{3,}$", line)] == []
    assert [line for line in keys if len(line) > 120] == []


def test_every_key_of_the_schema_is_there_and_what_is_not_commented_is_the_least(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "audit" / "schemas" / "train.json").read_text())
    whole = tomllib.loads(uncommented(config()))
    wanted = {
        f"{name}.{key}" if key else name
        for name, part in schema["properties"].items()
        for key in part.get("properties", {"": {}})
    }
    found = {
        f"{name}.{key}" if key and name != "verify" else name
        for name, part in whole.items()
        for key in (part if isinstance(part, dict) else [""])
    }

    assert wanted <= found, "explain the new key in audit/training/starting.py"
    assert tomllib.loads(config())["data"] == {"inbox": "inbox"}
    assert tomllib.loads(config())["model"] == {"name_or_path": "org/base"}
    assert "adapter" not in tomllib.loads(config(whole_model=True))


def test_the_tables_of_plugins_are_there_with_all_keys_and_valid() -> None:
    whole, observers = tomllib.loads(uncommented(config())), load().observers

    assert "hub" in [item.table for item in observers]
    for item in observers:
        assert whole[item.table].keys() == item.schema()["properties"].keys(), item.table
        jsonschema.validate(whole[item.table], item.schema())
    assert "hub" not in tomllib.loads(config())


@pytest.mark.parametrize("odd", ['a "quoted" \\ path', "tab\tand\nline", "del\x7f", "Ünïcode 🙂"])
def test_any_name_is_written_as_it_is(odd: str) -> None:
    text = starting_config(odd, odd, odd, odd, False, load().trainer("hf-trainer"))
    read = tomllib.loads(text)

    assert (read["run"], read["data"]["inbox"], read["model"]["name_or_path"]) == (odd, odd, odd)


def test_a_name_that_utf_8_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not valid UTF-8"):
        toml_text("caf\udcff")


def test_a_backend_without_one_is_said() -> None:
    with pytest.raises(AuditError, match="the backend command has no first configuration"):
        starting_config("train.toml", "run", "inbox", "model", False, load().trainer("command"))


def test_comments_stand_below_one_another_and_a_value_with_a_hash_is_whole() -> None:
    text = aligned('a = 1  # one\nlong-name = "x  # y"  # two\n')
    first, second = text.splitlines()

    assert first.index("# one") == second.index("# two")
    assert tomllib.loads(text) == {"a": 1, "long-name": "x  # y"}
