"""Runs of the real Trainer, trained when a test first asks for one, once in a session."""

import os
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return ``train(name) -> path``: a healthy run of that configuration. Tests must not change it."""
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("peft", reason="the extra hf is not installed")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tests.backends.hf_trainer.configurations import CONFIGURATIONS

    home = tmp_path_factory.mktemp("runs")
    trained: dict[str, str] = {}

    def train(name: str) -> str:
        if name not in trained:
            path = str(home / name)
            CONFIGURATIONS[name].train(path)
            trained[name] = path
        return trained[name]

    return train
