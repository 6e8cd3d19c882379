"""A week of `audit train --watch` in miniature: python benchmarks/week.py [--keep DIR] [--seed N]

A real Trainer with a tiny LoRA model, supervised as systemd would: started again a second after it fails. Over the week
twelve data files are dropped; the daemon is killed three times; there are a bad file, a duplicate, a full disk and a
checkpoint broken by hand. In the end it is proven that every good example was trained once, by a witness inside the
training processes that knows nothing of the audit, and by training the same files once more undisturbed: the weights
must be the same, bit for bit.

Exits with 0 if all of it holds. Takes a few minutes on two cores; needs the extra hf, and root for the small disk (a
tmpfs); without root a limit on the size of files stands for the full disk, as a quota would.
"""

import argparse
import hashlib
import itertools
import json
import os
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WITNESS = ROOT / "tests" / "backends" / "hf_trainer" / "witness"
FILES, ROWS, PER_STEP, VOCABULARY = 12, 48, 4, 64
STEPS = ROWS // PER_STEP
DISK_MB = 3
PATIENCE = 300
CONFIG = f"""\
run = "{{run}}"
seed = 7

[data]
inbox = "inbox"

[model.random]
vocab_size = {VOCABULARY}

[adapter]
r = 4
lora_alpha = 8
lora_dropout = 0.05
target_modules = ["q_proj", "v_proj"]
modules_to_save = ["lm_head"]

[arguments]
per_device_train_batch_size = {PER_STEP}
learning_rate = 4e-3
lr_scheduler_type = "constant_with_warmup"
warmup_steps = 10
save_steps = 5
save_total_limit = 3

[watch]
settle-seconds = 0.5
snapshots = "snapshots"
"""


def rows(number):
    """What a tiny model can learn: counting upwards with a stride. The first two ids make each row unique."""
    chance = random.Random(number)
    made = []
    for row in range(ROWS):
        start, stride = chance.randrange(VOCABULARY), chance.choice((1, 2, 3))
        made.append([number, row, *((start + stride * place) % VOCABULARY for place in range(12))])
    return made


def say(text):
    print(text, flush=True)


def witnessed(home):
    """Step -> rows, in the lineage that survived: the last process that trained a step counts."""
    found = [json.loads(line) for line in (home / "witness.jsonl").read_text().splitlines()]
    found = [item for item in found if "step" in item]
    last = {item["step"]: item["who"] for item in found}
    steps = {}
    for item in found:
        if item["who"] == last[item["step"]]:
            steps.setdefault(item["step"], []).extend(item["rows"])
    return steps


