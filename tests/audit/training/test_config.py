"""A configuration that is wrong in any key or value is refused with the path of the key and what is allowed there."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import ConfigError
from audit.findings import Severity
from audit.hookspecs import hookimpl
from audit.manager import Registry, load
from audit.training.config import Data, TrainConfig, is_train_config, read_train_config
from tests.audit.training.places import places
from tests.audit.training.toy import Toy

MINIMAL = 'run = "run"\nbackend = "toy"\n[data]\ninbox = "inbox"\n'
ROOT = Path(__file__).parents[3]
Read = Callable[[str], TrainConfig]


class Strict(Toy):
    """A backend with tables of its own, a path in one of them, a key that is not the user's, and an opinion."""

    def schema(self) -> Mapping[str, Mapping[str, Any]]:
        properties = {
            "rate": {"type": "number", "exclusiveMinimum": 0},
            "kind": {"enum": ["slow", "fast"]},
            "script": {"type": "string", "format": "path"},
            "home": {"type": "string", "format": "path", "default": "."},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
            "output_dir": {"not": {}, "refuse": "the run's directory is the key run"},
        }
        return {"toy": {"type": "object", "additionalProperties": False, "properties": properties}}

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings.get("toy", {}).get("rate") == 13:
            raise ConfigError("toy.rate: 13 brings bad luck")


@pytest.fixture(scope="module")
def registry() -> Registry:
    @hookimpl
    def audit_training_backends() -> list[Any]:
        return [Strict()]

    return load([SimpleNamespace(audit_training_backends=audit_training_backends)])


@pytest.fixture
def read(tmp_path: Path, registry: Registry) -> Read:
    def reading(text: str) -> TrainConfig:
        (tmp_path / "train.toml").write_text(text)
        return read_train_config(str(tmp_path / "train.toml"), registry)[0]

    return reading


def test_what_is_not_said_has_a_default(read: Read, tmp_path: Path) -> None:
    config = read(MINIMAL)
    assert config.run == str(tmp_path / "run")
    assert config.data == Data(
        str(tmp_path / "inbox"),
        str(tmp_path / "done"),
        str(tmp_path / "rejected"),
        "keep",
        1,
        True,
        ("*.jsonl", "*.json", "*.parquet", "*.jsonl.gz", "*.json.gz", "*.jsonl.zst", "*.json.zst"),
        {},
    )
    assert (config.seed, config.total_steps, config.decay_steps) == (42, None, None)
    assert list(config.watch) == [2.0, 30.0, None]
    assert config.verify.depth == "full"
    assert config.guard.max_rollback is None


def test_everything_can_be_said(read: Read, tmp_path: Path) -> None:
    config = read(
        f"""
        run = "{tmp_path}/elsewhere/run"
        backend = "toy"
        seed = 7
        [data]
        inbox = "in"
        done = "out/done"
        rejected = "out/bad"
        after = "delete"
        epochs = 3
        shuffle = false
        pattern = ["*.json"]
        format = "text"
        max_length = 64
        loss_on = "all"
        eval = "held/out.jsonl"
        [schedule]
        total_steps = 100
        decay_steps = 10
        [guard]
        strict = true
        exact = true
        max-rollback = 50
        [watch]
        settle-seconds = 0.5
        snapshots = "snap"
        [verify]
        ignore = ["security"]
        severity = {{ "weights/outlier" = "info" }}
        [trackers]
        findings = false
        timeout-seconds = 5
        [toy]
        rate = 0.5
        script = "train.py"
        """
    )
    assert config.run == f"{tmp_path}/elsewhere/run"
    assert config.data.done == str(tmp_path / "out" / "done")
    assert config.data.options == {
        "format": "text",
        "max_length": 64,
        "loss_on": "all",
        "eval": str(tmp_path / "held" / "out.jsonl"),
    }
    assert (config.data.epochs, config.data.shuffle, config.data.patterns) == (3, False, ("*.json",))
    assert (config.total_steps, config.decay_steps) == (100, 10)
    assert (config.guard.strict, config.guard.exact, config.guard.max_rollback) == (True, True, 50)
    assert list(config.watch) == [0.5, 30.0, str(tmp_path / "snap")]
    assert config.verify.severity == {"weights/outlier": Severity.INFO}
    assert (config.log_findings, config.log_seconds) == (False, 5.0)
    assert config.settings["toy"] == {"rate": 0.5, "script": str(tmp_path / "train.py"), "home": str(tmp_path)}


