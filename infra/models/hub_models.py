"""Fetches a hub's models to the machine that loads them, once, and says how far that is."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from infra.file_locks import keep_alone
from infra.models.gguf_models import is_gguf
from infra.models.hub_snapshots import HubNote, find_hub_cache, name_folder, read_note, write_note
from infra.models.node_cache import hold, make_room
from infra.models.weight_files import WEIGHTS, choose_files
from infra.paths import user_cache
from infra.store.fingerprints import hash_parts

_COMMIT = re.compile("[0-9a-f]{40}")
_TIMEOUT_S = 10
_FIRST_PUBLISHED = "consolidated"


def names_hub_model(name: str) -> bool:
    """Tell whether a model is named as the hub names it: ``owner/name``, and no folder."""
    if is_gguf(name) or Path(name).expanduser().is_dir():
        return False
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1


def bring_hub_model(name: str, revision: str | None) -> None:
    """Fetch the files of a model that are loaded into the hub's cache of this machine.

    Several processes that want it wait for the first. Where the hub does not answer nothing is
    raised: what is there may be enough, and who loads it says what is missing.
    """
    # The base of all that the hub's HTTP client raises, whichever client that is.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        commit = _as_commit(revision)
        if commit is None:
            commit = _list(name, revision).sha
        if commit is not None:
            _bring(name, commit)
    except (OSError, HTTPError, ValueError):
        return


def measure_hub_model(name: str, revision: str | None) -> tuple[int, int]:
    """Return how many bytes of a model are on this machine, and how many there are in all.

    Before the hub has told, it is 0 of 1; of a model that no commit names, 0 of 0.
    """
    commit = _as_commit(revision)
    if commit is None:
        return 0, 0
    note = read_note(_name_kept(name, commit))
    if note is None:
        return 0, 1
    come = note.measure_come()
    return (come, note.size) if note.is_whole() else (min(come, note.size - 1), note.size)


def _bring(name: str, commit: str) -> None:
    kept = _name_kept(name, commit)
    hold(kept)
    with keep_alone(kept):
        note = read_note(kept)
        if note is not None and note.is_whole():
            return
        siblings = _list(name, commit).siblings or ()
        sizes = {item.rfilename: item.size or 0 for item in siblings if "/" not in item.rfilename}
        files = {file: sizes[file] for file in _choose_files(sizes)}
        cache = find_hub_cache()
        snapshot = cache / name_folder(name) / "snapshots" / commit
        missing = sum(size for file, size in files.items() if not (snapshot / file).is_file())
        make_room(missing, Path(cache))
        # People's own may lack what nobody loads, such as its README.
        begun = 0 if _has_weights(snapshot) else missing
        fetched = note.fetched if note is not None else begun
        # Before the first byte: what a killed process leaves is to be found, too.
        write_note(
            kept, HubNote(name=name, commit=commit, cache=str(cache), files=files, fetched=fetched)
        )
        from huggingface_hub import snapshot_download

        snapshot_download(name, revision=commit, allow_patterns=list(files))


def _has_weights(snapshot: Path) -> bool:
    return any(path.name.endswith(WEIGHTS) for path in snapshot.rglob("*"))


def _choose_files(sizes: Collection[str]) -> list[str]:
    """Leave out, too, the weights as they were published first, beside those that are loaded."""
    files = choose_files(sizes)
    again = [file for file in files if file.startswith(_FIRST_PUBLISHED)]
    weights = [file for file in files if file.endswith(WEIGHTS) and file not in again]
    return [file for file in files if file not in again] if weights else files


def _list(name: str, revision: str | None) -> Any:
    """Ask the hub for a model's commit and files, once: where it cannot be reached that is known.

    Its listing proper asks again for half a minute.
    """
    from huggingface_hub import HfApi

    return HfApi().model_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)


def _as_commit(revision: str | None) -> str | None:
    return revision if revision and _COMMIT.fullmatch(revision) else None


def _name_kept(name: str, commit: str) -> Path:
    return user_cache("hub") / hash_parts(name, commit)
