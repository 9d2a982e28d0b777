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
from pathlib import Path

from infra.errors import ConfigError, Problem
from infra.file_digests import digest_once
from infra.file_locks import keep_alone
from infra.fingerprints import hash_parts
from infra.paths import user_cache

GGUF = ".gguf"
_MAGIC = b"GGUF"
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
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with keep_alone(kept):
        if not kept.is_dir():
            _check_start(path)
            size = path.stat().st_size / 1e6
            _say(f"converting {path.name} ({size:,.0f} MB) once, into {kept}")
            _convert(path, kept)
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
        return
    pointer = start.startswith(b"version https://git-lfs")
    what = "a Git LFS pointer, not the file it stands for" if pointer else "no GGUF file"
    todo = "fetch the file itself: git lfs pull" if pointer else "give a model in GGUF format"
    raise ConfigError(Problem(str(path), what, todo))


def _convert(path: Path, kept: Path) -> None:
    scratch = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "infra.gguf_conversion", str(path), str(scratch)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(scratch, ignore_errors=True)
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigError(
            Problem(
                str(path),
                f"this GGUF file cannot be converted: {lines[-1]}",
                "give the model as a folder of safetensors, or a GGUF file of another kind",
            )
        )
    scratch.rename(kept)


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