class Supervisor:
    """Keeps the daemon running and reads its events."""

    def __init__(self, home, environment):
        self.home, self.environment = home, environment
        self.process, self.code, self.stopping = None, None, False
        self.events, self.starts, self.torch_seen = queue.Queue(), 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "audit", "train", "train.toml", "--watch", "--log-format", "json"],
                cwd=self.home,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self.starts += 1
            for line in self.process.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = {"event": "stderr", "text": line.rstrip()}
                self.events.put(event)
            self.code = self.process.wait()
            self.events.put({"event": "ended", "code": self.code})
            time.sleep(1)

    def until(self, wanted):
        """Show the events up to the first that is wanted, and return that."""
        from audit.cli.progress_of_training import text_of
        from audit.training.events import from_json

        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                event = self.events.get(timeout=1)
            except queue.Empty:
                continue
            kind = event["event"]
            if kind == "ended":
                say(f"    [the daemon ended with {event['code']}]")
            elif kind == "stderr":
                say(f"    {event['text']}")
            elif kind == "refused":
                say(f"    audit train: {event['reason']}")
            elif (known := from_json(event)) and (text := text_of(known)):
                say(f"    {text}")
            if wanted(event):
                return event
        raise SystemExit(f"nothing happened for {PATIENCE} s")

    def idle(self):
        self.until(lambda event: event["event"] == "waiting")

    def finished(self, name):
        self.until(lambda event: event["event"] == "finished" and event["file"] == name)

    def child(self):
        """The process that trains now."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, ValueError, IndexError):
                    continue
                if parent == self.process.pid:
                    return int(entry.name)
        return None


class Week:
    def __init__(self, home, seed):
        self.home, self.chance = home, random.Random(seed)
        self.inbox, self.disk = home / "inbox", home / "disk"
        self.run = self.disk / "current_model"
        self.inbox.mkdir()
        self.disk.mkdir()
        self.mounted = (
            os.geteuid() == 0
            and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.disk)],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )
        (home / "train.toml").write_text(CONFIG.format(run="disk/current_model"))
        path = os.pathsep.join([str(WITNESS), str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")])
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "WITNESS": str(home / "witness.jsonl"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        self.good = {}

    def drop(self, number):
        name = f"{number:02}.jsonl"
        self.good[name] = rows(number)
        self.put(name, "".join(json.dumps({"input_ids": row}) + "\n" for row in self.good[name]))
        return name

    def put(self, name, text):
        say(f"  $ cp {name} inbox/")
        with (self.inbox / name).open("w") as stream:
            for at in range(0, len(text), 1 + len(text) // 3):  # in pieces, as a copy over a network comes
                stream.write(text[at : at + 1 + len(text) // 3])
                stream.flush()
                time.sleep(0.2)

    def live(self):
        daemon = self.daemon = Supervisor(self.home, self.environment)
        daemon.idle()

        say("\nMonday: two files.")
        self.drop(1)
        name = self.drop(2)
        daemon.finished(name)

        say("\nTuesday: a file, and the daemon is killed while it is trained.")
        self.killed(self.drop(3), "daemon")
        self.drop(4)
        daemon.finished("04.jsonl")

        say("\nWednesday: a bad file between two good ones; the training process is killed, as for want of memory.")
        self.put("05-bad.jsonl", '{"input_ids": [1, 2, 3]}\n{"input_ids": [4, "five"]}\n')
        self.killed(self.drop(5), "training process")
        name = self.drop(6)
        daemon.finished(name)

        say("\nThursday: the disk is full.")
        daemon.idle()
        self.full(self.drop(7))
        name = self.drop(8)
        daemon.finished(name)

        say("\nFriday: somebody drops a file of Monday once more, and breaks the newest checkpoint.")
        shutil.copy(self.home / "done" / "02.jsonl", self.home / "again")
        self.put("08-again.jsonl", (self.home / "again").read_text())
        daemon.until(lambda event: event["event"] == "duplicate")
        daemon.idle()
        newest = max(self.run.glob("checkpoint-*"), key=lambda place: int(place.name.split("-")[1]))
        broken = newest / "optimizer.pt"
        os.truncate(broken, broken.stat().st_size // 2)
        say(f"  $ truncate -s {broken.stat().st_size} {os.path.relpath(broken, self.home)}")
        name = self.drop(9)
        daemon.finished(name)

        say("\nSaturday: all of it is killed while a file is trained.")
        self.killed(self.drop(10), "whole session")
        name = self.drop(11)
        daemon.finished(name)

        say("\nSunday: the last file.")
        name = self.drop(12)
        daemon.finished(name)
        daemon.idle()
        daemon.stopping = True
        os.kill(daemon.process.pid, signal.SIGTERM)
        daemon.until(lambda event: event["event"] == "ended")
        assert daemon.code == 143, daemon.code

    def killed(self, name, what):
        """SIGKILL at a random moment within the batch."""
        daemon, step = self.daemon, self.chance.randrange(1, STEPS - 4)
        daemon.until(lambda event: event["event"] == "batch" and event["file"] == name)
        seen = []
        daemon.until(lambda event: event["event"] == "step" and (seen.append(event["step"]) or len(set(seen)) >= step))
        time.sleep(self.chance.random() * 0.02)
        say(f"  $ kill -9 the {what}, in step {seen[-1] + 1}")
        if what == "daemon":
            os.kill(daemon.process.pid, signal.SIGKILL)
        elif what == "training process":
            os.kill(daemon.child(), signal.SIGKILL)
        else:
            os.killpg(daemon.process.pid, signal.SIGKILL)
        daemon.until(lambda event: event["event"] == "ended")
        daemon.finished(name)

    def full(self, name):
        """The disk fills up while the batch is trained and is full when the daemon starts again; then there is room."""
        daemon = self.daemon
        if self.mounted:
            daemon.until(lambda event: event["event"] == "batch" and event["file"] == name)
            ballast = self.disk / "ballast"
            with ballast.open("wb", buffering=0) as stream:
                stream.write(b"\0" * max(0, shutil.disk_usage(self.disk).free - (40 << 10)))
            say(f"  $ df disk/    [{shutil.disk_usage(self.disk).free >> 10} kB of {DISK_MB} MB free]")
            for _ in range(2):
                daemon.until(lambda event: event["event"] == "ended")
            say("  $ rm disk/ballast")
            ballast.unlink()
        else:
            resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (20 << 10, resource.RLIM_INFINITY))
            say("  [the daemon may write no file of more than 20 kB]")
            daemon.until(lambda event: event["event"] == "ended")
        daemon.finished(name)

    # -- what must hold in the end ------------------------------------------------------------------------------------

    def audit(self, *arguments, quiet=False):
        done = subprocess.run(
            [sys.executable, "-m", "audit", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not quiet:
            say(f"\n$ audit {' '.join(arguments)}\n{(done.stdout + done.stderr).rstrip()}")
        return done

    def check(self):
        last = FILES * STEPS
        assert self.audit("history", "disk/current_model").returncode == 0
        verified = self.audit("verify", "disk/current_model")
        assert verified.returncode == 0, "not sound"
        assert "SOUND" in verified.stdout, "not sound"
        assert " error" not in verified.stdout, "findings"

        report = json.loads(self.audit("verify", "--format", "json", "disk/current_model", quiet=True).stdout)
        judged = [item for item in report["outcomes"] if item["rule"].startswith(("loss/", "learning-rate/"))]
        passed = sorted({item["rule"] for item in judged if item["outcome"] == "pass"})
        assert {item["outcome"] for item in judged} <= {"pass", "not-applicable"}, judged
        assert "loss/jump" in passed, judged
        told = f"Of the rules on loss and learning rate these could judge, and found nothing: {', '.join(passed)}."
        say("\n" + textwrap.fill(told, 120, break_on_hyphens=False))

        names = {place: sorted(os.listdir(self.home / place)) for place in ("inbox", "done", "rejected")}
        for place, found in names.items():
            say(f"\n$ ls {place}/\n{' '.join(found)}")
        assert names["inbox"] == []
        assert names["done"] == sorted(self.good)
        assert names["rejected"] == ["05-bad.jsonl", "08-again.jsonl"]

        steps = witnessed(self.home)
        assert sorted(steps) == list(range(1, last + 1)), "a step is missing"
        trained = [tuple(row) for step in sorted(steps) for row in steps[step]]
        expected = [tuple(row) for part in self.good.values() for row in part]
        assert len(trained) == len(set(trained)) == len(expected), "an example was trained twice"
        assert set(trained) == set(expected), "an example was never trained"
        for number, (name, part) in enumerate(self.good.items()):
            own = {tuple(row) for step in range(number * STEPS + 1, (number + 1) * STEPS + 1) for row in steps[step]}
            assert own == set(map(tuple, part)), f"{name} was not trained in its own steps"
        say(f"\nThe witness: {len(trained)} examples in {last} steps, each trained once, each file in its own steps.")
        self.check_curve(last)
        self.replay(last)
        say(f"The daemon was started {self.daemon.starts} times. All of it holds.")

    def check_curve(self, last):
        """The loss falls, and does not jump where a file begins; the rate never jumps. Computed from the log alone."""
        state = json.loads((self.run / f"checkpoint-{last}" / "trainer_state.json").read_text())
        points = [item for item in state["log_history"] if "loss" in item]
        assert [item["step"] for item in points] == list(range(1, last + 1))
        losses, rates = [item["loss"] for item in points], [item["learning_rate"] for item in points]
        assert all(abs(after - before) <= 4e-4 + 1e-12 for before, after in itertools.pairwise(rates)), rates
        means = [sum(losses[at : at + STEPS]) / STEPS for at in range(0, last, STEPS)]
        noise = sorted(abs(after - before) for before, after in itertools.pairwise(losses))
        usual = noise[int(len(noise) * 0.9)]
        jumps = []
        for boundary in range(STEPS, last, STEPS):
            before, after = losses[boundary - 4 : boundary], losses[boundary : boundary + 4]
            jumps.append(sum(after) / 4 - sum(before) / 4)
        assert max(jumps) < usual, (jumps, usual)
        assert means[-1] < 0.75 * means[0], means
        assert all(after < before + usual / 2 for before, after in itertools.pairwise(means)), means
        say("Mean loss of each file: " + " ".join(f"{mean:.2f}" for mean in means))
        say(
            f"Largest rise over a boundary: {max(jumps):+.3f}; nine tenths of all steps to the next one move it by less "
            f"than {usual:.3f}."
        )

    def replay(self, last):
        """Train the same files once more, undisturbed, all at once."""
        home = self.home / "undisturbed"
        (home / "inbox").mkdir(parents=True)
        (home / "train.toml").write_text(CONFIG.format(run="current_model"))
        for name, part in self.good.items():
            (home / "inbox" / name).write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in part))
        subprocess.run(
            [sys.executable, "-m", "audit", "train", "-q", "train.toml"],
            cwd=home,
            env={**self.environment, "WITNESS": os.devnull},
            check=True,
        )
        same = []
        for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            ours, theirs = (
                hashlib.sha256((place / f"checkpoint-{last}" / name).read_bytes()).hexdigest()
                for place in (self.run, home / "current_model")
            )
            assert ours == theirs, f"{name} differs from the undisturbed run"
            same.append(name)
        say(f"Trained once more, undisturbed: the same bits in {', '.join(same)}.")

    def end(self, keep):
        daemon = getattr(self, "daemon", None)
        if daemon is not None:
            daemon.stopping = True
            if daemon.process is not None and daemon.process.poll() is None:
                os.killpg(daemon.process.pid, signal.SIGKILL)
                daemon.process.wait()
            daemon.thread.join(10)
        if self.mounted:
            if keep:
                shutil.copytree(self.run, self.home / "current_model", dirs_exist_ok=True)
            subprocess.run(["umount", str(self.disk)], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", metavar="DIR", help="work in this new directory and leave everything there")
    parser.add_argument("--seed", type=int, default=1, help="when the kills come")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")]
    place = Path(arguments.keep).resolve() if arguments.keep else Path(tempfile.mkdtemp(prefix="week-"))
    place.mkdir(parents=True, exist_ok=not arguments.keep)
    os.chdir(place)
    week = Week(place, arguments.seed)
    try:
        say(f"[the run is on {'a tmpfs of ' + str(DISK_MB) + ' MB' if week.mounted else 'this disk'}]")
        week.live()
        week.check()
    finally:
        week.end(bool(arguments.keep))
        if not arguments.keep:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
