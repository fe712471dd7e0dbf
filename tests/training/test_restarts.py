import os

import pytest
import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import TorchElasticEnvironment

from ssl_swin.training.restarts import MeetsAnew


@pytest.fixture
def begun(monkeypatch):
    """Set up the group of a rank that torchrun has started; return its store, as the group has it.

    The second store is torchrun's own.
    """

    def begin(**variables):
        theirs = dist.TCPStore("127.0.0.1", 0, is_master=True)
        known = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(theirs.port)}
        known |= {"GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "1", **variables}
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        asked = []
        monkeypatch.setattr(dist, "init_process_group", lambda *_, **how: asked.append(how))
        strategy = MeetsAnew(
            process_group_backend="gloo", cluster_environment=TorchElasticEnvironment()
        )
        strategy.accelerator, strategy.parallel_devices = None, [torch.device("cpu")]
        strategy.setup_distributed()
        return asked[0].get("store"), theirs

    before = dict(os.environ)
    yield begin
    os.environ.clear()
    os.environ.update(before)


def test_a_restart_has_names_of_its_own_in_the_store(begun):
    own, theirs = begun(TORCHELASTIC_RESTART_COUNT="2", GROUP_WORLD_SIZE="1")
    theirs.set("address", "of the process before")
    own.set("address", "mine")
    assert theirs.get("restart 2/address") == b"mine"
    assert theirs.get("address") == b"of the process before"


@pytest.mark.parametrize(
    "variables",
    [
        {"TORCHELASTIC_RESTART_COUNT": "0", "GROUP_WORLD_SIZE": "1"},
        {"TORCHELASTIC_RESTART_COUNT": "2", "GROUP_WORLD_SIZE": "2"},  # not told alike to all
    ],
)
def test_else_it_is_left_to_torch(begun, variables):
    assert begun(**variables)[0] is None
