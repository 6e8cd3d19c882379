"""Put every damage of docs/faults.md to the audit and to what people use instead; write the tables of docs/compare.md.

    python benchmarks/peers.py --tools BIN [--only TEXT] [--clean N] [--rows FILE] [--write]

``tox run -e peers`` installs the tools of `peers.txt` into an environment of their own and calls this with its BIN.
Runs are trained as the tests train them, copied, damaged in one way, and shown to each judge. A judge found the damage
if it says something, by its exit code, that it does not say of the same run undamaged. ``--rows`` keeps what was
measured in a file and goes on from it; ``--write`` puts the tables into the page.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import peer_checks  # noqa: E402
from peer_tables import PAGE, put, tables  # noqa: E402

from audit.api import verify  # noqa: E402
from audit.findings import Severity  # noqa: E402
from audit.judging.guard import consult  # noqa: E402
from audit.manager import load  # noqa: E402
from audit.options import Options  # noqa: E402
from tests.backends.hf_trainer.configurations import CONFIGURATIONS  # noqa: E402
from tests.faults import attacks  # noqa: E402
from tests.faults.all_faults import FAULTS  # noqa: E402

REGISTRY = load()


def audited(run: str, **options: Any) -> set[str]:
    """What `audit verify --fail-on warning` fails on."""
    report = verify(run, Options(**{"settle_seconds": 0, "ledger": False, **options}), registry=REGISTRY)
    found = {f"{item.rule} {item.checkpoint}" for item in report.findings if item.severity is not Severity.INFO}
    return found | {f"!{item.rule}" for item in report.crashed}


class Bench:
    """Trained runs, what each judge says of them undamaged, and the judges."""

    def __init__(self, tools: peer_checks.Tools, scratch: Path) -> None:
        self.tools, self.scratch = tools, scratch
        self.trained: dict[str, str] = {}
        self.before: dict[str, dict[str, set[str]]] = {}
        self.resumes: dict[str, Any] = {}

    def clean(self, name: str) -> str:
        """A healthy run of this configuration, trained in a process of its own."""
        if name not in self.trained:
            path = str(self.scratch / "runs" / name)
            if not os.path.exists(path) or not any(Path(path).iterdir()):
                said = peer_checks.forked(lambda: CONFIGURATIONS[name].train(path), 300)
                if said is not None and isinstance(said, str):
                    raise SystemExit(f"{name} was not trained: {said}")
            self.trained[name] = path
        return self.trained[name]

    def copy(self, name: str, place: str, sealed: bool = False) -> str:
        """A copy of a clean run, which other tools see as well; ``sealed``: with the ledger that has its seals."""
        run = self.scratch / place / "current_model"
        shutil.rmtree(run.parent, ignore_errors=True)
        run.parent.mkdir()
        shutil.copytree(self.clean(name), run, ignore=shutil.ignore_patterns(".audit"))
        if sealed:
            os.chdir(run.parent)
            verify(str(run), Options(settle_seconds=0), registry=REGISTRY)
        return str(run)

    def signature(self, name: str) -> str:
        path = self.scratch / f"{name}.sig"
        if not path.exists():
            self.tools.sign(self.copy(name, "to-sign"), str(path))
        return str(path)

    def peers(self, name: str, run: str) -> dict[str, set[str]]:
        """What everything but the audit and Trainer says of a run."""
        tools = self.tools
        return {
            "torch": peer_checks.torch_isfinite(run),
            "script": peer_checks.careful_script(run),
            "trainproof env": tools.trainproof_env(run),
            "trainproof epoch": tools.trainproof_epoch(run),
            "weightlens": tools.weightlens(run),
            "picklescan": tools.picklescan(run),
            "modelscan": tools.modelscan(run),
            "fickling": tools.fickling(run),
            "model-signing": tools.model_signing(run, self.signature(name)),
        }

    def damaged(self, title: str) -> dict[str, Any]:
        """Put one kind of damage to every judge."""
        fault = FAULTS[title]
        if fault.base not in self.before:
            run = self.copy(fault.base, "undamaged")
            self.before[fault.base] = self.peers(fault.base, run)
            assert not self.before[fault.base]["model-signing"]
            self.resumes[fault.base] = peer_checks.trainer_resume(fault.base, run)
        run = self.copy(fault.base, "damaged")
        os.chdir(Path(run).parent)
        fault.damage(run)
        said = {
            name: sorted(alarms - self.before[fault.base][name]) for name, alarms in self.peers(fault.base, run).items()
        }
        said["verify quick"] = sorted(audited(run, depth="quick"))
        said["verify full"] = sorted(audited(run))
        handed = consult(run, options=Options(settle_seconds=0), registry=REGISTRY).decision.checkpoint
        shutil.rmtree(Path(run, ".audit"), ignore_errors=True)
        resumed = peer_checks.trainer_resume(fault.base, run)
        executed = os.path.exists(attacks.MARK)
        run = self.copy(fault.base, "damaged", sealed=True)
        fault.damage(run)
        said["verify sealed"] = sorted(audited(run, ledger=True))
        return {
            "group": fault.group,
            "said": said,
            "blocks": fault.blocks,
            "guard": handed,
            "right": handed == fault.resume,
            "trainer": _outcome(resumed, self.resumes[fault.base]),
            "executed": executed,
        }

    def undamaged(self, name: str) -> dict[str, Any]:
        """What every judge says of a healthy run."""
        run = self.clean(name)
        shutil.rmtree(Path(run, ".audit"), ignore_errors=True)
        said = {key: sorted(alarms) for key, alarms in self.peers(name, run).items()}
        said["verify quick"] = sorted(audited(run, depth="quick"))
        said["verify full"] = sorted(audited(run))
        audited(run, ledger=True)
        said["verify sealed"] = sorted(audited(run, ledger=True))
        shutil.rmtree(Path(run, ".audit"), ignore_errors=True)
        return {"said": said}


def _outcome(resumed: Any, undamaged: Any) -> str:
    """What became of a resume, in a word."""
    if not isinstance(resumed, str):
        return "crashes"
    if resumed.startswith(("raises", "!")):
        return "crashes"
    return "the same" if resumed == undamaged else "otherwise"


def costs(bin_directory: str, run: str, signature: str, key: str) -> dict[str, float]:
    """Seconds of processor time of whole commands over one undamaged run of three checkpoints, medians of three."""
    files = sorted(path for path in Path(run).rglob("*") if path.is_file())
    torch_files = [str(path) for path in files if path.suffix in peer_checks.TORCH_FILES]
    states = [str(path) for path in files if path.name == "trainer_state.json"]
    weights = [str(path) for path in files if path.suffix == ".safetensors"]

    def tool(name: str) -> str:
        return os.path.join(bin_directory, name)

    audit = [sys.executable, "-m", "audit"]
    commands = {
        "verify quick": [[*audit, "verify", run, "--depth", "quick", "--no-ledger"]],
        "verify full": [[*audit, "verify", run, "--no-ledger"]],
        "verify sealed": [[*audit, "verify", run]],
        "torch": [[sys.executable, str(ROOT / "benchmarks" / "torch_isfinite.py"), run]],
        "script": [["sh", str(ROOT / "benchmarks" / "careful.sh"), run]],
        "trainproof env": [[tool("trainproof"), "env", "--checkpoint", path] for path in torch_files],
        "trainproof epoch": [[tool("trainproof"), "epoch", "--format", "hf", path] for path in states],
        "weightlens": [[tool("lens"), "analyze", path] for path in weights],
        "picklescan": [[tool("picklescan"), "-p", run]],
        "modelscan": [[tool("modelscan"), "-p", run]],
        "fickling": [[tool("fickling"), "--check-safety", path] for path in torch_files],
        "model-signing": [[tool("model_signing"), "verify", "key", run, "--signature", signature, "--public_key", key]],
    }
    found = {}
    for name, todo in commands.items():
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            for command in todo:
                subprocess.run(command, capture_output=True, check=False, cwd=Path(run).parent)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        found[name] = statistics.median(times)
        if name == "verify sealed":
            shutil.rmtree(Path(run, ".audit"), ignore_errors=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="put every damage to the audit and to what people use instead")
    parser.add_argument("--tools", required=True, metavar="BIN", help="where the commands of peers.txt are installed")
    parser.add_argument("--only", default="", help="damages whose title holds this text")
    parser.add_argument("--clean", type=int, default=len(CONFIGURATIONS), help="number of healthy runs")
    parser.add_argument("--rows", default="peers.json", help="file of what was measured; what is in it is not repeated")
    parser.add_argument("--scratch", help="directory for the trained runs (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    args = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    import peft  # noqa: F401  # loaded before the forks
    import torch
    from transformers import Trainer  # noqa: F401

    torch.set_num_threads(1)
    kept = Path(args.rows).absolute()
    rows = json.loads(kept.read_text()) if kept.exists() else {"damages": {}, "clean": {}}
    with tempfile.TemporaryDirectory() as home:
        scratch = Path(args.scratch or home).absolute()
        (scratch / "runs").mkdir(parents=True, exist_ok=True)
        tools = peer_checks.Tools(os.path.abspath(args.tools), scratch)
        bench = Bench(tools, scratch)
        rows["kinds"] = len(FAULTS)
        rows["versions"] = {**tools.versions, **{name: version(name) for name in ("transformers", "torch", "peft")}}
        try:
            for title in FAULTS:
                if args.only in title and title not in rows["damages"]:
                    rows["damages"][title] = bench.damaged(title)
                    kept.write_text(json.dumps(rows))
                    print(f"{len(rows['damages'])}/{len(FAULTS)} {title}", flush=True)
            for name in list(CONFIGURATIONS)[: args.clean]:
                if name not in rows["clean"]:
                    try:
                        rows["clean"][name] = bench.undamaged(name)
                    except SystemExit as problem:
                        print(problem, flush=True)
                        continue
                    kept.write_text(json.dumps(rows))
                    print(f"clean {name}", flush=True)
            if "costs" not in rows and not args.only:
                run = bench.copy("long_history", "measured")
                public = str(scratch / "public.pem")
                rows["costs"] = costs(args.tools, run, bench.signature("long_history"), public)
                kept.write_text(json.dumps(rows))
        finally:
            os.chdir(ROOT)
            tools.close()
    print(tables(rows))
    if args.write:
        put(rows)


if __name__ == "__main__":
    main()
