"""A configuration that is wrong in any key or name is refused: a typo must not switch a rule off."""

import json
from pathlib import Path

import pytest

import audit.config
from audit.config import find, options_of_table, read, read_toml
from audit.errors import ConfigError
from audit.findings import Acceptance, Severity
from audit.manager import Registry, load
from audit.options import Options


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


def written(tmp_path: Path, text: str, name: str = "audit.toml") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def test_every_key_can_be_set(tmp_path: Path, registry: Registry) -> None:
    path = written(
        tmp_path,
        'depth = "quick"\nselect = ["files"]\nignore = ["files/leftover"]\nfail-on = "warning"\njobs = 4\n'
        'settle-seconds = 5\nbackend = "hf-trainer"\n[severity]\n"files/leftover" = "info"\n',
    )

    options = read(path, registry)

    assert options._replace(severity={}) == Options(
        "quick", ("files",), ("files/leftover",), Severity.WARNING, 4, 5.0, backend="hf-trainer"
    )
    assert options.severity == {"files/leftover": Severity.INFO}


SCHEMA = json.loads((Path(audit.config.__file__).parent / "schemas" / "config.json").read_text(encoding="utf-8"))
EXAMPLES = {
    "backend": "hf-trainer",
    "severity": {"files/leftover": "info"},
    "rules": {"loss/jump": {"share": 0.9}},
    "accept": [{"rule": "loss/jump", "step": 65, "reason": "meant"}],
}


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_every_key_of_the_schema_reaches_the_field_of_its_name(name: str, registry: Registry) -> None:
    part = SCHEMA["properties"][name]
    value = EXAMPLES.get(name) or (part["enum"][0 if name == "depth" else -1] if "enum" in part else None)
    value = value or {"array": ["files"], "integer": part.get("minimum", 0) + 2.0, "number": 7}[part["type"]]

    field = getattr(options_of_table({name: value}, registry, "audit.toml"), name.replace("-", "_"))

    assert field != getattr(Options(), name.replace("-", "_"))
    assert type(field) is not float or part["type"] == "number"


def test_pyproject_holds_the_same_in_its_table(tmp_path: Path, registry: Registry) -> None:
    path = written(tmp_path, '[tool.audit]\nfail-on = "never"\n', "pyproject.toml")

    assert read(path, registry).fail_on is None


@pytest.mark.parametrize("text", ["tool = 3\n", "[tool]\nother = 3\n", ""])
def test_a_pyproject_without_our_table_says_nothing(text: str, tmp_path: Path, registry: Registry) -> None:
    assert read(written(tmp_path, text, "pyproject.toml"), registry) == Options()


def test_a_value_in_place_of_our_table(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"tool\.audit: is not a table; write \[tool\.audit\]"):
        read(written(tmp_path, "[tool]\naudit = 3\n", "pyproject.toml"), registry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('depht = "quick"', "'depht' was unexpected.; did you mean 'depth'"),
        ('depth = "quik"', "depth: 'quik' is not one of .*; did you mean 'quick'"),
        ("jobs = 0", "jobs: 0 is less than"),
        ('select = ["file"]', "no rule or family is named 'file'; did you mean 'files'"),
        ('ignore = ["files/leftovers"]', "did you mean 'files/leftover'"),
        ('[severity]\n"files/nothing" = "info"', "severity: no rule is named 'files/nothing'"),
        ('[rules."files/leftover"]\nlimit = 3', "no threshold is named 'limit'; available: none"),
        ("depth = ", "is not valid TOML"),
        ('[[accept]]\nrule = "loss/jump"\nstep = 3', "accept.0: 'reason' is a required property"),
        ('[[accept]]\nrule = "loss/jump"\nreason = " "', "accept.0.reason"),
        (
            '[[accept]]\nrule = "loss/jmp"\nreason = "x"',
            "accept: no rule is named 'loss/jmp'; did you mean 'loss/jump'",
        ),
        ('[[accept]]\nrule = "loss/jump"\nstep = 3\ncheckpoint = "checkpoint-3"\nreason = "x"', "not both"),
        ('[[accept]]\nrule = "loss/jump"\ncheckpoint = "latest"\nreason = "x"', "'latest' is not the name of a checkp"),
        ('[[accept]]\nrule = "loss/jump"\nreason = "x"\nuntil = "2026-02-31"', "'2026-02-31' is not a date"),
        ('[[accept]]\nrule = "loss/jump"\nreason = "x"\nuntil = 2026-02-03T10:00:00', "accept.0.until"),
        ('[[accept]]\nrule = "loss/jump"\nreson = "x"', "reson"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, registry: Registry, text: str, message: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ConfigError, match=message) as caught:
        read(path, registry)
    assert path in str(caught.value)


def test_the_nearest_configuration_upwards_is_found(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    written(tmp_path, "[tool.other]\n", "pyproject.toml")
    path = written(tmp_path / "a", "[tool.audit]\n", "pyproject.toml")

    assert find(str(below)) == path


def test_select_and_ignore_take_rules_and_families(registry: Registry) -> None:
    chosen = Options(select=("files",), ignore=("files/leftover",)).chosen(registry.rules)

    assert {rule.family for rule in chosen} == {"files"}
    assert "files/leftover" not in {rule.id for rule in chosen}
    assert len(chosen) == sum(rule.family == "files" for rule in registry.rules) - 1


def test_a_finding_is_accepted_at_its_place(tmp_path: Path, registry: Registry) -> None:
    text = '[[accept]]\nrule = "loss/jump"\nstep = 65\nreason = """\n one\n two"""\nuntil = 2026-12-31\n'

    (entry,) = read(written(tmp_path, text), registry).accept

    assert entry == Acceptance("loss/jump", None, 65, "one two", "2026-12-31")


def test_a_rule_about_plans_has_nothing_to_accept(tmp_path: Path, registry: Registry) -> None:
    plan = next(rule.id for rule in registry.rules if rule.scope == "plan")

    with pytest.raises(ConfigError, match=f"accept: {plan} judges what audit train would do"):
        read(written(tmp_path, f'[[accept]]\nrule = "{plan}"\nreason = "x"\n'), registry)


@pytest.mark.parametrize("name", ["checkpoint-300", "step_300", "epoch_3"])
def test_the_checkpoint_of_any_trainer_can_be_named(name: str, tmp_path: Path, registry: Registry) -> None:
    text = f'[[accept]]\nrule = "loss/jump"\ncheckpoint = "{name}"\nreason = "meant"\n'

    assert read(written(tmp_path, text), registry).accept[0].checkpoint == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run = run", '; text is written in quotes: run = "run"'),
        ("run = C:\\data  # here", '; text is written in quotes: run = "C:/data"'),
        ('run = "C:\\data"', "; a path with \\ is written in single quotes"),
        ("shuffle = True", "; write shuffle = true"),
        ("run: run", "; write run = ..., not a colon"),
        ("[data", "at line 1, column 6)"),
    ],
)
def test_what_is_not_toml_has_what_to_write_instead(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(f"{text}\n")

    with pytest.raises(ConfigError) as wrong:
        read_toml(str(path))

    assert str(wrong.value).startswith(f"{path}: is not valid TOML: ")
    assert str(wrong.value).endswith(said)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_bytes(b'a = "\xff"\n')

    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 6 is not"):
        read_toml(str(tmp_path / "audit.toml"))
