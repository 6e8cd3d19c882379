"""What is put to each damaged run in `peers.py`: the commands of other tools, the usual scripts, Trainer, the audit.

A check gets the run's directory and returns its alarms as text; an alarm that begins with ``!`` is a crash of the
checker or a time-out.
"""

import hashlib
import json
import math
import os
import pickle
import signal
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SECONDS = 20.0
MORE_STEPS = 6
TORCH_FILES = (".pt", ".pth", ".bin")
Alarms = set[str]


class Tools:
    """The commands of other tools, in their own virtual environment."""

    def __init__(self, bin_directory: str, scratch: Path) -> None:
        python = os.path.join(bin_directory, "python")
        self._server = subprocess.Popen(
            [python, str(HERE / "tool_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = self._answer()
        self._known: dict[tuple[str, ...], str | None] = {}
        self._scratch, self._bin = scratch, bin_directory
        self._keys(scratch)

    def _answer(self) -> Any:
        line = self._server.stdout.readline()
        if not line:
            raise SystemExit("the server of the tools ended: is every line of benchmarks/peers.txt installed there?")
        return json.loads(line)

    def _keys(self, scratch: Path) -> None:
        private, public = str(scratch / "private.pem"), str(scratch / "public.pem")
        if os.path.exists(public):  # there are signatures by it, too
            return
        curve = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
        subprocess.run(curve, check=True, capture_output=True)
        subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()

    def ask(self, tool: str, *arguments: str) -> tuple[int | None, str]:
        cwd = self._scratch / "cwd"
        cwd.mkdir(exist_ok=True)
        request = {"tool": tool, "arguments": arguments, "cwd": str(cwd), "seconds": SECONDS}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._answer()
        return answer["code"], answer["output"]

    def alarm(self, tool: str, *arguments: str) -> str | None:
        """What a command says against its subject by its exit code; weightlens says it in words, too."""
        code, output = self.ask(tool, *arguments)
        if code is None or code < 0 or code == 70:
            return f"!{tool} {'does not end' if code is None else 'crashes'}"
        if tool == "lens" and code == 0 and ("NO FINDINGS" not in output or "PARTIAL" in output):
            return "lens finds"
        return f"{tool} {code}" if code else None

    def each(self, tool: str, run: str, wanted: Callable[[Path], bool], *arguments: str) -> Alarms:
        """Put each file to a command that takes one; what was said of the same bytes is not asked again.

        An alarm names the file without its checkpoint, so that what is said of every healthy file is not found in a
        copy of one.
        """
        alarms = set()
        for path in sorted(Path(run).rglob("*")):
            if path.is_dir() or not path.name or not wanted(path):
                continue
            said = self._said(tool, path, arguments)
            if said:
                alarms.add(f"{said}: {path.name}")
        return alarms

    def _said(self, tool: str, path: Path, arguments: tuple[str, ...]) -> str | None:
        if not path.is_file():
            return self.alarm(tool, *arguments, str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name.endswith(".index.json"):  # the command reads the shards as well
            digest += "".join(_digest(shard) for shard in sorted(path.parent.glob("*.safetensors")))
        key = (tool, *arguments, path.name, digest)
        if key not in self._known:
            self._known[key] = self.alarm(tool, *arguments, str(path))
        return self._known[key]

    def trainproof_env(self, run: str) -> Alarms:
        return self.each("trainproof", run, lambda path: path.suffix in TORCH_FILES, "env", "--checkpoint")

    def trainproof_epoch(self, run: str) -> Alarms:
        return self.each("trainproof", run, lambda path: path.name == "trainer_state.json", "epoch", "--format", "hf")

    def weightlens(self, run: str) -> Alarms:
        def wanted(path: Path) -> bool:
            indexed = (path.parent / "model.safetensors.index.json").exists()
            return path.name.endswith(".index.json") if indexed else path.suffix == ".safetensors"

        return self.each("lens", run, wanted, "analyze")

    def picklescan(self, run: str) -> Alarms:
        return {said} if (said := self.alarm("picklescan", "-p", run)) else set()

    def modelscan(self, run: str) -> Alarms:
        return {said} if (said := self.alarm("modelscan", "-p", run)) else set()

    def fickling(self, run: str) -> Alarms:
        """Its command reads bare pickles: of a torch archive, ``data.pkl`` is unpacked for it first."""
        alarms = set()
        for path in sorted(Path(run).rglob("*")):
            if path.suffix not in TORCH_FILES or path.is_dir():
                continue
            subject = path
            if path.is_file() and zipfile.is_zipfile(path):
                try:
                    with zipfile.ZipFile(path) as archive:
                        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                        subject = self._scratch / "data.pkl"
                        subject.write_bytes(archive.read(name))
                except (zipfile.BadZipFile, StopIteration, OSError, ValueError, EOFError):
                    subject = path
            if said := self._said("fickling", subject, ("--check-safety",)):
                alarms.add(f"{said}: {path.name}")
        return alarms

    def sign(self, run: str, signature: str) -> None:
        key = str(self._scratch / "private.pem")
        code, output = self.ask("model_signing", "sign", "key", run, "--private_key", key, "--signature", signature)
        if code:
            raise SystemExit(f"{run} was not signed: {output}")

    def model_signing(self, run: str, signature: str) -> Alarms:
        key = str(self._scratch / "public.pem")
        arguments = ("verify", "key", run, "--public_key", key, "--signature", signature)
        return {said} if (said := self.alarm("model_signing", *arguments)) else set()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(stat.S_IFMT(path.lstat().st_mode))


def careful_script(run: str) -> Alarms:
    """The script of ls and jq."""
    command = ["sh", str(HERE / "careful.sh"), run]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"!careful.sh does not end"}
    return set(ended.stdout.replace(run, "").splitlines()) if ended.returncode else set()


def forked(work: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what a function returns in a forked process, or ``!`` and why there is nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        answer: Any = "!crashes"
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            answer = work()
        except BaseException as problem:
            answer = f"raises {type(problem).__name__}"
        finally:
            with open(writing, "wb") as file:
                pickle.dump(answer, file)
            os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        return "!does not end"
    with open(reading, "rb") as file:
        data = file.read()
    return pickle.loads(data) if data and not status else f"!ends with {status}"


def torch_isfinite(run: str) -> Alarms:
    """The script that people write: load every file with torch, weights only, and look at every value."""
    answer = forked(lambda: set(_not_loaded_or_finite(run)))
    return {f"{answer}"} if isinstance(answer, str) else answer


def _not_loaded_or_finite(run: str) -> Iterator[str]:
    import torch
    from safetensors.torch import load_file
    from transformers.trainer_pt_utils import safe_globals

    torch.set_num_threads(1)
    for path in sorted(Path(run).rglob("*")):
        name = str(path.relative_to(run))
        try:
            if path.suffix == ".safetensors":
                value = load_file(path)
            elif path.suffix in (".pt", ".pth", ".bin") and path.name != "training_args.bin":
                with safe_globals():  # as Trainer, for the random numbers of numpy
                    value = torch.load(path, map_location="cpu", weights_only=True)
            elif path.suffix == ".json":
                value = json.loads(path.read_text())
            else:
                continue
        except Exception as problem:
            yield f"{name}: {type(problem).__name__}"
            continue
        if not all(_finite(value)):
            yield f"{name}: not finite"


def _finite(value: Any) -> Iterator[bool]:
    import torch

    if isinstance(value, torch.Tensor):
        yield bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    elif isinstance(value, float):
        yield math.isfinite(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _finite(item)


def trainer_resume(base: str, run: str) -> Any:
    """Resume with ``resume_from_checkpoint=True`` and train six steps more; return what the run is then, as a digest.

    Text that begins with ``raises`` or ``!`` if it did not come that far. The configuration is that of the run.
    """
    return forked(lambda: _resumed(base, run), 120)


def _resumed(base: str, run: str) -> str:
    import torch
    import transformers

    from tests.backends.hf_trainer.configurations import CONFIGURATIONS

    torch.set_num_threads(1)
    trained: list[Any] = []
    whole = transformers.Trainer.train

    def train(trainer: Any, resume_from_checkpoint: Any = None, **more: Any) -> Any:
        trainer.args.max_steps += MORE_STEPS
        trained.append(trainer)
        return whole(trainer, resume_from_checkpoint=True, **more)

    transformers.Trainer.train = train
    CONFIGURATIONS[base].train(run)
    (trainer,) = trained
    digest = hashlib.sha256()
    for name, parameter in trainer.model.named_parameters():
        digest.update(name.encode() + parameter.detach().float().numpy().tobytes())
    states = trainer.optimizer.state_dict()["state"]
    for number in sorted(states):
        for key in sorted(states[number]):
            if isinstance(value := states[number][key], torch.Tensor):
                digest.update(key.encode() + value.float().numpy().tobytes())
    first = min((entry["step"] for entry in trainer.state.log_history if "loss" in entry), default=0)
    return f"{trainer.state.global_step} {first} {digest.hexdigest()}"
