"""What DeepSpeed compiles is the session's own: a process that is killed leaves a lock, for which others wait."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _extensions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        yield
