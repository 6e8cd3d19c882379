"""Names are checked before anything is queued, and no two checkpoints get the same place."""

import pytest

from audit.errors import ConfigError
from audit_hub.settings import Settings, check_repo, is_safe_path, prefix_of, settings_of, target_of


def test_the_default_name_is_unique_and_may_wait_for_the_user() -> None:
    target = target_of(Settings(), "/srv/current_model", 50, "20251104_143022")

    assert target == ("{user}/current_model-50-20251104_143022", "", "main")


def test_one_repository_with_folders_or_branches() -> None:
    folders = Settings(repo="team/{prefix}", folder="checkpoints/{step}/", prefix="lora")
    branches = Settings(repo="{user}/lora", branch="step-{step}")

    assert target_of(folders, "x", 50) == ("team/lora", "checkpoints/50", "main")
    assert target_of(branches, "x", 50) == ("{user}/lora", "", "step-50")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"repo": "{user}/one"}, "no template contains {step}"),
        ({"repo": "{user}/{prefx}-{step}"}, "only {user}, {prefix}, {step}, {time} can be in it"),
        ({"folder": "{user}/{step}"}, "only {prefix}, {step}, {time} can be in it"),
        ({"repo": "{user}/{step!r}"}, "can be in it"),
        ({"repo": "{user}/{step:9}"}, "can be in it"),
        ({"repo": "{user}/{step"}, "hub.repo: "),
        ({"repo": "{step}"}, "not OWNER/NAME"),
        ({"repo": "me/a b-{step}"}, "not OWNER/NAME"),
        ({"repo": "me/a--{step}"}, "not OWNER/NAME"),
        ({"repo": "me/{step}.git"}, "not OWNER/NAME"),
        ({"repo": "me/{step}/x"}, "not OWNER/NAME"),
        ({"folder": "../{step}"}, "not a path inside"),
        ({"branch": "{step} x"}, "not the name of a branch"),
        ({"branch": "refs/pr/{step}"}, "not the name of a branch"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(table: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("{", r"\{").replace("}", r"\}")):
        settings_of(table)


def test_a_run_of_any_name_has_a_prefix_that_the_hub_takes() -> None:
    for run in ("/srv/my run (2)", "..", "-x-", "ü", "a" * 200, "a..b", "run/"):
        check_repo(f"me/{prefix_of(run)}-1")
    assert prefix_of("/srv/my run (2)/") == "my-run-2"


@pytest.mark.parametrize("path", ["/a", "a/../b", "a//b", "", ".", "a\\b", "a\nb", "a" * 1000])
def test_a_path_that_leads_elsewhere_is_not_safe(path: str) -> None:
    assert not is_safe_path(path)
    assert is_safe_path("a/b.bin")
