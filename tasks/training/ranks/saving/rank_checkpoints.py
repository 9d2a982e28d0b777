"""Lets all ranks together find, open and write checkpoints, and the trained weights like them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from infra.errors import ConfigError, Problem, StorageError
from infra.store.storage import Storage, is_remote
from tasks.training.ranks.deepspeed_config import can_read, name_layout
from tasks.training.ranks.job import TrainJob
from tasks.training.ranks.process_group import RankPlace, agree, gather, wait_for_all
from tasks.training.ranks.saving.checkpoints import (
    Checkpoint,
    checkpoint_name,
    clear_folder,
    download,
    find_newest,
    list_local,
    make_universal,
    prune,
    upload_files,
    write_marker,
)
from tasks.training.ranks.saving.uploads import Upload

_STATE_BYTES = 16
"""Bytes a checkpoint holds per trained parameter, at most: weights, masters and two moments."""

_LAST_UPLOAD_S = 120.0
"""How long ranks that fail wait for the last checkpoint before it: about what Slurm leaves them."""


class RankCheckpoints:
    """Checkpoints of a job as its ranks see them; every method is called by all of them.

    ``scratch`` is a folder of this node. ``resumed`` is the checkpoint to go on from, or ``None``.
    Raises :class:`ConfigError` for one that belongs to another job or lies in another layout.
    """

    def __init__(self, job: TrainJob, place: RankPlace, scratch: Path) -> None:
        self._job, self._place, self._scratch = job, place, scratch
        self._storage = Storage(job.storage_root)
        self._remote = is_remote(job.storage_root)
        self._layout = name_layout(job.deepspeed)
        ranks = gather(place.rank if place.is_first_of_node else None)
        self._firsts = [rank for rank in ranks if rank is not None]
        self._upload: Upload | None = None
        self.resumed = self._find()

    @property
    def start_step(self) -> int:
        """Return the step after which training goes on; 0 from the beginning."""
        return self.resumed.marker.step if self.resumed else 0

    @property
    def needs_universal(self) -> bool:
        """Tell whether the states must be dealt out anew, over another number of ranks."""
        if self.resumed is None or self._job.deepspeed is None:
            return False
        marker = self.resumed.marker
        return (marker.ranks, marker.layout) != (self._place.ranks, self._layout)

    def open(self) -> str | None:
        """Return the local folder to resume from, fetched and converted once a node."""
        if self.resumed is None:
            return None
        local = Path(self._storage.url(self.resumed.folder))
        if self._remote:
            local = self._scratch / "fetched"
            if self._place.is_first_of_node:
                download(self._storage, self.resumed, local)
        if self.needs_universal:
            source, local = local, self._scratch / "universal"
            if self._place.is_first_of_node:
                make_universal(source, local)
        wait_for_all()
        return str(local)

    def write(self, step: int, write: Callable[[str], None], trained: int) -> None:
        """Write a checkpoint; it counts from the moment its marker is there.

        For a root on S3 only its files on this machine are written when this returns, and the
        training goes on beside the upload: :meth:`finish` waits for it, as does the next one.
        """
        self.finish()
        folder = f"{self._job.checkpoints}/{checkpoint_name(step)}"
        local = self._write_here(folder, write, _STATE_BYTES * trained)
        declare = partial(self._declare, folder) if self._place.is_main else None
        if self._remote:
            if self._place.is_first_of_node:
                self._upload = Upload(
                    self._storage, folder, local, self._place.rank, self._firsts, declare
                )
            return
        if declare:
            declare()
        wait_for_all()

    def write_folder(self, folder: str, write: Callable[[str], None], size: int) -> None:
        """Have all ranks write a folder of about ``size`` bytes at the storage root.

        Room is checked first, by all ranks together, and all raise :class:`StorageError`. A rank
        that fails half way raises alone: the others wait in DeepSpeed's own barriers until who
        launched them ends them.
        """
        self.finish()
        local = self._write_here(folder, write, size)
        if self._remote and self._place.is_first_of_node:
            with self._telling(folder):
                upload_files(self._storage, folder, local, list_local(local))
                shutil.rmtree(local)
        wait_for_all()

    def finish(self) -> None:
        """Return when the last checkpoint is whole; raise :class:`StorageError` if it failed."""
        if not self._remote:
            return
        upload, self._upload = self._upload, None
        problems = gather(upload.await_uploaded() if upload else None)
        if upload and any(problems):
            upload.abandon()
        # Of a mark that one node could not leave, or a marker, rank 0 tells.
        problems.append(agree(upload.await_declared() if upload else None))
        for problem in problems:
            if problem:
                raise self._fail(self._job.checkpoints, problem)

    def leave(self) -> None:
        """Give an upload that is under way a while, where ranks end for another reason.

        Nobody is waited for but this node's own upload: the others may be dead.
        """
        if self._upload is not None:
            self._upload.await_end(_LAST_UPLOAD_S)

    def _declare(self, folder: str) -> None:
        job = self._job
        write_marker(
            self._storage,
            folder,
            fingerprint=job.fingerprint,
            base=job.base_identity,
            ranks=self._place.ranks,
            layout=self._layout,
        )
        prune(self._storage, job.checkpoints, job.config.keep_checkpoints)

    def _write_here(self, folder: str, write: Callable[[str], None], size: int) -> Path:
        """Have all ranks write a folder on their machines; return where, once all have."""
        local = self._scratch / "written" if self._remote else Path(self._storage.url(folder))
        if self._place.is_main:
            clear_folder(self._storage, folder)
        wait_for_all()
        if self._place.is_first_of_node:
            shutil.rmtree(local, ignore_errors=True)
            local.mkdir(parents=True)
        self._check_room(local, size)
        with self._telling(folder):
            write(str(local))
            wait_for_all()
        return local

    @contextmanager
    def _telling(self, folder: str) -> Iterator[None]:
        """Tell of a disk or a storage that fails what it means for the training."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise self._fail(folder, error) from error

    def _fail(self, folder: str, error: object) -> StorageError:
        return StorageError(
            f"{self._storage.url(folder)} could not be written: {error}. Free some space or"
            " fix the storage, then run again: training goes on from the last checkpoint."
        )

    def _find(self) -> Checkpoint | None:
        """Let rank 0 look, and all ranks take what it found, or raise what it raised."""
        found: Checkpoint | ConfigError | None = None
        job = self._job
        if self._place.is_main:
            try:
                found = find_newest(
                    self._storage, job.checkpoints, job.fingerprint, job.base_identity
                )
                # Who was killed between a checkpoint's marker and this has left one too many.
                prune(self._storage, job.checkpoints, job.config.keep_checkpoints)
            except ConfigError as error:
                found = error
        agreed = agree(found)
        if isinstance(agreed, ConfigError):
            raise agreed
        if agreed and not can_read(agreed.marker.layout, self._layout):
            raise ConfigError(
                Problem(
                    self._storage.url(agreed.folder),
                    f"written under {agreed.marker.layout}, which {self._layout} cannot read",
                    "set training.deepspeed back, or remove"
                    f" {self._storage.url(job.checkpoints)} to train anew",
                )
            )
        return agreed

    def _check_room(self, local: Path, size: int) -> None:
        problem = None
        if self._place.is_first_of_node:
            share = self._place.local_ranks / self._place.ranks if self._remote else 1.0
            needed, free = size * share, shutil.disk_usage(local).free
            if free < needed:
                problem = (
                    f"{local}: no room to write: {needed / 2**30:.2f} GiB needed,"
                    f" {free / 2**30:.2f} GiB free. Free some space or lower"
                    " training.keep_checkpoints, then run again: training goes on from the last"
                    " checkpoint."
                )
        problems: list[Any] = [found for found in gather(problem) if found]
        if problems:
            raise StorageError(problems[0])
