"""Uploads a checkpoint beside the training; it counts once every node's part is there."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.store.storage import Storage
from tasks.training.ranks.saving.checkpoints import list_local, upload_files

_LOOK_S = 1.0


def mark_path(folder: str, rank: int) -> str:
    """Return what the node of this first rank leaves beside its files when all of them are up."""
    return f"{folder}/uploaded-{rank}"


class Upload:
    """Upload of one node's files in a thread, which leaves a mark at its end.

    ``folder`` lies below the storage root, ``local`` is removed afterwards, ``rank`` is the first
    of this node. Where ``declare`` is given, the thread then waits for the marks of the first ranks
    of all nodes, removes them, and calls it: the checkpoint is whole.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        local: Path,
        rank: int,
        firsts: Sequence[int],
        declare: Callable[[], None] | None,
    ) -> None:
        self._storage, self._folder, self._local = storage, folder, local
        self._rank, self._firsts, self._declare = rank, firsts, declare
        self._uploaded, self._abandoned = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint upload", daemon=True)
        self._thread.start()

    def await_uploaded(self) -> str | None:
        """Return when this node's files are up; what went wrong, or ``None``."""
        self._uploaded.wait()
        return self._tell()

    def await_declared(self) -> str | None:
        """Return when the thread is done; what went wrong, or ``None``."""
        self._thread.join()
        return self._tell()

    def await_end(self, seconds: float) -> bool:
        """Return whether the thread is done, after so many seconds at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Wait for no other node any more: one of them has failed."""
        self._abandoned.set()

    def _run(self) -> None:
        try:
            upload_files(self._storage, self._folder, self._local, list_local(self._local))
            shutil.rmtree(self._local)
            self._storage.write_bytes(mark_path(self._folder, self._rank), b"")
            self._uploaded.set()
            if self._declare is not None and self._await_marks():
                for rank in self._firsts:
                    self._storage.remove(mark_path(self._folder, rank))
                self._declare()
        except Exception as error:  # whatever it is, the ranks must hear of it
            self._error = error
        finally:
            self._uploaded.set()

    def _await_marks(self) -> bool:
        """Return whether the marks of all nodes are there; not if that was given up."""
        missing = [mark_path(self._folder, rank) for rank in self._firsts]
        while missing := [path for path in missing if self._storage.stat(path) is None]:
            if self._abandoned.wait(_LOOK_S):
                return False
        return True

    def _tell(self) -> str | None:
        return None if self._error is None else f"{type(self._error).__name__}: {self._error}"
