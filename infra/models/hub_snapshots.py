"""Knows models as the hub's own cache on this machine keeps them, and which of them a run fetched.

That cache is the hub library's, and holds what people fetched by themselves too. So what a run
fetched is noted in the user's cache, and nothing else is ever removed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

_NOTE = "note.json"


class HubNote(BaseModel):
    """What is known of a snapshot: its files with their bytes, and how many of those a run fetched.

    Where weights were there before a run came, ``fetched`` is 0: the model is the user's own.
    ``cache`` is the hub library's folder that it lies in.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    commit: str
    cache: str
    files: dict[str, int]
    fetched: int

    @property
    def size(self) -> int:
        """Return the bytes of all its files."""
        return sum(self.files.values())

    def measure_come(self) -> int:
        """Return how many bytes of it are there, of files that are still written too."""
        folder = Path(self.cache) / name_folder(self.name)
        snapshot = folder / "snapshots" / self.commit
        whole = sum(size for file, size in self.files.items() if (snapshot / file).is_file())
        parts = sum(path.stat().st_blocks * 512 for path in folder.glob("blobs/*.incomplete"))
        return min(self.size, whole + parts)

    def is_whole(self) -> bool:
        """Tell whether all its files are there."""
        snapshot = Path(self.cache) / name_folder(self.name) / "snapshots" / self.commit
        return all((snapshot / file).is_file() for file in self.files)


def name_folder(name: str) -> str:
    """Return what the hub's cache calls the folder of a model."""
    return f"models--{name.replace('/', '--')}"


def find_hub_cache() -> Path:
    """Return the folder of the hub's cache on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def read_note(kept: Path) -> HubNote | None:
    """Return what is noted of a snapshot, if anything is."""
    try:
        return HubNote.model_validate_json((kept / _NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def write_note(kept: Path, note: HubNote) -> None:
    """Note a snapshot; whoever calls holds its lock."""
    kept.mkdir(parents=True, exist_ok=True)
    temporary = kept / f".{_NOTE}.tmp"
    temporary.write_text(note.model_dump_json(), encoding="utf-8")
    temporary.replace(kept / _NOTE)


def remove_snapshot(note: HubNote) -> None:
    """Remove a snapshot from the hub's cache, but for files that others of the model share."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(note.cache)
    except (CacheNotFound, ValueError):
        return
    # By itself it takes a commit of whichever model has it first: copies of a model share theirs.
    own = frozenset(
        repo for repo in found.repos if (repo.repo_type, repo.repo_id) == ("model", note.name)
    )
    replace(found, repos=own).delete_revisions(note.commit).execute()
