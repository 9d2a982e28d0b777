"""Reads the files that the pages are made of."""

from __future__ import annotations

from pathlib import Path

from infra.errors import ConfigError, Problem
from infra.paths import require_path

PAGE, STYLE, SCRIPT = "page.html.j2", "style.css", "browser.js"
PAIRS, PAIRS_SCRIPT = "side_by_side.html.j2", "side_by_side.js"

_NEEDED = (PAGE, STYLE, SCRIPT, PAIRS, PAIRS_SCRIPT)


def read_templates(name: str) -> dict[str, str]:
    """Return the files of a template folder by name.

    Raises :class:`ConfigError` if there is no such folder, or no page in it.
    """
    folder = require_path(name, "report.template")
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {file.name: file.read_text(encoding="utf-8") for file in files if _is_text(file)}
    absent = [file for file in _NEEDED if file not in found]
    if absent:
        raise ConfigError(
            Problem(
                "report.template",
                f"{folder} has no {', '.join(absent)}",
                "name a folder like configs/templates/report",
            )
        )
    return found


def _is_text(file: Path) -> bool:
    return file.is_file() and file.suffix in (".j2", ".css", ".js")
