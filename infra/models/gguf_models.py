"""Turns a model in one ``.gguf`` file into a folder that vLLM, transformers and training load.

Such files hold a whole model, usually quantised, for llama.cpp and its relatives. Here it is
dequantised once a machine, into the user's model cache; from then on it is a folder like any other.
The conversion runs in a process of its own: it needs PyTorch, and memory for all weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from infra.errors import ConfigError, Problem
from infra.file_locks import keep_alone
from infra.models.file_digests import digest_once
from infra.models.node_cache import find_kept, hold, make_room
from infra.paths import user_cache
from infra.store.fingerprints import hash_parts

GGUF = ".gguf"
_MAGIC = b"GGUF"
_FORMATS = (2, 3)
_VERSION = "2"
"""Of the conversion: another one gives other weights or tokens, and so is another model."""


def is_gguf(name: str) -> bool:
    """Tell whether a model's name is that of a GGUF file."""
    return name.lower().endswith(GGUF)


def identify_gguf(path: Path) -> str:
    """Return what tells a converted file from every other model: its digest, and how it is read.

    Raises :class:`ConfigError` where there is no such file.
    """
    return hash_parts("gguf", _VERSION, digest_once(_require(path)))


def convert_gguf(path: Path) -> Path:
    """Return the folder of a converted file, made on first use.

    Raises :class:`ConfigError` where the file is no whole GGUF file, or none that transformers
    can dequantise; the message names the architecture or what else it was.
    """
    kept = user_cache("models") / identify_gguf(path)
    if find_kept(kept):
        return kept
    hold(kept)
    with keep_alone(kept):
        if not kept.is_dir():
            _check_start(path)
            problem = _convert(path, kept)
            if problem is None and not kept.is_dir():  # somebody removed it since
                _convert.cache_clear()
                problem = _convert(path, kept)
            if problem is not None:
                raise ConfigError(problem)
    return kept


def _require(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(Problem(str(path), "no such file", "give the path of a GGUF file"))
    return path


def _check_start(path: Path) -> None:
    """Tell what is no GGUF file at all before anything is imported for it."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[:4] == _MAGIC:
        version = int.from_bytes(start[4:8], "little")
        if version not in _FORMATS and version.to_bytes(4, "big")[0] not in _FORMATS:
            what = f"GGUF of format {version}, and only {_FORMATS[0]} and {_FORMATS[1]} are read"
            raise ConfigError(Problem(str(path), what, "copy it again, whole, or convert it anew"))
        return
    pointer = start.startswith(b"version https://git-lfs")
    what = "a Git LFS pointer, not the file it stands for" if pointer else "no GGUF file"
    todo = "fetch the file itself: git lfs pull" if pointer else "give a model in GGUF format"
    raise ConfigError(Problem(str(path), what, todo))


@cache
def _convert(path: Path, kept: Path) -> Problem | None:
    """Convert a file; return what kept it from that, the same for all who ask this process.

    ``kept`` names the content, so that another file under the same name is tried anew.
    """
    size = path.stat().st_size / 1e6
    _say(f"converting {path.name} ({size:,.0f} MB) once, into {kept}")
    scratch = kept.with_name(f".{kept.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "infra.models.gguf_conversion", str(path), str(scratch)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(scratch, ignore_errors=True)
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Problem(
            str(path),
            f"this GGUF file cannot be converted: {lines[-1]}",
            "give the model as a folder of safetensors, or a GGUF file of another kind",
        )
    scratch.rename(kept)
    make_room()
    return None


def _say(text: str) -> None:
    """Tell people on the terminal why nothing else happens for half a minute."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Convert the file that the command line names, so that no run has to wait for it."""
    try:
        convert_gguf(Path(sys.argv[1]))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
