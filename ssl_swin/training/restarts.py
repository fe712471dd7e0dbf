"""Lets ranks meet that torchrun has started again."""

import os
from datetime import timedelta

import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy

from ssl_swin.launcher import launcher


class MeetsAnew(DDPStrategy):
    """DDP whose ranks do not look for the processes before them.

    torchrun's store outlives them, with their addresses in it, and torch looks there by the same
    names: ranks of a restart may then wait for each other for ever. So each restart has names of
    its own. On several machines torchrun does not tell which restart it is to all alike; there
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each restart a new store.
    """

    def setup_distributed(self) -> None:
        """Begin the process group, here if it is a restart's."""
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
        if launcher() == "torchrun" and restart != "0" and alone and not dist.is_initialized():
            timeout = self._timeout or timedelta(minutes=30)
            place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = dist.TCPStore(*place, is_master=False, timeout=timeout)
            dist.init_process_group(
                self._get_process_group_backend(),
                store=dist.PrefixStore(f"restart {restart}", store),
                rank=int(os.environ["RANK"]),
                world_size=int(os.environ["WORLD_SIZE"]),
                timeout=timeout,
            )
        super().setup_distributed()
