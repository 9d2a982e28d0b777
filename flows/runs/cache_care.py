"""Frees what this machine keeps of models, token and task files that nobody uses any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from flows.runs.store_care import Removal, print_size
from infra.models.node_cache import bound_cache, find_stale, list_entries
from infra.paths import user_cache


class CacheReport(BaseModel):
    """What `gc` removed of this machine's cache, or with ``dry_run`` would; sizes in bytes.

    ``files`` of a removal are models, token files and tasks, each counted once.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    dry_run: bool
    removed: tuple[Removal, ...]
    size: int
    left: int


def choose_bound(config: str | None, overrides: Sequence[str] = ()) -> None:
    """Have a configuration say how much the cache may hold, if one is given and says it."""
    if config is None:
        return
    from flows.recipe.settings import load_settings

    bound_cache(load_settings(config, overrides).storage.cache_gib)


def clean_cache(days: float, *, dry_run: bool) -> CacheReport:
    """Remove from this machine's cache what nobody used for so many days, and what is too much.

    What a process uses stays, of whichever run it is.
    """
    entries = list_entries()
    stale = find_stale(entries, days)
    gone = stale if dry_run else [(entry, why) for entry, why in stale if entry.remove()]
    sizes: Counter[str] = Counter()
    for entry, why in gone:
        sizes[why] += entry.size
    number = Counter(why for _, why in gone)
    size = sum(sizes.values())
    return CacheReport(
        folder=str(user_cache("models").parent),
        dry_run=dry_run,
        removed=tuple(
            Removal(why=why, files=number[why], size=size) for why, size in sizes.most_common()
        ),
        size=size,
        left=sum(entry.size for entry in entries) - size,
    )


def print_cache(report: CacheReport) -> str:
    """Return what `gc` did to the cache as text for people."""
    lines = [
        f"  {item.why}: {item.files:,} of models and files, {print_size(item.size)}"
        for item in report.removed
    ]
    verb = "would remove" if report.dry_run else "removed"
    lines.append(
        f"{verb} {print_size(report.size)} of this machine's cache in {report.folder}; "
        f"{print_size(report.left)} stay"
    )
    return "\n".join(lines)
