"""A continuous training with the real Trainer in processes of their own, and a witness of what each step trained."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import audit

WITNESS = str(Path(__file__).parent / "witness")
PATIENCE = 120
"""Seconds after which a process that should have ended is taken for hung: no test waits that long if all is well."""
LOST_AFTER = 30
"""Seconds after which a signal to a launcher is taken for lost: it reaches the workers within one."""
LLAMA = """
[model.random]
hidden_size = 16
intermediate_size = 32
vocab_size = 96
"""
LORA = """
[adapter]
r = 4
lora_dropout = 0.2
"""
ARGUMENTS = """
per_device_train_batch_size = 2
gradient_accumulation_steps = 2
save_steps = 2
learning_rate = 0.01
"""
STATE = ("adapter_model.safetensors", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
         "rng_state_0.pth", "rng_state_1.pth")  # fmt: skip

Row = dict[str, Any]


def examples(count: int, seed: int) -> list[list[int]]:
    """Rows of unlike length, no two alike: the first two numbers are the seed and the row."""
    chance = random.Random(seed)
    return [
        [seed % 96, number % 96, *(chance.randrange(96) for _ in range(chance.randint(3, 9)))]
        for number in range(count)
    ]


class Pass(NamedTuple):
    """One forward and backward pass: ``who`` did it, in which step, with which rows; ``fill`` more taught nothing."""

    who: str
    rank: int
    step: int
    rows: list[list[int]]
    fill: int


class Continuous:
    """A directory with a configuration: ``drop`` files, ``call`` or ``start`` audit train, see what was trained.

    ``launcher``: what to put before ``audit train``.
    """

    def __init__(
        self,
        home: Path,
        model: str = LLAMA,
        adapter: str = LORA,
        arguments: str = "",
        data: str = "",
        more: str = "",
        launcher: Sequence[str] = (),
    ) -> None:
        self.home, self.run, self.inbox, self.log = home, home / "run", home / "inbox", home / "witness.jsonl"
        self.config = home / "train.toml"
        self.launcher = tuple(launcher)
        self.dropped: dict[str, list[Any]] = {}
        self.inbox.mkdir(parents=True)
        own = {line.split(" =")[0] for line in arguments.splitlines() if line}
        kept = "\n".join(line for line in ARGUMENTS.splitlines() if line.split(" =")[0] not in own)
        self.config.write_text(
            f'run = "run"\n[data]\ninbox = "inbox"\n{data}\n{model}\n{adapter}\n[arguments]{kept}\n{arguments}\n'
            f"[watch]\nsettle-seconds = 0\n{more}\n"
        )

    def drop(self, name: str, rows: Sequence[Any]) -> Path:
        """Put a file of rows of ids, or of whole objects, into the inbox."""
        path = self.inbox / name
        hidden = path.with_name(f".{name}")
        made = (row if isinstance(row, dict) else {"input_ids": row} for row in rows)
        hidden.write_text("".join(json.dumps(row) + "\n" for row in made))
        hidden.rename(path)
        self.dropped[name] = list(rows)
        return path

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join(part for part in (WITNESS, os.environ.get("PYTHONPATH", "")) if part)
        own = {"PYTHONPATH": path, "WITNESS": str(self.log), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "", **more}

    def command(self, *options: str) -> list[str]:
        python = [] if self.launcher and "--no-python" not in self.launcher else [sys.executable]
        return [*self.launcher, *python, "-m", "audit", "train", str(self.config), *options]

    def start(self, *options: str, **environment: str) -> "subprocess.Popen[str]":
        """Begin; the process leads a session of its own, and its events come one JSON object a line."""
        return subprocess.Popen(
            self.command("--log-format", "json", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.environment(**environment),
        )

    def call(self, *options: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run to the end, as people see it, and hold it to the exit code."""
        done = subprocess.run(
            self.command(*options),
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
            start_new_session=True,
            env=self.environment(**environment),
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}\n{self.printed()}"
        return done

    def straight(self, home: Path, decay: bool = False) -> "Continuous":
        """Train the same files, all there from the beginning and never disturbed, in this process."""
        import torch

        from audit.manager import load
        from audit.training.config import read_train_config
        from audit.training.loop import TrainOptions, train
        from audit.training.process import here

        other = Continuous(home)
        other.config.write_text(self.config.read_text())
        for name, rows in self.dropped.items():
            other.drop(name, rows)
        registry = load()
        config, trainer = read_train_config(str(other.config), registry)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            assert train(config, trainer, registry, lambda event: None, TrainOptions(decay=decay), run_leg=here) == 0
        finally:
            torch.set_num_threads(threads)
        return other

    def waiting(self) -> list[str]:
        """The files in the inbox."""
        return sorted(place.name for place in self.inbox.iterdir() if not place.name.startswith("."))

    # -- what is there --------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        return max((int(place.name.split("-")[1]) for place in self.run.glob("checkpoint-*")), default=0)

    def state(self, step: int | None = None) -> dict[str, str]:
        """Digests of weights, optimizer, scheduler, random states of a checkpoint (the newest), and what it logged."""
        home = self.run / f"checkpoint-{step or self.step}"
        files = {name: home / name for name in STATE if (home / name).exists()}
        assert len(files) >= 4, sorted(place.name for place in home.iterdir())
        found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        kept = ("step", "loss", "learning_rate", "grad_norm", "eval_loss")
        told = [{key: row[key] for key in kept if key in row} for row in self.logged(step)]
        return {**found, "log": json.dumps(told), "step": home.name}

    def logged(self, step: int | None = None) -> list[Row]:
        """The log of the newest checkpoint, the leg's sums at its end left out."""
        state = json.loads((self.run / f"checkpoint-{step or self.step}" / "trainer_state.json").read_text())
        return [row for row in state["log_history"] if "train_runtime" not in row]

    def rates(self) -> list[float]:
        return [row["learning_rate"] for row in self.logged() if "learning_rate" in row]

    def printed(self) -> str:
        log = self.run / ".audit" / "training.log"
        return log.read_text() if log.exists() else ""

    def rows(self) -> list[Row]:
        """What the ledger holds of batches, as ``audit history`` tells it."""
        found: list[Row] = json.loads(self.history("--format", "json"))["batches"]
        return found

    def history(self, *options: str) -> str:
        command = [sys.executable, "-m", "audit", "history", str(self.run), *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def passes(self) -> list[Pass]:
        if not self.log.exists():
            return []
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [Pass(*(item[key] for key in Pass._fields)) for item in found if "step" in item]

    def trained(self) -> dict[int, list[list[int]]]:
        """Step -> rows, of the lineage that survived: the process that did a step last did it for good."""
        last: dict[tuple[int, int], str] = {}
        found = self.passes()
        for item in found:
            last[item.step, item.rank] = item.who
        steps: dict[int, list[list[int]]] = {}
        for item in found:
            if last[item.step, item.rank] == item.who:
                steps.setdefault(item.step, []).extend(item.rows)
        return dict(sorted(steps.items()))

    def check(self, straight: "Continuous | None" = None, epochs: int = 1, per_step: int = 4) -> None:
        """Every example once in the steps of its own batch, everything proven, the same bits as ``straight``."""
        assert self.waiting() == []
        steps = self.trained()
        batches = self.rows()
        assert [item["file"] for item in batches] == sorted(self.dropped)
        assert {item["state"] for item in batches} == {"retired"}
        assert sorted(steps) == list(range(1, self.step + 1))
        after = 0
        for item in batches:
            assert item["first_step"] == after
            after = item["step"]
            parts = [steps[step] for step in range(item["first_step"] + 1, item["step"] + 1)]
            assert [len(part) for part in parts[:-1]] == [per_step] * (len(parts) - 1)
            rows = self.dropped[item["file"]] * epochs
            found = [row for part in parts for row in part]
            assert len(found) == len(rows), item["file"]
            if not isinstance(rows[0], dict):
                assert sorted(found) == sorted(rows), item["file"]
        report = audit.verify(str(self.run))
        assert report.verdict == "sound", report.findings
        assert not report.findings, report.findings
        if straight is not None:
            assert self.state() == straight.state()

    # -- kills and signals ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def held(self, step: int, *options: str, **environment: str) -> Iterator["Held"]:
        """Begin, and wait until the process that trains stands before ``step``."""
        fifo = Path(f"{self.log}.fifo")
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        before = len(self._notes())
        process = self.start(*options, WITNESS_ACT=f"hold@{step}", **environment)
        try:
            note = until(lambda: next((item for item in self._notes()[before:] if "held" in item), None), process)
            yield Held(process, note["pid"], fifo, Path(f"{self.log}.signals"))
        finally:
            end_session(process)

    def _notes(self) -> list[Row]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


class Held:
    """``audit train`` is ``process``; its training process, ``child``, waits before a step until ``release``."""

    def __init__(self, process: "subprocess.Popen[str]", child: int, fifo: Path, signals: Path) -> None:
        self.process, self.child, self._fifo, self._signals = process, child, fifo, signals

    def signal(self, number: int) -> None:
        """Send a signal to ``audit train`` and wait until the child has it, too: two at once would be one."""
        before = len(self._signals.read_bytes())
        self.process.send_signal(number)
        self.signalled(before)

    def signalled(self, before: int = 0) -> None:
        """Wait until the child has got a signal, beside those ``before``."""
        until(lambda: len(self._signals.read_bytes()) > before)

    def signal_launcher(self, number: int) -> None:
        """Send a signal to torchrun, which passes it on, and wait until the child has it.

        torchrun's handler raises a SignalException, which is an Exception: if it is raised inside one of the
        ``except Exception`` of torch.distributed.elastic (its poll of the workers, its store), the signal is lost and
        nobody is told. So it is sent once more if the child has got none after a while; a second one does no harm.
        """
        self.process.send_signal(number)
        deadline = time.monotonic() + LOST_AFTER
        while not self._signals.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self._signals.read_bytes():
            self.process.send_signal(number)
        self.signalled()

    def end_session(self) -> None:
        """SIGKILL to all of it."""
        end_session(self.process)

    def release(self) -> None:
        with open(self._fifo, "wb"):
            pass

    def end(self) -> tuple[int, list[Row], str]:
        """Wait; return the exit code, the events and what was printed as errors."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors


def until(found: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := found()):
        if process is not None and process.poll() is not None:
            out, errors = process.communicate()
            pytest.fail(f"ended with {process.returncode} before its time\n{out}\n{errors}")
        if time.monotonic() > deadline:
            pytest.fail("nothing happened")
        time.sleep(0.01)
    return answer


def alive(process: int) -> bool:
    """Whether it runs; a dead one that nobody has waited for does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.getsid(int(name)) == leader and alive(int(name)):
                found.append(int(name))
    return found


def end_session(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to every process of the session that ``process`` leads."""
    for member in session_of(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
