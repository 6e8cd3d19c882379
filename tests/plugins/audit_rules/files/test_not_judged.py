"""files/not-judged."""

from pathlib import Path

from audit.findings import Severity
from audit.testing.judging import check, report
from audit.testing.runs import make_run
from tests.audit.unjudged import make_unjudged

RULE = "files/not-judged"


def test_a_state_that_no_reader_understands_is_an_info(tmp_path: Path) -> None:
    first, second = check(make_unjudged(tmp_path / "run"), RULE)

    assert (first.checkpoint, second.checkpoint) == ("checkpoint-100", "checkpoint-200")
    assert (first.severity, first.blocks_resume) == (Severity.INFO, False)
    assert first.file == "global_step100/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    assert first.message == (
        f"is not judged: {first.file} is a part of a sharded state (deepspeed), which is not read "
        "(and 3 more files that a resume reads)"
    )


def test_a_single_file_has_no_others(tmp_path: Path) -> None:
    run = make_unjudged(tmp_path / "run")
    for path in sorted(Path(run, "checkpoint-100", "global_step100").iterdir())[1:]:
        path.unlink()

    assert check(run, RULE)[0].message.endswith("which is not read")


def test_a_run_that_is_read_whole_passes(tmp_path: Path) -> None:
    assert not check(make_run(tmp_path / "run"), RULE)


def test_a_damaged_file_has_one_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,))
    Path(run, "checkpoint-100", "optimizer.pt").write_bytes(b"PK\3\4")

    assert [item.rule for item in report(run).findings] == ["integrity/archive"]


def test_metadata_of_more_shards_than_are_read_is_no_fault(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), world=2)
    place = Path(run, "checkpoint-100")
    for name in ("optimizer.pt", "adapter_model.safetensors", "adapter_config.json", "training_args.bin"):
        (place / name).unlink()
    for name in ("pytorch_model_fsdp_0", "optimizer_0"):
        (place / name).mkdir()
        (place / name / ".metadata").write_bytes(b"\x80\x04" + bytes(33 << 20))
        (place / name / "__0_0.distcp").write_bytes(b"PK\3\4")

    found = report(run).findings

    assert {(item.rule, item.severity) for item in found} == {(RULE, Severity.INFO)}
