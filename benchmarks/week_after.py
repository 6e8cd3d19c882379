"""What goes wrong later: python benchmarks/week_after.py [--keep DIR] [--seed N]

A poisoned file is dropped by going back, the learning rate is changed on purpose, old examples are replayed, and the
run is lost and put back from a snapshot; in between the training is killed. In the end the witness of `week.py` says
that no poisoned example is in the weights and every good one was trained once, those that are replayed once more; and
the same files trained undisturbed, without the poisoned one, give the same weights, bit for bit.

Exits with 0 if all of it holds. Took eleven minutes on two cores with a load average of 36 to 50; needs the extra hf.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from week import CONFIG, PER_STEP, ROOT, ROWS, WITNESS, rows, say, witnessed

RUN, POISON = "current_model", "03-poison.jsonl"
SHARE = 0.25


class After:
    """A run in ``home``, trained call by call; ``quiet``: the undisturbed one, of which nothing is shown."""

    def __init__(self, home, seed, quiet=False):
        self.home, self.chance, self.quiet = home, random.Random(seed), quiet
        (home / "inbox").mkdir(parents=True)
        self.configure()
        path = os.pathsep.join([str(WITNESS), str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")])
        self.environment = {
            **os.environ, "PYTHONPATH": path, "WITNESS": str(home / "witness.jsonl"), "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }  # fmt: skip

    def say(self, text):
        if not self.quiet:
            say(text)

    def configure(self, rate="4e-3", replay=None):
        text = CONFIG.format(run=RUN).replace("learning_rate = 4e-3", f"learning_rate = {rate}")
        text = text.replace("save_total_limit = 3", "save_total_limit = 8")
        if replay is not None:
            text = text.replace('inbox = "inbox"\n', f'inbox = "inbox"\nreplay = {replay}\n')
        (self.home / "train.toml").write_text(text)

    def drop(self, name, made):
        self.say(f"  $ cp {name} inbox/")
        (self.home / "inbox" / name).write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in made))

    def audit(self, *arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "audit", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.say(f"  $ audit {' '.join(arguments)}")
        for line in (done.stdout + done.stderr).rstrip().splitlines():
            self.say(f"    {line}")
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def train(self, *options, code=0):
        return self.audit("train", "train.toml", *options, code=code)

    def killed(self, *options):
        """Train, and SIGKILL everything at a random step."""
        process = subprocess.Popen(
            [sys.executable, "-m", "audit", "train", "train.toml", "--log-format", "json", *options],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        left = self.chance.randrange(2, 9)
        for line in process.stdout:
            event = json.loads(line)
            left -= event["event"] == "step" and "loss" in event
            if left <= 0:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.say(f"  $ audit train train.toml {' '.join(options)}".rstrip())
        self.say(f"  $ kill -9 all of it, in step {event['step'] + 1}")

    @property
    def step(self):
        return max(int(place.name.split("-")[1]) for place in (self.home / RUN).glob("checkpoint-*"))

    def bits(self):
        place = self.home / RUN / f"checkpoint-{self.step}"
        names = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
        return {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names}

    def trained(self):
        """Every example in the lineage that survived, with how often it was trained."""
        last = self.step
        steps = witnessed(self.home)
        return collections.Counter(tuple(row) for step, part in steps.items() if step <= last for row in part)


def poison():
    chance = random.Random("poison")
    return [[60, row, *(chance.randrange(60) for _ in range(12))] for row in range(ROWS)]


def live(week):
    say("\nThe beginning: two files.")
    week.drop("01.jsonl", rows(1))
    week.drop("02.jsonl", rows(2))
    week.train()

    say("\nMonday: a poisoned file, and a good one after it. It is noticed in the evening.")
    week.drop(POISON, poison())
    week.train()
    week.drop("04.jsonl", rows(4))
    week.train()
    week.audit("train", "train.toml", "--back-to", "checkpoint-24", "--drop", POISON, "--dry-run")
    week.killed("--back-to", "checkpoint-24", "--drop", POISON)
    week.train()
    say("  Somebody tidies up, and moves back what was given up:")
    week.audit("quarantine", RUN, "--restore", "checkpoint-48")
    week.audit("guard", RUN)
    week.train()

    say("\nTuesday: half the learning rate, on purpose; then a snapshot.")
    week.configure(rate="2e-3")
    week.drop("05.jsonl", rows(5))
    week.killed("--change", "learning_rate")
    week.train("--change", "learning_rate")
    week.audit("snapshot", RUN, "snapshots")

    say(f"\nWednesday: a quarter of old examples with each new file (data.replay = {SHARE}).")
    week.configure(rate="2e-3", replay=SHARE)
    week.drop("06.jsonl", rows(6))
    week.killed()
    week.train()

    say("\nThursday: the run is lost, and the snapshot is put in its place.")
    (taken,) = (week.home / "snapshots").iterdir()
    shutil.rmtree(week.home / RUN)
    say(f"  $ rm -r {RUN}; cp -r {taken.relative_to(week.home)} {RUN}")
    shutil.copytree(taken, week.home / RUN)
    week.train(code=1)
    say("  $ mv done/06.jsonl inbox/")
    (week.home / "done" / "06.jsonl").rename(week.home / "inbox" / "06.jsonl")
    week.train()


def undisturbed(home, seed):
    other = After(home, seed, quiet=True)
    for name in (1, 2, 4):
        other.drop(f"{name:02}.jsonl", rows(name))
        other.train()
    other.configure(rate="2e-3")
    other.drop("05.jsonl", rows(5))
    other.train("--change", "learning_rate")
    other.configure(rate="2e-3", replay=SHARE)
    other.drop("06.jsonl", rows(6))
    other.train()
    return other


def check(week, seed):
    say("")
    week.audit("history", RUN)
    verified = week.audit("verify", RUN)
    assert "SOUND" in verified, verified
    found = week.trained()
    assert not set(found) & set(map(tuple, poison())), "a poisoned example is in the weights"
    good = {tuple(row) for number in (1, 2, 4, 5, 6) for row in rows(number)}
    assert set(found) == good, "an example was never trained"
    twice = [row for row, times in found.items() if times > 1]
    assert len(twice) == int(ROWS * SHARE), twice
    assert max(found.values()) == 2, found
    assert not {row[0] for row in twice} & {6}, "an example of the file itself is replayed"
    names = {place: sorted(os.listdir(week.home / place)) for place in ("inbox", "done", "rejected")}
    assert names == {
        "inbox": [], "done": [f"{number:02}.jsonl" for number in (1, 2, 4, 5, 6)], "rejected": [POISON],
    }, names  # fmt: skip
    steps = sum(found.values()) / PER_STEP
    say(
        f"\nThe witness: {len(good)} examples, each trained once, {len(twice)} of them once more by replay, in "
        f"{steps:g} steps; no poisoned one."
    )
    other = undisturbed(week.home / "undisturbed", seed)
    assert week.bits() == other.bits(), "the weights are not those of an undisturbed run"
    say("Trained once more, undisturbed and without the poisoned file: the same bits. All of it holds.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", metavar="DIR", help="work in this new directory and leave everything there")
    parser.add_argument("--seed", type=int, default=1, help="when the kills come")
    arguments = parser.parse_args()
    place = Path(arguments.keep).resolve() if arguments.keep else Path(tempfile.mkdtemp(prefix="week-"))
    place.mkdir(parents=True, exist_ok=not arguments.keep)
    try:
        week = After(place, arguments.seed)
        live(week)
        check(week, arguments.seed)
    finally:
        if not arguments.keep:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
