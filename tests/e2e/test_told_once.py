"""Checks on real runs that trouble is told once, in few lines, and costs only what it touched."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import polars as pl
import pytest

from infra.errors import ConfigError, DamagedFile
from tests.e2e.odd_endpoint import serve_oddities
from tests.e2e.prefect_homes import make_home
from tests.e2e.processes import run_command
from tests.e2e.scripted import ScriptedWorld, read_parts
from tests.e2e.sockets import LOOPBACK, watch_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

MOST_LINES = 12


def test_a_failing_run_tells_its_cause_once_and_shows_its_rejects(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path)
    bad = ["--set", "models.teacher.script={bad_output_share: 1.0}"]
    failed = run_command(
        ["run", str(world.config), *bad, "--until", "characters"],
        {"PREFECT_API_URL": prefect_server},
    )
    assert failed.returncode == 1
    told = [line for line in failed.stderr.splitlines() if line.strip()]
    cause = [place for place, line in enumerate(told) if "Error" in line]
    assert len(cause) == 1, failed.stderr
    assert len(told) - cause[0] <= MOST_LINES
    assert "Traceback" not in failed.stderr
    assert "rejects" in failed.stderr

    shown = run_command(["show", str(world.config), *bad, "rejects", "-n", "200"], {})
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("characters ") >= 4


def test_a_local_run_listens_on_loopback_and_keeps_its_secrets(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    secret = "planted-4711-secret"
    with serve_oddities() as server, tempfile.TemporaryDirectory(prefix="oc-", dir="/tmp") as ray:
        teacher = f"{{engine: endpoint, model: plain, base_url: '{server.address}'"
        env = {
            "HOME": str(home),
            "PREFECT_HOME": str(make_home(tmp_path / "prefect")),
            "RAY_TMPDIR": ray,
            "PLANTED_KEY": secret,
        }
        more = ["--set", f"models.teacher={teacher}, api_key: 'env:PLANTED_KEY'}}"]
        seen = watch_run(["run", str(world.config), *more], env, 300)
        left = [path for root in (tmp_path, Path(ray)) for path in root.rglob("*")]
        held = [str(path) for path in left if path.is_file() and secret.encode() in read(path)]

    assert {"gcs_server", "raylet"} <= set(seen.places)
    outside = {name: found - LOOPBACK for name, found in seen.places.items() if found - LOOPBACK}
    assert not outside
    token = home / ".ray" / "auth_token"
    assert token.is_file()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert any(secret in value for headers in server.headers for value in headers.values())
    assert not held
    assert not any(secret in word for word in seen.words)
    assert secret not in seen.stderr
    assert any("raylet.out" in path.name for path in left), "Ray's logs were not looked at"


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a socket's file, or one that went since
        return b""


def test_a_damaged_part_is_named_set_aside_and_made_anew_alone(world: ScriptedWorld) -> None:
    stage, more = "dialogues_generate", "dialogues.characters_per_question=3"
    world.run("dialogues.characters_per_question=2")
    (part,) = (world.root / stage).glob("*/part-*.parquet")
    lost = pl.read_parquet(part).height
    first = world.run(more)
    made = read_parts(world.root, stage)
    part.write_bytes(part.read_bytes()[:-100])

    planned = run_command(["plan", str(world.config), "--set", more], {})
    assert planned.returncode == 0, planned.stderr
    assert part.name in planned.stdout
    assert "makes anew" in planned.stdout

    again = world.run(more)

    assert again.counts[stage] == first.counts[stage]
    assert part.with_name(f"{part.name}.damaged").is_file()
    assert read_parts(world.root, stage).sort("key").equals(made.sort("key"))
    counts = world.manifest(stage, more).counts
    assert (counts.made, counts.reused) == (lost, made.height - lost)
    assert 0 < lost < made.height


def test_a_part_damaged_behind_our_back_is_named_and_mended_by_the_next_run(
    world: ScriptedWorld,
) -> None:
    import os

    world.run("run.name=first")
    (part,) = (world.root / "characters").glob("*/part-*.parquet")
    before = part.stat()
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(bytes(data))
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    anew = "dialogues.pairing_seed=1"
    with pytest.raises(DamagedFile, match=part.name):
        world.run(anew)
    assert not part.is_file()
    assert world.run(anew).counts["characters"].planned == 24


def test_too_few_characters_are_told_before_one_is_written(world: ScriptedWorld) -> None:
    with pytest.raises(ConfigError, match="24 characters at most"):
        world.run("dialogues.characters_per_question=25")
    assert not (world.root / "characters").exists()
    assert not (world.root / "guesses").exists()


def test_a_cluster_that_is_not_there_is_told_within_seconds(
    prefect_server: str, tmp_path: Path
) -> None:
    world = ScriptedWorld.make(tmp_path)
    failed = run_command(
        ["run", str(world.config), "--set", "ray.address=127.0.0.1:9"],
        {"PREFECT_API_URL": prefect_server},
        timeout_s=90,
    )
    assert failed.returncode == 2
    assert failed.stderr.count("nobody answers there") == 1
    assert "Traceback" not in failed.stderr


def test_a_prefect_that_cannot_keep_its_database_is_told_in_few_lines(tmp_path: Path) -> None:
    world = ScriptedWorld.make(tmp_path)
    nowhere = {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////proc/none/p.db"}
    failed = run_command(["run", str(world.config)], nowhere, timeout_s=150)
    assert failed.returncode == 1
    assert "Prefect" in failed.stderr
    assert len([line for line in failed.stderr.splitlines() if line.strip()]) <= MOST_LINES
