"""Joins the ranks of one machine over a file, so that training opens no port to the network.

PyTorch's own meeting place, a TCP store, listens on every interface whatever address it is given.
Where all ranks are on one machine a file does the same. Imported by Ray Train's controller, by its
workers, and where training starts; nowhere else.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import timedelta
from typing import Any

import ray
import ray.train
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

from infra.temporary_folders import take_folder

_LEAVE_S = 30.0


class _LocalBackend(Backend):  # type: ignore[misc]
    """Backend of a gloo process group over a file; a group that starts anew takes a new file."""

    _folder = ""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Join all ranks; called on the controller before they train."""
        self._folder = str(take_folder("meeting"))
        worker_group.execute(_join, self._folder, backend_config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Leave the group; called on the controller, whether ranks ended well or not.

        A rank that waits for one that is gone does not keep the others from starting anew.
        """
        try:
            with suppress(ray.exceptions.GetTimeoutError):
                ray.get(worker_group.execute_async(_leave), timeout=_LEAVE_S)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


class LocalTorchConfig(TorchConfig):  # type: ignore[misc]
    """Ray Train's configuration of PyTorch for ranks that are all on this machine."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Return what starts the ranks' process group."""
        return _LocalBackend


def _join(folder: str, timeout_s: float) -> None:
    """Enter the process group; what accelerate and DeepSpeed ask for is in the environment."""
    import torch.distributed as dist

    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
        "ACCELERATE_TORCH_DEVICE": "cpu",
    }
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=timeout_s),
    )


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.destroy_process_group()
