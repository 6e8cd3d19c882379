"""A stand-in for a launcher's training script: writes checkpoints and misbehaves as it is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from audit.testing.run_files import Plan
from audit.testing.runs import make_checkpoint


def save(step: int) -> None:
    run = os.environ["AUDIT_RUN"]
    make_checkpoint(Plan(run, 4, 1, 1000, 2, 1, "constant", 1e-4, None, False, 1, False, False, 0), step)


def save_and_end(step: int) -> None:
    save(step)
    raise SystemExit(143)


def main(words: list[str]) -> None:
    """Do what the words say, one after the other."""
    for word in words:
        name, _, value = word.partition("=")
        if name == "save":
            save(int(value))
        elif name == "tell":
            own = {key: value for key, value in os.environ.items() if key.startswith(("AUDIT_", "MY_"))}
            known = {"argv": sys.argv[1:], "env": own, "cwd": os.getcwd()}
            Path(value).write_text(json.dumps(known))
        elif name == "mark":
            Path(f"{value}.part").write_text(str(os.getpid()))
            os.rename(f"{value}.part", value)  # whoever waits for it reads it at once
        elif name == "say":
            sys.stderr.write(value + "\n")
            sys.stderr.flush()
        elif name == "exit":
            raise SystemExit(int(value))
        elif name == "die":
            os.kill(os.getpid(), int(value))
        elif name == "raise":
            raise OSError(int(value), os.strerror(int(value)))
        elif name == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif name == "save-when-stopped":
            signal.signal(signal.SIGTERM, lambda *_, step=int(value): save_and_end(step))
        elif name == "leave-behind":  # a worker in a session of its own, as torchrun starts them
            code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", code, value], start_new_session=True)
            while not (os.path.exists(value) and os.path.getsize(value)):
                time.sleep(0.01)
        elif name == "wait":
            time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1:])
