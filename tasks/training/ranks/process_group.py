"""Lets ranks act together: who am I, agree, gather, wait; and makes DeepSpeed join in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Place of this process among the ranks; torch's process group is up already."""

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int

    @classmethod
    def from_environment(cls) -> RankPlace:
        """Read what Ray Train and torchrun alike put into the environment."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def is_main(self) -> bool:
        """Tell whether this is rank 0."""
        return self.rank == 0

    @property
    def is_first_of_node(self) -> bool:
        """Tell whether this rank does what is done once a node."""
        return self.local_rank == 0


def agree(value: T) -> T:
    """Return rank 0's value on every rank."""
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(value: T) -> list[T]:
    """Return every rank's value on every rank."""
    import torch.distributed as dist

    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Return when every rank has come here."""
    import torch.distributed as dist

    dist.barrier()


def keep_deepspeed_from_compiling() -> None:
    """Keep DeepSpeed on a CPU from building its shared-memory operator, so no compiler is needed.

    The table is undocumented: DeepSpeed 0.19 fills it by running compilers when it is first read,
    and takes an operator that is not in it for one that cannot be had. It then uses gloo. Must be
    called before anything imports DeepSpeed.
    """
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}


def join_deepspeed() -> None:
    """Tell DeepSpeed of the process group: ZeRO-3 asks for its size while the model is loaded."""
    import deepspeed
    import torch.distributed as dist

    deepspeed.init_distributed(dist.get_backend(), auto_mpi_discovery=False, verbose=False)
