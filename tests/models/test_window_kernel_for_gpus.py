"""Each kernel compiles for the GPUs that it is for, down to their machine code; none is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_swin.models.window_op import KERNELS

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("capability", [80, pytest.param(90, marks=pytest.mark.slow)])
def test_every_kernel_compiles_and_multiplies_on_tensor_cores(capability, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, Path(__file__).with_name("compile_for_gpus.py"), str(capability)]
    child = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert json.loads(child.stdout.splitlines()[-1]) == dict.fromkeys(KERNELS, True)
