"""Takes care of a store: says whether it is sound, and frees the space of what nobody needs."""

from __future__ import annotations

import difflib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.runs.history import RunRecord, may_run, read_finished, read_records
from infra.errors import ConfigError, Problem
from infra.locking.root_lock import hold_root
from infra.store.garbage import Garbage, KeptNode, find_garbage, remove_garbage
from infra.store.manifests import STORE_MARKER
from infra.store.soundness import Examined, Fault, check_store
from infra.store.storage import Storage, is_remote
from infra.store.survey import Survey, survey_store


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class FaultLine(_Plain):
    """Something unsound: where it is, and what is wrong."""

    path: str
    what: str


class Verdict(_Plain):
    """What `verify` found; ``loose`` files belong to stages but to no manifest."""

    root: str
    manifests: int
    files: int
    size: int
    loose_files: int
    loose_size: int
    faults: tuple[FaultLine, ...]

    @property
    def sound(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.faults


class Removal(_Plain):
    """What one kind of garbage comes to."""

    why: str
    files: int
    size: int


class GcReport(_Plain):
    """What `gc` removed, or with ``dry_run`` would; sizes in bytes."""

    root: str
    dry_run: bool
    kept: tuple[str, ...]
    running: tuple[str, ...]
    removed: tuple[Removal, ...]
    files: int
    size: int
    left: int


def choose_root(config: str | None, root: str | None, overrides: Sequence[str] = ()) -> str:
    """Return the storage root a person named, itself or by a configuration."""
    if root is not None:
        return root
    if config is None:
        todo = "give a CONFIG, or --root with a folder or s3://bucket/prefix"
        raise ConfigError(Problem("storage root", "is not given", todo))
    from flows.recipe.settings import load_settings

    return load_settings(config, overrides).storage.root


def require_store(root: str) -> None:
    """Raise :class:`ConfigError` where no store is, naming one near by: the root is mistyped."""
    storage = Storage(root)
    if storage.stat(STORE_MARKER) is not None or storage.walk("runs", ".json"):
        return
    raise ConfigError(_miss_store(storage))


def _miss_store(storage: Storage) -> Problem:
    todo = "give the folder that holds runs/ and the stages"
    if is_remote(storage.root):
        return Problem(storage.root, "there is no store", todo)
    root = Path(storage.root)
    what = "there is no store" if root.is_dir() else "there is no such folder"
    inside, beside = (
        {path.name: path for path in near if (path / STORE_MARKER).is_file()}
        for near in (_list_folders(root), [*_list_folders(root.parent), root.parent])
    )
    stores = inside or beside
    alike = difflib.get_close_matches(root.name, stores, n=1) or list(stores)[:1]
    return Problem(storage.root, what, f"did you mean {stores[alike[0]]}?" if alike else todo)


def _list_folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_dir())
    return []


def verify_store(root: str, on_progress: Callable[[Examined], None]) -> Verdict:
    """Check a whole store to the last byte, and that every finished run still has its nodes.

    Raises :class:`ConfigError` where there is no store at all.
    """
    storage = Storage(root)
    survey = _survey(storage)
    found = check_store(storage, survey, on_progress)
    faults = [*found.faults, *_check_runs(storage, survey)]
    return Verdict(
        root=storage.root,
        manifests=found.manifests,
        files=found.files,
        size=found.size,
        loose_files=len(found.loose),
        loose_size=sum(stat.size for stat in found.loose),
        faults=tuple(FaultLine(path=fault.path, what=fault.what) for fault in faults),
    )


def clean_store(
    root: str, keep: int, *, dry_run: bool, on_removed: Callable[[Garbage], None] | None = None
) -> GcReport:
    """Remove what the ``keep`` latest runs of each name do not reach.

    Starts of a name that planned the same nodes count as one run. What a run's ``summary.json``
    names stays in any case, and so does everything of a run that may be at work: on another
    machine, or with ``run.other_runs: ignore``. All others keep out while files are removed.

    Raises :class:`ConfigError` where no run is on record: everything would go, and
    :class:`RootBusy` where a run is at work and files would be removed.
    """
    if keep < 1:
        raise ConfigError(Problem("--keep", f"is {keep}", "keep at least 1 run of each name"))
    storage = Storage(root)
    if dry_run:
        return _clean(storage, keep, None)
    require_store(root)
    told = threading.Event()
    with hold_root(storage, "gc", "refuse", note=lambda _: None, stop=told):
        return _clean(storage, keep, on_removed or (lambda _: None))


