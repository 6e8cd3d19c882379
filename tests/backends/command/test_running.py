"""One leg of a command: what it is told, what is made of what it saves, and that nothing of it is left over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegData, LegFailed, LegRequest, LegResult, Note, Progress, Step
from audit.errors import AuditError, ConfigError
from audit_command import keeper, running
from audit_command.plugin import Command
from tests.backends.command import script

SCRIPT = script.__file__


class Leg:
    """Runs legs in one run; ``told`` are the events of the last one."""

    def __init__(self, home: Path) -> None:
        self.home, self.run = home, home / "run"
        self.told: list[Progress] = []

    def request(self, *words: str, resume: int = 0, last: int | None = None, **table: Any) -> LegRequest:
        command = {"argv": [sys.executable, SCRIPT, *words], "cwd": str(self.home), **table}
        settings = {"command": command, "schedule": {}}
        Command().check(settings)
        resume_from = str(self.run / f"checkpoint-{resume}") if resume else None
        data = LegData(str(self.home / "data.jsonl"), first=5, epochs=2)
        return LegRequest(str(self.run), resume_from, resume, last, data, settings, seed=7)

    def __call__(self, *words: str, **options: Any) -> LegResult:
        self.run.mkdir(exist_ok=True)
        self.told = []
        return Command().train(self.request(*words, **options), self.told.append)

    def fails(self, *words: str, **options: Any) -> LegFailed:
        with pytest.raises(LegFailed) as caught:
            self(*words, **options)
        return caught.value


@pytest.fixture
def leg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leg:
    monkeypatch.setattr(running, "POLL_SECONDS", 0.05)
    return Leg(tmp_path)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


class TestWhatTheCommandIsTold:
    def test_placeholders_and_variables_carry_the_leg(self, leg: Leg) -> None:
        words = [
            "run={run}",
            "data={data}",
            "{first_step}-{last_step}+{steps}",
            "{skip_examples} {epochs} {seed} {{run}} {",
        ]
        leg("save=4")

        leg(
            "tell=told.json", "save=10", *words, resume=4, last=10, examples_per_step=2, resume_argv=["r={resume_from}"]
        )

        known = json.loads((leg.home / "told.json").read_text())
        run, data = str(leg.run), str(leg.home / "data.jsonl")
        assert known["argv"][2:] == [
            f"run={run}",
            f"data={data}",
            "4-10+6",
            "5 2 7 {run} {",
            f"r={run}/checkpoint-4",
        ]
        assert known["env"] == {
            "AUDIT_RUN": run,
            "AUDIT_DATA": data,
            "AUDIT_RESUME_FROM": f"{run}/checkpoint-4",
            "AUDIT_FIRST_STEP": "4",
            "AUDIT_LAST_STEP": "10",
            "AUDIT_STEPS": "6",
            "AUDIT_SKIP_EXAMPLES": "5",
            "AUDIT_EPOCHS": "2",
            "AUDIT_SEED": "7",
            "AUDIT_HORIZON": "",
            "AUDIT_DECAY_STEPS": "",
        }

    def test_on_a_fresh_start_nothing_is_said_of_resuming(self, leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUDIT_RESUME_FROM", "left over from elsewhere")

        leg("tell=told.json", "save=2", resume_argv=["--resume={resume_from}"])

        known = json.loads((leg.home / "told.json").read_text())
        assert known["argv"] == ["tell=told.json", "save=2"]
        assert known["env"]["AUDIT_RESUME_FROM"] == ""

    def test_no_shell_reads_the_arguments(self, leg: Leg) -> None:
        hostile = '$(touch pwned); `touch pwned` && "*" ~'

        leg("tell=told.json", "save=2", hostile)

        assert json.loads((leg.home / "told.json").read_text())["argv"][-1] == hostile
        assert not (leg.home / "pwned").exists()

    def test_its_own_variables_may_hold_placeholders(self, leg: Leg) -> None:
        leg("tell=told.json", "save=2", env={"MY_DATA": "at {data}", "MY_CHECKPOINT": "{resume_from}"})

        own = json.loads((leg.home / "told.json").read_text())["env"]
        assert (own["MY_DATA"], own["MY_CHECKPOINT"]) == (f"at {leg.home}/data.jsonl", "")

    def test_it_starts_in_its_directory(self, leg: Leg) -> None:
        (leg.home / "there").mkdir()

        leg("tell=told.json", "save=2", cwd=str(leg.home / "there"))

        assert json.loads((leg.home / "there" / "told.json").read_text())["cwd"] == str(leg.home / "there")


class TestWhatIsMadeOfIt:
    def test_the_newest_checkpoint_says_how_far_it_came(self, leg: Leg) -> None:
        leg("save=4")

        result = leg("save=6", "save=8", resume=4)

        assert (result.first_step, result.last_step, result.stopped_by) == (4, 8, None)
        assert [step for step, _ in result.losses] == [5, 6, 7, 8]

    def test_steps_are_told_once_and_in_order(self, leg: Leg) -> None:
        leg("save=2", "save=4")

        logged = [event for event in leg.told if isinstance(event, Step) and event.loss is not None]
        steps = [event.step for event in logged]
        assert steps == [1, 2, 3, 4]
        assert all(event.learning_rate is not None for event in logged)

    def test_a_checkpoint_is_told_of_while_the_command_still_runs(self, leg: Leg) -> None:
        marked: list[bool] = []
        words = ["save=2", "mark=saved", "wait"]
        request = leg.request(*words)
        leg.run.mkdir()

        def tell(event: Progress) -> None:
            if isinstance(event, Step) and event.step == 2 and not marked:
                marked.append(True)
                os.kill(os.getpid(), signal.SIGTERM)

        result = Command().train(request, tell)

        assert (marked, result.last_step, result.stopped_by) == ([True], 2, signal.SIGTERM)

    def test_one_that_lay_further_ahead_before_is_no_progress(self, leg: Leg) -> None:
        leg("save=4", "save=90")

        assert leg.fails(resume=4).kind == "no-progress"
        assert leg("save=6", resume=4).last_step == 6

    def test_one_that_is_written_anew_is_progress(self, leg: Leg) -> None:
        leg("save=4", "save=6")

        assert leg("save=6", resume=4).last_step == 6

    @pytest.mark.parametrize(("asked", "noted"), [(2, []), (16, ["not at all"]), (1, ["more than once"])])
    def test_a_step_that_took_another_number_of_examples_is_noted(self, leg: Leg, asked: int, noted: list[str]) -> None:
        leg("save=2", last=2, examples_per_step=asked)  # training_args.bin says 2

        notes = [event.text for event in leg.told if isinstance(event, Note)]
        assert [text.partition("so examples were trained ")[2] for text in notes] == noted

    def test_going_further_than_asked_is_noted(self, leg: Leg) -> None:
        assert leg("save=4", last=2).last_step == 4

        (note,) = (event.text for event in leg.told if isinstance(event, Note))
        assert "trained to step 4, but was asked for 2 (AUDIT_LAST_STEP)" in note

    def test_a_damaged_state_is_left_to_the_verification(self, leg: Leg) -> None:
        leg.run.mkdir()
        code = "import os; os.makedirs('run/checkpoint-3'); open('run/checkpoint-3/trainer_state.json', 'w').write('{')"

        result = leg(argv=[sys.executable, "-c", code])

        assert (result.last_step, result.losses) == (3, ())

    def test_a_checkpoint_without_its_last_file_does_not_count(self, leg: Leg) -> None:
        code = "import os; os.makedirs('run/checkpoint-3')"

        assert leg.fails(argv=[sys.executable, "-c", code]).kind == "no-progress"


class TestWhyItFailed:
    def test_the_exit_code_and_the_exception_are_named(self, leg: Leg) -> None:
        failed = leg.fails("save=2", "raise=5")

        assert failed.kind == "exit"
        assert failed.reason == (
            "the command ended with exit code 1; last output: OSError: [Errno 5] Input/output error"
        )
        assert failed.step == 2

    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out-of-memory"),
            ("SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)", "disk-full"),
            ("Traceback: something", "exit"),
        ],
    )
    def test_memory_and_disk_have_kinds_of_their_own(self, leg: Leg, said: str, kind: str) -> None:
        failed = leg.fails(f"say={said}", "exit=1")

        assert (failed.kind, said in failed.reason) == (kind, True)

    def test_what_a_launcher_says_about_its_worker_does_not_hide_why(self, leg: Leg) -> None:
        said = (
            "[rank1]: Traceback (most recent call last):\n[rank1]: ValueError: no such column\n"
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\n train.py FAILED\n=====\n"
        )

        assert leg.fails(f"say={said}", "exit=1").reason.endswith("last output: ValueError: no such column")

    def test_the_last_lines_stand_for_an_exception(self, leg: Leg) -> None:
        failed = leg.fails("say=a\nusage: train\n\x1b[31mtrain: error\x1b[0m\r\n---\n", "exit=2")

        assert failed.reason.endswith("exit code 2; last output: a / usage: train / train: error")

    def test_a_flood_of_errors_is_kept_short(self, leg: Leg) -> None:
        failed = leg.fails(argv=[sys.executable, "-c", "import sys; sys.stderr.write('x' * 3_000_000); sys.exit(1)"])

        assert len(failed.reason) < 300

    @pytest.mark.parametrize("words", [["die=9"], ["exit=137"]])
    def test_killed_is_told_from_failed(self, leg: Leg, words: list[str]) -> None:
        failed = leg.fails(*words)

        assert failed.kind == "killed"
        assert "signal 9 (SIGKILL), perhaps by the kernel because memory ran out" in failed.reason

    def test_a_program_that_is_not_there_is_the_configurations_fault(self, leg: Leg) -> None:
        with pytest.raises(
            ConfigError, match=r"^command\.argv\.0: axolotll cannot be started: no such program on PATH"
        ):
            leg(argv=["axolotll", "train"])
        with pytest.raises(ConfigError, match=r"^command\.argv\.0: \./train cannot be started: no such file"):
            leg(argv=["./train"])
        with pytest.raises(ConfigError, match=r"^command\.cwd: /nowhere is not a directory"):
            leg("save=2", cwd="/nowhere")

    def test_a_script_that_may_not_be_executed_is_told_from_one_without_its_interpreter(self, leg: Leg) -> None:
        program = leg.home / "train"
        program.write_text("#!/no/such/interpreter\n")
        with pytest.raises(ConfigError, match="Permission denied"):
            leg(argv=["./train"])
        program.chmod(0o755)
        with pytest.raises(ConfigError, match="the interpreter in its first line does not exist"):
            leg(argv=["./train"])

    def test_ending_well_without_a_checkpoint_says_what_to_look_at(self, leg: Leg) -> None:
        fresh = leg.fails()
        leg("save=4")
        resumed = leg.fails(resume=4, last=9)

        assert (fresh.kind, resumed.kind) == ("no-progress", "no-progress")
        assert "does it save into the run (AUDIT_RUN)" in fresh.reason
        assert "num_train_epochs" in resumed.reason
        assert "max_steps must be 9 (AUDIT_LAST_STEP)" in resumed.reason

    def test_a_budget_that_cannot_be_known_is_named(self, leg: Leg) -> None:
        with pytest.raises(ConfigError, match=r"^command\.argv\.2: \{last_step\} is not known for this data file"):
            leg("{last_step}", examples_per_step=4)

    def test_a_keeper_that_cannot_run_is_not_called_killed(self, leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper, "__file__", "/nowhere/keeper.py")

        reason = leg.fails("save=2").reason

        assert "the process that supervises the command ended with code 2; last output: " in reason
        assert "/nowhere/keeper.py" in reason


class TestStopping:
    def stop_when(self, path: Path) -> None:
        def wait() -> None:
            until(path.exists)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()

    def test_a_signal_is_passed_on_and_what_was_saved_counts(self, leg: Leg) -> None:
        self.stop_when(leg.home / "begun")

        result = leg("save=2", "save-when-stopped=3", "mark=begun", "wait")

        assert (result.last_step, result.stopped_by) == (3, signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def test_one_that_saves_nothing_then_is_no_failure(self, leg: Leg) -> None:
        self.stop_when(leg.home / "begun")

        result = leg("mark=begun", "wait")

        assert (result.first_step, result.last_step, result.stopped_by) == (0, 0, signal.SIGTERM)

    def test_one_that_does_not_listen_is_killed(self, leg: Leg) -> None:
        self.stop_when(leg.home / "begun")

        result = leg("save=2", "deaf", "mark=begun", "wait", stop_seconds=0.1)

        assert (result.last_step, result.stopped_by) == (2, signal.SIGTERM)
        assert not alive(int((leg.home / "begun").read_text()))

    def test_one_that_takes_too_long_is_ended(self, leg: Leg) -> None:
        failed = leg.fails(argv=["sleep", "600"], timeout_seconds=0.2)

        assert (failed.kind, failed.step) == ("timeout", 0)
        assert "command.timeout_seconds = 0.2" in failed.reason


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt what another leaves behind")
class TestNothingIsLeftOver:
    def test_a_worker_that_outlives_the_command_is_ended(self, leg: Leg) -> None:
        leg("leave-behind=worker", "save=2")

        assert not alive(int((leg.home / "worker").read_text()))

    @pytest.mark.parametrize("victim", ["audit", "keeper"])
    def test_whatever_is_killed_takes_the_command_with_it(self, leg: Leg, victim: str) -> None:
        leg.run.mkdir()
        program = (
            "import sys, json\nfrom audit.backend.training import LegData, LegRequest\nfrom audit_command.plugin import Command\n"
            "fields = json.load(sys.stdin)\nfields['data'] = LegData(*fields['data'])\n"
            "Command().train(LegRequest(**fields), print)\n"
        )
        request = leg.request("leave-behind=worker", "mark=begun", "wait")
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as audit:
            try:
                assert audit.stdin is not None
                assert audit.stderr is not None
                audit.stdin.write(json.dumps(request._asdict()).encode())
                audit.stdin.close()
                until((leg.home / "begun").exists)
                command, worker = (int((leg.home / name).read_text()) for name in ("begun", "worker"))
                watcher = int(Path(f"/proc/{command}/stat").read_text().rpartition(")")[2].split()[1])
                assert (alive(command), alive(worker)) == (True, True)

                os.kill(audit.pid if victim == "audit" else watcher, signal.SIGKILL)

                until(lambda: not alive(command))
                if victim == "audit":
                    until(lambda: not alive(worker))
                else:
                    assert b"the process that supervises the command was killed" in audit.stderr.read()
                    os.kill(worker, signal.SIGKILL)
            finally:
                audit.kill()


def test_one_of_several_processes_of_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(AuditError, match=r"put torchrun or accelerate launch in command\.argv"):
        Command().team({})


def test_alone_it_is_a_team_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)

    with Command().team({}) as team:
        assert (team.rank, team.size, team.share(lambda: 3)) == (0, 1, 3)
