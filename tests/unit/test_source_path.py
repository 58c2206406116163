"""Paths that say nothing of the machine they were seen on."""

import pytest

from vlmprof.model.source_path import portable_path, short_path


@pytest.mark.parametrize(
    ("path", "short", "portable"),
    [
        (
            "/opt/venv/lib/python3.11/site-packages/vllm/v1/core.py",
            "vllm/v1/core.py",
            "…/site-packages/vllm/v1/core.py",
        ),
        ("/usr/lib/python3.11/threading.py", "threading.py", "…/lib/python3.11/threading.py"),
        ("/home/me/tool/recipes/vlmprof_recipes/r.py", "vlmprof_recipes/r.py", "…/vlmprof_recipes/r.py"),
        ("/home/me/vlmprof/vlmprof/agent/wrap.py", "vlmprof/agent/wrap.py", "…/vlmprof/agent/wrap.py"),
        ("/home/me/project/model.py", "/home/me/project/model.py", "/home/me/project/model.py"),
        ("<string>", "<string>", "<string>"),
        ("", "", ""),
    ],
)
def test_paths_lose_the_folder_that_packages_live_in(path: str, short: str, portable: str) -> None:
    """Installed packages, the standard library and our own code; a user's own path stays."""
    assert short_path(path) == short
    assert portable_path(path) == portable
    assert portable_path(portable) == portable
    assert short_path(portable) == short