def _clean(storage: Storage, keep: int, on_removed: Callable[[Garbage], None] | None) -> GcReport:
    """Find what can go, and remove it if there is somebody to hear of it."""
    # In this order: a run that starts in between is on record, and one that starts later makes
    # only files that are not listed here.
    survey = _survey(storage)
    records = read_records(storage)
    kept = choose_kept(storage, records, keep)
    if not kept:
        what = "no run is on record there, so everything would go"
        raise ConfigError(Problem(storage.root, what, "remove the folder itself if you mean that"))
    busy = [record for record in records if may_run(record)]
    garbage = find_garbage(storage, survey, _list_nodes(kept), _list_nodes(busy))
    if on_removed is not None:
        remove_garbage(storage, garbage, on_removed)
    sizes: Counter[str] = Counter()
    files = Counter(item.why for item in garbage)
    for item in garbage:
        sizes[item.why] += item.size
    total = sum(sizes.values())
    return GcReport(
        root=storage.root,
        dry_run=on_removed is None,
        kept=tuple(f"{record.run}@{record.id}" for record in kept),
        running=tuple(f"{record.run}@{record.id}" for record in busy),
        removed=tuple(
            Removal(why=why, files=files[why], size=size) for why, size in sizes.most_common()
        ),
        files=len(garbage),
        size=total,
        left=sum(stat.size for stat in survey.files.values()) - total,
    )


def choose_kept(storage: Storage, records: Sequence[RunRecord], keep: int) -> list[RunRecord]:
    """Return the runs to keep: the latest of each name, the finished one, and what may run."""
    seen: dict[str, set[frozenset[str]]] = {}
    kept = []
    for record in sorted(records, key=lambda item: (item.began, item.id), reverse=True):
        nodes = frozenset(mark.fingerprint for mark in record.nodes)
        known = seen.setdefault(record.run, set())
        if nodes in known or len(known) < keep:
            known.add(nodes)
            kept.append(record)
        elif may_run(record):
            kept.append(record)
    finished = (read_finished(storage, run) for run in seen)
    return [*kept, *(record for record in finished if record is not None)]


def print_verdict(verdict: Verdict) -> str:
    """Return what `verify` found as text for people."""
    checked = (
        f"{verdict.manifests} manifests, {verdict.files} files, {print_size(verdict.size)} read "
        f"in {verdict.root}"
    )
    loose = (
        f"{verdict.loose_files} files ({print_size(verdict.loose_size)}) are named by no manifest: "
        "rows of unfinished nodes, checkpoints, logs; `opencharacter gc --dry-run` says what "
        "can go"
    )
    if verdict.sound:
        return f"sound: {checked}\n{loose}"
    faults = "\n".join(f"  {fault.path}: {fault.what}" for fault in verdict.faults)
    return (
        f"{len(verdict.faults)} faults: {checked}\n{faults}\n{loose}\n"
        "The next run that needs a node with a fault sets damaged files aside and makes anew what "
        "they held; rows of whole parts are reused."
    )


def print_cleaning(cleaning: GcReport) -> str:
    """Return what `gc` did as text for people."""
    lines = [f"keeps {', '.join(dict.fromkeys(cleaning.kept))}"]
    if cleaning.running:
        lines.append(f"may be running, untouched: {', '.join(cleaning.running)}")
    lines += [
        f"  {item.why}: {item.files:,} files, {print_size(item.size)}" for item in cleaning.removed
    ]
    verb = "would remove" if cleaning.dry_run else "removed"
    lines.append(
        f"{verb} {cleaning.files:,} files, {print_size(cleaning.size)}, of {cleaning.root}; "
        f"{print_size(cleaning.left)} stay"
    )
    return "\n".join(lines)


def print_size(size: int) -> str:
    """Return a number of bytes as people read it."""
    number, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.0f} {units[0]}" if units[0] == "B" else f"{number:.1f} {units[0]}"


def _survey(storage: Storage) -> Survey:
    survey = survey_store(storage)
    if STORE_MARKER not in survey.files and not survey.manifests:
        raise ConfigError(_miss_store(storage))
    return survey


def _check_runs(storage: Storage, survey: Survey) -> list[Fault]:
    faults = []
    for run in {record.run for record in read_records(storage)}:
        finished = read_finished(storage, run)
        for mark in finished.nodes if finished else ():
            if mark.manifest not in survey.manifests:
                what = f"is gone; the finished run {run} names it"
                faults.append(Fault(mark.manifest, what))
    return sorted(faults, key=lambda fault: fault.path)


def _list_nodes(records: Sequence[RunRecord]) -> set[KeptNode]:
    return {
        KeptNode(mark.stage, mark.recipe, mark.fingerprint)
        for record in records
        for mark in record.nodes
    }