def test_a_path_may_begin_at_home(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert read(MINIMAL.replace('"run"', '"~/run"')).run == "/home/somebody/run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('run = "run"\nbackend = "toy"\n', "data: is missing"),
        ('backend = "toy"\n[data]\ninbox = "inbox"\n', "run: is missing"),
        ('run = "run"\nbackend = "toy"\n[data]\n', "data.inbox: is missing"),
        (MINIMAL + "epoch = 2\n", "data.epoch: there is no such key; did you mean 'epochs'?"),
        (MINIMAL + "[shedule]\n", "shedule: there is no such key; did you mean 'schedule' or 'seed'?"),
        (
            MINIMAL + "[watch]\nzzz = 1\n",
            "watch.zzz: there is no such key; there are: release-seconds, settle-seconds, snapshots",
        ),
        (MINIMAL + "epochs = 0\n", "data.epochs: 0 is less than the minimum of 1"),
        (MINIMAL + "epochs = 1.5\n", "data.epochs: 1.5 is not allowed; it takes a whole number"),
        (MINIMAL + "epochs = true\n", "data.epochs: True is not allowed; it takes a whole number"),
        (MINIMAL + 'shuffle = "no"\n', "data.shuffle: 'no' is not allowed; it takes true or false"),
        (MINIMAL + 'after = "burn"\n', "data.after: 'burn' is not one of keep, delete"),
        (MINIMAL + 'after = "deleted"\n', "data.after: 'deleted' is not one of keep, delete; did you mean 'delete'?"),
        (MINIMAL + 'format = "csv"\n', "data.format: 'csv' is not one of auto, text, messages, "),
        (MINIMAL + "pattern = []\n", "data.pattern: "),
        (MINIMAL + "pattern = [1]\n", "data.pattern.0: 1 is not allowed; it takes a string"),
        (MINIMAL + 'pattern = "*"\n', "data.pattern: '*' is not allowed; it takes a list"),
        (MINIMAL + "max_length = nan\n", "data.max_length: nan is not allowed; it takes a whole number"),
        ("seed = -1\n" + MINIMAL, "seed: -1 is less than the minimum of 0"),
        ("seed = 4294967296\n" + MINIMAL, "seed: 4294967296 is greater than the maximum of 4294967295"),
        (MINIMAL.replace('"run"', '""', 1), "run: '' should be non-empty"),
        (
            MINIMAL.replace('"run"', "1979-05-27", 1),
            "run: datetime.date(1979, 5, 27) is not allowed; it takes a string",
        ),
        (MINIMAL + "[watch]\nsettle-seconds = -1\n", "watch.settle-seconds: -1 is less than the minimum of 0"),
        (MINIMAL + 'done = "a\\u0000b"\n', "data.done: has a NUL character (\\u0000); remove it"),
        (
            MINIMAL + f'epochs = "{"x" * 3000}"\n',
            f"data.epochs: '{'x' * 76}... is not allowed; it takes a whole number",
        ),
        (
            MINIMAL + '[toy]\neither = ["hf_' + 'aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"]\n',
            "toy.either: ['hf_a...'] is not allowed; it takes true",
        ),
        ("run = " + "[" * 5000, "is not valid TOML: it is nested too deeply"),
        (MINIMAL + "[watch]\nsettle-seconds = inf\n", "watch.settle-seconds: inf is not a finite number"),
        (MINIMAL + "[toy]\nrate = nan\n", "toy.rate: nan is not a finite number"),
        (MINIMAL + "[toy]\nrate = 0\n", "toy.rate: 0 is less than or equal to the minimum of 0"),
        (MINIMAL + "[toy]\nrates = 1\n", "toy.rates: there is no such key; did you mean 'rate'?"),
        (MINIMAL + "[toy]\neither = 3\n", "toy.either: 3 is not allowed; it takes true or false or a string"),
        (MINIMAL + '[toy]\noutput_dir = "x"\n', "toy.output_dir: the run's directory is the key run"),
        (MINIMAL + "[toy]\nrate = 13\n", "toy.rate: 13 brings bad luck"),
        (MINIMAL + "[guard]\nmax-rollback = -5\n", "guard.max-rollback: -5 is less than the minimum of 0"),
        (MINIMAL + "[schedule]\ntotal_steps = 0\n", "schedule.total_steps: 0 is less than the minimum of 1"),
        (MINIMAL + '[verify]\nignore = ["loss/jmp"]\n', "verify: ignore: no rule or family is named 'loss/jmp'"),
        (MINIMAL + "[verify]\nnonsense = 1\n", "verify: "),
        (
            MINIMAL + "[trackers]\ntimeout-seconds = 0\n",
            "trackers.timeout-seconds: 0 is less than or equal to the minimum of 0",
        ),
        (
            MINIMAL + '[trackers]\ntimeout-seconds = "10"\n',
            "trackers.timeout-seconds: '10' is not allowed; it takes a number",
        ),
        (
            MINIMAL + '[verify]\ndepth = "quick"\n',
            "verify.depth: quick checks structure only and proves no checkpoint",
        ),
        (MINIMAL + '[verify]\nselect = ["files"]\n', "verify.select: a selection of rules proves no checkpoint"),
        ('run = "run"\nbackend = "nobody"\n[data]\ninbox = "in"\n', "backend: "),
        ('run = "run"\nbackend = 7\n[data]\ninbox = "in"\n', "backend: 7 is not a name"),
        ("run = ", "is not valid TOML: "),
        (MINIMAL + 'inbox = "twice"\n', "is not valid TOML: "),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(f"{tmp_path}/train.toml: {message}")) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ('done = "inbox/done"', "data.done: {home}/inbox/done is the directory of data.inbox, or is inside it"),
        ('done = "inbox"', "data.inbox: {home}/inbox is the directory of data.done, or is inside it"),
        ('rejected = "./done"', "data.done: {home}/done is the directory of data.rejected, or is inside it"),
        ('done = "run/done"', "data.done: {home}/run/done is inside the run; keep data beside it"),
        ('rejected = "run"', "data.rejected: {home}/run is the directory of run, or is inside it"),
    ],
)
def test_directories_that_lie_in_one_another_are_refused(places: str, message: str, read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message.format(home=tmp_path))):
        read(MINIMAL + places)


