"""Run commands of the tools that `peers.py` compares, in the virtual environment in which they are installed.

Reads one JSON object a line, ``{"tool": ..., "arguments": [...], "cwd": ..., "seconds": ...}``; answers with one,
``{"code": ..., "output": ...}``. Each command is the function that the tool's own console script calls, in a forked
process, so that what it imports is loaded once. A code of None: it did not end within ``seconds``.
"""

import json
import os
import signal
import sys
import tempfile
import time
from importlib.metadata import distribution

SCRIPTS = {
    "trainproof": "trainproof",
    "lens": "weightlens",
    "picklescan": "picklescan",
    "modelscan": "modelscan",
    "fickling": "fickling",
    "model_signing": "model-signing",
}
"""The distribution that each command comes with."""


def function_of(command: str):
    """Return what a console script calls."""
    points = distribution(SCRIPTS[command]).entry_points
    return next(point for point in points if point.group == "console_scripts" and point.name == command).load()


def called(main, tool: str, arguments: list[str], cwd: str, output: int) -> int:
    """Run a command in this process, which is a fork, and return its exit code."""
    os.chdir(cwd)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [tool, *arguments]
    try:
        answer = main()
    except SystemExit as ended:
        answer = ended.code
    except BaseException as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        return 70  # as the interpreter would have ended with 1, which a finding is, too
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    if answer is None or answer is True:
        return 0
    return answer if isinstance(answer, int) else 1


def waited(child: int, seconds: float) -> int | None:
    """Wait for a process; end it after ``seconds``, and return None then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    functions = {command: function_of(command) for command in SCRIPTS}
    print(json.dumps({name: distribution(name).version for name in SCRIPTS.values()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as output:
            child = os.fork()
            if not child:
                code = 70
                try:
                    given = functions[asked["tool"]], asked["tool"], asked["arguments"], asked["cwd"]
                    code = called(*given, output.fileno())
                finally:
                    os._exit(code)
            code = waited(child, asked["seconds"])
            output.seek(0)
            text = output.read().decode(errors="replace")
        print(json.dumps({"code": code, "output": text}), flush=True)


if __name__ == "__main__":
    main()
