# SPDX-License-Identifier: GPL-3.0-or-later
"""Training in two processes: Lightning Fabric on the CPU."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("lightning_fabric", reason="needs lightning-fabric: pip install 'n2a[fabric]'")

SCRIPT = """
import torch
from lightning_fabric import Fabric

import n2a

torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
noisy = n2a.acquire(n2a.simulate(shape=(96, 96), frames=6, seed=1), dose=5, seed=1)
arguments = dict(max_steps=3, batch=2, size=48, keep=True, show_progressbar=False)
model = n2a.train(noisy, fabric=fabric, **arguments)
alone = n2a.train(noisy, **arguments) if fabric.is_global_zero else None
print(f"\\n{fabric.global_rank}:{model.digest}:{alone and alone.digest}:", flush=True)
"""


def test_two_processes_train_one_network(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    found = dict(re.findall(r"^([01]):(\w+):", run.stdout, re.MULTILINE))
    assert sorted(found) == ["0", "1"]
    assert found["0"] == found["1"]
    # The second process had batches of its own.
    alone = re.search(r"^0:\w+:(\w+):", run.stdout, re.MULTILINE)[1]
    assert alone != found["0"]