def test_the_run_may_lie_beside_a_directory_whose_name_begins_as_its_own(read: Read) -> None:
    assert read(MINIMAL.replace('"inbox"', '"run-inbox"')).data.inbox.endswith("/run-inbox")


def test_a_file_that_is_not_there_or_no_text_is_refused_in_one_line(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        read_train_config(str(tmp_path / "none.toml"), registry)
    (tmp_path / "train.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 1 is not"):
        read_train_config(str(tmp_path / "train.toml"), registry)


def test_without_a_table_verify_the_configuration_of_the_directory_counts(read: Read, tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text('ignore = ["security"]\n')
    assert read(MINIMAL).verify.ignore == ("security",)
    assert read(MINIMAL + "[verify]\n").verify.ignore == ()


def test_a_directory_that_asks_for_a_quick_audit_is_refused_unless_the_table_verify_says_otherwise(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "audit.toml").write_text('depth = "quick"\n')
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/audit.toml: depth: quick checks structure only")):
        read(MINIMAL)
    assert read(MINIMAL + "[verify]\n").verify.depth == "full"


def test_a_configuration_of_training_is_told_from_one_of_the_audit(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(MINIMAL)
    (tmp_path / "b.toml").write_text('depth = "quick"\n')
    assert is_train_config(str(tmp_path / "a.toml"))
    assert not is_train_config(str(tmp_path / "b.toml"))


def test_the_schema_is_a_schema_and_refuses_what_it_does_not_know() -> None:
    import jsonschema

    schema = json.loads((ROOT / "audit" / "schemas" / "train.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    tables = [part for part in schema["properties"].values() if part.get("properties")]
    assert tables
    assert all(part["additionalProperties"] is False for part in (schema, *tables))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "train.toml"
    path.write_text(MINIMAL)
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        read_train_config(str(path), registry)


def test_capitals_of_a_name_count_for_the_patterns(tmp_path: Path) -> None:
    data = places(tmp_path)._replace(patterns=("*.jsonl", "week-?.json"))

    taken = [name for name in ("a.jsonl", "a.JSONL", "week-1.json", "week-12.json") if data.takes(name)]

    assert taken == ["a.jsonl", "week-1.json"]
