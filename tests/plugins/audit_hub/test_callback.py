"""Real trainings push what they save, whatever the Hub does meanwhile, and go on from what comes back."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import ConfigError
from audit.testing.runs import edit_arguments, make_run
from tests.backends.hf_trainer.continuous import Continuous, examples
from tests.plugins.audit_hub.conftest import Desk, contents
from tests.plugins.audit_hub.server import Fault

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SAME = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def train(desk: Desk, keep: int, resume: str = "", **env: str) -> str:
    """Train in the directory ``tiny`` and return what was logged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.plugins.audit_hub.training", str(desk.home / "tiny"), str(keep), resume],
        cwd=ROOT,
        env={**desk.env, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def states(desk: Desk, run: str = "tiny") -> list[str]:
    return [item["state"] for item in desk.pushes(run)]


def test_a_run_is_pushed_deleted_pulled_and_resumed_to_the_same_bits(desk: Desk) -> None:
    assert train(desk, 3) == ""
    wait_for(lambda: states(desk) == ["pushed"] * 3)
    tiny = desk.home / "tiny"
    straight = contents(tiny / "checkpoint-6")
    pushed = contents(tiny / "checkpoint-4")
    wait_for(lambda: not Path(tiny, ".audit", "outbox").exists())
    tiny.rename(desk.home / "gone")

    assert desk("pull", "me/tiny-4", "tiny").code == 0

    assert contents(tiny / "checkpoint-4") == pushed
    guarded = desk.audit("guard", str(tiny), "--strict", "--exact")
    assert (guarded.code, guarded.out) == (0, f"{tiny}/checkpoint-4\n")
    train(desk, 3, f"{tiny}/checkpoint-4")
    resumed = contents(tiny / "checkpoint-6")
    assert {name: resumed[name] == straight[name] for name in SAME} == dict.fromkeys(SAME, True)


def test_an_outage_longer_than_the_training_loses_nothing_that_rotation_took(desk: Desk) -> None:
    desk.hub.break_with(Fault("*", "", 503, 1_000_000))

    assert train(desk, 1, AUDIT_HUB_PAUSE="0.3") == ""

    assert [path.name for path in sorted((desk.home / "tiny").glob("checkpoint-*"))] == ["checkpoint-6"]
    wait_for(lambda: all(item["tries"] > 1 for item in desk.pushes("tiny")))
    assert states(desk) == ["waiting"] * 3
    desk.hub.break_with()
    wait_for(lambda: states(desk) == ["pushed"] * 3)
    for step in (2, 4, 6):
        assert desk("pull", f"me/tiny-{step}", f"back-{step}").code == 0
        assert desk.audit("guard", f"back-{step}", "--exact").out == f"back-{step}/checkpoint-{step}\n"
    assert (desk.home / "tiny" / ".audit" / "push.log").read_text().count("pushed  checkpoint-") == 3


def test_a_training_without_a_login_ends_well_and_the_queue_is_pushed_later(desk: Desk) -> None:
    train(desk, 1, HF_TOKEN="")
    wait_for(lambda: states(desk) == ["stuck"] * 3)

    later = desk("push", "tiny", "--pending")

    assert (later.code, later.out.count("pushed  checkpoint-")) == (0, 3)
    assert sorted(desk.hub.repos) == ["me/tiny-2", "me/tiny-4", "me/tiny-6"]


def test_audit_train_pushes_what_each_batch_ended_with(desk: Desk) -> None:
    shop = Continuous(desk.home / "shop", more='[hub]\nrepo = "{user}/batch-{step}"')
    for number in (1, 2):
        shop.drop(f"{number}.jsonl", examples(8, number))

    shop.call(HF_TOKEN=desk.env["HF_TOKEN"])  # with HF_HUB_OFFLINE, as many train

    wait_for(lambda: states(desk, "shop/run") == ["stuck", "stuck"])
    assert "HF_HUB_OFFLINE is set" in desk.pushes("shop/run")[0]["reason"]
    assert desk("push", "shop/run", "--pending").code == 0
    assert sorted(desk.hub.repos) == [f"me/batch-{item['step']}" for item in desk.pushes("shop/run")]
    shop.config.write_text(shop.config.read_text().replace("batch-{step}", "batch"))
    assert "no template contains {step}" in shop.call(code=2).stderr


def test_what_cannot_be_queued_is_logged_and_the_training_goes_on(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    from types import SimpleNamespace

    from audit_hub import HubCallback

    run = make_run(desk.home / "other")
    edit_arguments(f"{run}/checkpoint-300", hub_token="hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH")
    args = SimpleNamespace(process_index=0, output_dir=run)

    HubCallback().on_save(args, SimpleNamespace(is_hyper_param_search=False, global_step=300), None)
    HubCallback().on_save(args, SimpleNamespace(is_hyper_param_search=False, global_step=400), None)
    HubCallback().on_save(SimpleNamespace(process_index=1), SimpleNamespace(is_hyper_param_search=False), None)

    first, second = [record.getMessage() for record in caplog.records]
    assert "checkpoint-300 is not pushed: " in first
    assert "looks like a secret" in first
    assert "checkpoint-400 is not pushed: " in second
    assert not os.path.exists(f"{run}/.audit/push.log")


def test_a_template_that_cannot_be_used_is_refused_when_the_callback_is_made() -> None:
    from audit_hub import HubCallback

    with pytest.raises(ConfigError, match="no template contains"):
        HubCallback(repo="me/one")
    with pytest.raises(ValueError, match="depth is 'deep'"):
        HubCallback(depth="deep")


def test_a_checkpoint_is_proven_as_the_configuration_of_the_callback_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from audit.options import Options
    from audit_hub import HubCallback, callback

    asked: list[Options | None] = []
    monkeypatch.setattr(callback, "push", lambda run, name, settings, options: asked.append(options))
    config = desk.home / "audit.toml"
    config.write_text('[[accept]]\nrule = "loss/jump"\nstep = 300\nreason = "other data"\n')
    state = SimpleNamespace(is_hyper_param_search=False, global_step=300)
    for made in (HubCallback(), HubCallback(config=str(config))):
        made.on_save(SimpleNamespace(process_index=0, output_dir=str(desk.home)), state, None)

    none, read = asked
    assert none is None
    assert read is not None
    assert [(item.rule, item.step) for item in read.accept] == [("loss/jump", 300)]
    config.write_text("ignored = []\n")
    with pytest.raises(ConfigError, match="ignored"):
        HubCallback(config=str(config))
