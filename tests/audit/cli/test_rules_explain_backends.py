"""audit rules, audit explain, audit backends and audit --version."""

import json
import tomllib
from collections.abc import Callable

from audit.manager import load
from audit.version import __version__
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def test_every_rule_has_one_line(audit: Audit) -> None:
    ended = audit("rules")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == [rule.id for rule in load().rules]
    line = next(line for line in ended.out.splitlines() if line.startswith("files/missing-optimizer "))
    assert line.split()[1:] == ["error", "blocks", "The", "optimizer", "state", "is", "not", "there."]


def test_the_rules_of_one_family(audit: Audit) -> None:
    assert {line.partition("/")[0] for line in audit("rules", "steps").out.splitlines()} == {"steps"}
    assert "no family is named 'stps'; available: adapter, deepspeed, files" in one_line(audit("rules", "stps"))


def test_the_rules_for_programs_have_all_that_is_known(audit: Audit) -> None:
    ended = audit("rules", "--format", "json")
    found = {item["id"]: item for item in json.loads(ended.out)["rules"]}
    assert (ended.code, list(found)) == (0, [rule.id for rule in load().rules])
    optimizer, jump = found["files/missing-optimizer"], found["loss/jump"]
    assert (optimizer["family"], optimizer["severity"], optimizer["blocks_resume"]) == ("files", "error", True)
    assert optimizer["title"] == optimizer["documentation"].partition("\n")[0] == "The optimizer state is not there."
    assert optimizer["remedy"] == load().rule("files/missing-optimizer").remedy
    assert jump["options"] == dict(load().rule("loss/jump").options) != {}
    assert {item["family"] for item in json.loads(audit("rules", "steps", "--format", "json").out)["rules"]} == {
        "steps"
    }


def test_every_rule_explains_itself(audit: Audit) -> None:
    for rule in load().rules:
        ended = audit("explain", rule.id)
        assert ended.code == 0
        assert ended.out.startswith(f"{rule.id} ({rule.severity.value}")
        assert f"What to do: {rule.remedy}\n" in ended.out
        thresholds = ended.out.partition("\nThresholds, in ")[2].replace(":\n", "\n", 1)
        copied = tomllib.loads(thresholds)["tool"]["audit"]["rules"][rule.id] if thresholds else {}
        assert copied == dict(rule.options)


def test_an_explanation_names_the_causes_that_are_reported_instead(audit: Audit) -> None:
    out = audit("explain", "files/missing-scheduler").out
    assert "files/missing-scheduler (error, blocks resuming)" in out
    assert "already named by: files/missing-optimizer" in out


def test_an_unknown_rule_is_one_line_with_the_nearest_name(audit: Audit) -> None:
    assert "did you mean 'files/missing-optimizer'" in one_line(audit("explain", "files/missing-optimiser"))


def test_a_family_in_place_of_a_rule_is_told_where_it_is_explained(audit: Audit) -> None:
    assert one_line(audit("explain", "loss")).endswith("'loss' is a family of rules; see audit rules loss\n")


def test_the_backends_are_listed_with_what_they_can_do(audit: Audit) -> None:
    assert audit("backends").out.splitlines() == [
        "accelerate  reads checkpoints             accelerate (save_state)",
        "command     trains                        any launcher as a subprocess",
        "deepspeed   reads checkpoints             DeepSpeed (engine.save_checkpoint)",
        "hf-trainer  reads checkpoints and trains  Hugging Face Trainer",
        "lightning   reads checkpoints             PyTorch Lightning (.ckpt)",
        "torch-dcp   reads checkpoints             torch.distributed.checkpoint (torchtitan, dcp.save)",
    ]


def test_the_version_is_said(audit: Audit) -> None:
    for option in ("--version", "-V"):
        ended = audit(option)
        assert (ended.code, ended.out) == (0, f"checkpoint-audit {__version__}\n")


def test_a_command_called_twice_in_a_process_works_twice(audit: Audit, run: str) -> None:
    assert [audit("list", run).code for _ in range(2)] == [0, 0]
