from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, Name, pickle_bytes, torch_archive_bytes
from tests import dcp
from tests.dcp import make_sharded

RULE = "security/unsafe-pickle"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100, 200)), "checkpoint-200")


def run_of(checkpoint: Path) -> str:
    return str(checkpoint.parent)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_call_of_the_system_is_found_and_blocks(checkpoint: Path, name: str) -> None:
    edit_torch(checkpoint / name, lambda value: {**value, "extra": Made("os.system", ("true",))})

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.checkpoint, finding.file) == ("checkpoint-200", name)
    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, True)
    assert "os.system, which runs code as soon as the file is loaded" in finding.message
    assert report(run_of(checkpoint)).resume_from == "checkpoint-100"


@pytest.mark.parametrize(
    "name", ["builtins.eval", "__builtin__.getattr", "posix.system", "subprocess.Popen", "collections.defaultdict"]
)
def test_what_is_not_on_the_list_is_refused_however_harmless(checkpoint: Path, name: str) -> None:
    edit_torch(checkpoint / "optimizer.pt", lambda value: {**value, "extra": Name(name)})

    assert [finding.file for finding in check(run_of(checkpoint), RULE)] == ["optimizer.pt"]


def test_galore_cannot_be_resumed_and_is_not_called_an_attack(checkpoint: Path) -> None:
    projector = Made("galore_torch.galore_projector.GaLoreProjector", (), {"rank": 4})
    edit_torch(checkpoint / "optimizer.pt", lambda value: {**value, "projector": projector})

    (finding,) = check(run_of(checkpoint), RULE)

    assert "GaLoreProjector, which GaLore itself saves there, and which a resume refuses to load" in finding.message
    assert finding.remedy.startswith("The optimizer wrote it")
    assert finding.blocks_resume


@pytest.mark.parametrize("name", ["galore_torch.os.system", "torch.hub.load"])
def test_what_is_no_projector_is_not_excused_by_one(checkpoint: Path, name: str) -> None:
    more = [Made("galore_torch.galore_projector.GaLoreProjector", (), {}), Made(name, ("x",))]
    edit_torch(checkpoint / "optimizer.pt", lambda value: {**value, "projector": more})

    (finding,) = check(run_of(checkpoint), RULE)

    assert "find out who wrote it" in finding.remedy


def test_sound_files_with_states_of_numpy_pass(checkpoint: Path) -> None:
    assert b"_reconstruct" in (checkpoint / "rng_state.pth").read_bytes()
    assert outcome(run_of(checkpoint), RULE, "checkpoint-200").outcome is Outcome.PASS


def test_numpy_has_no_place_in_an_optimizer(checkpoint: Path) -> None:
    array = Made("numpy.core.multiarray._reconstruct", (Name("numpy.ndarray"), (0,), b"b"))
    edit_torch(checkpoint / "optimizer.pt", lambda value: {**value, "extra": array})

    assert len(check(run_of(checkpoint), RULE)) == 1


def test_the_tensors_of_torchao_optimizers_are_known(checkpoint: Path) -> None:
    names = ["torchao.optim.subclass_8bit.OptimState8bit", "torch._utils._rebuild_wrapper_subclass"]
    edit_torch(checkpoint / "optimizer.pt", lambda value: {**value, "extra": [Name(name) for name in names]})

    assert check(run_of(checkpoint), RULE) == []


def deepspeed(checkpoint: Path, extra: Any) -> None:
    (checkpoint / "latest").write_text("global_step200", encoding="utf-8")
    (checkpoint / "global_step200").mkdir()
    value = {"module": {"w": FakeTensor("F32", (1,), bytes(4))}, "extra": extra}
    path = checkpoint / "global_step200" / "mp_rank_00_model_states.pt"
    path.write_bytes(torch_archive_bytes(value, "mp_rank_00_model_states"))


def test_the_classes_of_deepspeed_in_its_own_states_are_known(checkpoint: Path) -> None:
    deepspeed(checkpoint, [Made("deepspeed.runtime.fp16.loss_scaler.LossScaler", (), {"cur_scale": 1})])

    assert check(run_of(checkpoint), RULE) == []


def test_anything_else_in_the_states_of_deepspeed_is_found(checkpoint: Path) -> None:
    deepspeed(checkpoint, [Name("deepspeed.launcher.runner.main")])

    assert len(check(run_of(checkpoint), RULE)) == 1


def sharded(checkpoint: Path, *names: str) -> None:
    root = Made("torch.distributed.checkpoint.metadata.Metadata", (), {"extra": [Name(name) for name in names]})
    (checkpoint / "pytorch_model_fsdp_0").mkdir()
    (checkpoint / "pytorch_model_fsdp_0" / ".metadata").write_bytes(pickle_bytes(root, protocol=4))
    (checkpoint / "pytorch_model_fsdp_0" / "__0_0.distcp").write_bytes(b"...")


def test_the_metadata_of_a_sharded_state_is_a_bare_pickle_and_may_name_its_classes(checkpoint: Path) -> None:
    sharded(checkpoint, "torch.distributed.checkpoint.filesystem._StorageInfo", "pathlib.PosixPath", "torch.float32")

    assert check(run_of(checkpoint), RULE) == []


def test_the_metadata_of_a_sharded_state_is_loaded_without_a_guard_and_so_is_looked_at(checkpoint: Path) -> None:
    sharded(checkpoint, "builtins.exec")

    (finding,) = check(run_of(checkpoint), RULE)

    assert finding.file == "pytorch_model_fsdp_0/.metadata"


def test_in_a_file_of_nobody_only_what_runs_code_is_reported(checkpoint: Path) -> None:
    (checkpoint / "extra.pt").write_bytes(torch_archive_bytes(Made("user.tools.Thing"), "extra"))

    assert check(run_of(checkpoint), RULE) == []

    (checkpoint / "extra.pt").write_bytes(torch_archive_bytes(Made("os.system", ("true",)), "extra"))

    assert [finding.file for finding in check(run_of(checkpoint), RULE)] == ["extra.pt"]


def test_a_damaged_pickle_that_runs_code_before_the_damage_is_unsafe(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR\xff\xff")

    (finding,) = check(run_of(checkpoint), RULE)

    assert "os.system" in finding.message


def test_the_training_arguments_are_the_business_of_another_rule(checkpoint: Path) -> None:
    (checkpoint / "training_args.bin").write_bytes(torch_archive_bytes(Made("os.system", ("true",)), "training_args"))

    assert check(run_of(checkpoint), RULE) == []


def test_a_call_in_a_part_of_a_sharded_state_is_found(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "sharded")
    assert check(str(run), RULE) == []

    called: Any = Made("os.system", ("true",))
    dcp.write_shards(run / "checkpoint-200" / dcp.OPTIMIZER, {"optimizer.param_groups.0.lr": called}, None)

    (finding,) = check(str(run), RULE)

    assert (finding.checkpoint, finding.file) == ("checkpoint-200", f"{dcp.OPTIMIZER}/__0_0.distcp")
    assert (finding.blocks_resume, finding.actual) == (True, "os.system")
