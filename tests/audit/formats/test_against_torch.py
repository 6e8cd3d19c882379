"""The writers and readers against the libraries themselves; skipped where these are not installed."""

import os
import random
from collections import OrderedDict
from io import BytesIO
from typing import Any

import pytest

from audit.formats.optimizer import OptimizerState, read_optimizer
from audit.formats.rng import RngState, read_rng
from audit.formats.torch_archive import TorchArchive, read_torch, scalar, tensors
from audit.storage import BytesReader
from audit.testing.runs import make_run

torch = pytest.importorskip("torch")


def saved(value: Any) -> BytesReader:
    file = BytesIO()
    torch.save(value, file)
    return BytesReader(file.getvalue())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> Any:
    return os.path.join(make_run(tmp_path_factory.mktemp("run"), (100,), fp16=True), "checkpoint-100")


def test_torch_reads_what_the_writers_wrote(checkpoint: Any) -> None:
    state = torch.load(f"{checkpoint}/optimizer.pt", weights_only=True)
    assert state["state"][0]["step"].item() == 100
    assert state["state"][0]["exp_avg_sq"].min() > 0
    assert torch.load(f"{checkpoint}/scheduler.pt", weights_only=True)["last_epoch"] == 100
    assert torch.load(f"{checkpoint}/scaler.pt", weights_only=True)["scale"] == 65536.0


def test_the_generators_take_the_states_that_the_writers_wrote(checkpoint: Any) -> None:
    numpy = pytest.importorskip("numpy")
    states = torch.load(f"{checkpoint}/rng_state.pth", weights_only=False)
    before = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    try:
        random.setstate(states["python"])
        numpy.random.set_state(states["numpy"])
        torch.set_rng_state(states["cpu"])
    finally:
        random.setstate(before[0])
        numpy.random.set_state(before[1])
        torch.set_rng_state(before[2])


def test_an_optimizer_takes_the_state_that_the_writers_wrote(checkpoint: Any) -> None:
    state = torch.load(f"{checkpoint}/optimizer.pt", weights_only=True)
    shapes = [entry["exp_avg"].shape for entry in state["state"].values()]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    optimizer = torch.optim.AdamW([{"params": parameters}, {"params": []}])
    optimizer.load_state_dict(state)
    assert optimizer.state[parameters[0]]["step"].item() == 100


def test_safetensors_reads_what_the_writers_wrote(checkpoint: Any) -> None:
    library = pytest.importorskip("safetensors.torch")
    assert library.load_file(f"{checkpoint}/adapter_model.safetensors")


@pytest.mark.parametrize("crc", [True, False])
def test_the_readers_read_what_torch_saved(crc: Any) -> None:
    parameters = [torch.nn.Parameter(torch.randn(3, 2)) for _ in range(300)]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.serialization.set_crc32_options(crc)
    try:
        reader = saved(optimizer.state_dict())
    finally:
        torch.serialization.set_crc32_options(True)
    found = read_optimizer(reader)
    assert isinstance(found, OptimizerState)
    assert found.steps == [1.0] * 300
    assert found.archive.crc_written is crc
    strict = read_torch(reader, strict=True)
    assert isinstance(strict, TorchArchive)
    assert strict.records == found.archive.records


@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16"]
)
def test_every_element_type_comes_back(name: Any) -> None:
    value = torch.ones((), dtype=getattr(torch, name))
    reader = saved(value)
    archive = read_torch(reader)
    assert isinstance(archive, TorchArchive)
    assert scalar(reader, archive, archive.value) == 1


def test_views_parameters_and_state_dicts_come_back() -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    module = torch.nn.Linear(4, 2)
    reader = saved(OrderedDict(part=base[1:, 1:3], turned=base.T, **module.state_dict(), p=torch.nn.Parameter(base)))
    archive = read_torch(reader)
    assert isinstance(archive, TorchArchive)
    found = tensors(archive)
    assert list(found) == ["part", "turned", "weight", "bias", "p"]
    assert archive.value["part"][1:3] == ((2, 2), (4, 1))
    raw = reader.read(found["part"].offset, found["part"].nbytes)
    assert raw == base.numpy().tobytes()[20 : 20 + len(raw)]


def test_float8_tensors_come_back() -> None:
    archive = read_torch(saved({"a": torch.zeros(3, dtype=torch.float8_e4m3fn)}))
    assert isinstance(archive, TorchArchive)
    assert archive.value["a"].dtype == "F8_E4M3"
    assert archive.value["a"].numel == 3


def test_states_of_the_real_generators_have_no_problem() -> None:
    numpy = pytest.importorskip("numpy")
    states = {"python": random.getstate(), "numpy": numpy.random.get_state(), "cpu": torch.get_rng_state()}
    found = read_rng(saved(states))
    assert isinstance(found, RngState)
    assert found.problems == ()


def test_the_format_of_old_torch_is_recognised() -> None:
    file = BytesIO()
    torch.save({"a": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
    assert "before version 1.6" in str(read_torch(BytesReader(file.getvalue())))
