import os
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


@pytest.mark.parametrize("name", ["screenshots.py", "page_screenshots.py"])
def test_without_a_browser_one_line_says_what_to_install(name, tmp_path):
    words = [sys.executable, str(CI / name), str(tmp_path), str(tmp_path / "out")]
    env = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no browser: none of chromium, ")
    assert done.stderr.endswith("on Debian: apt-get install chromium\n")
    assert not (tmp_path / "out").exists()
