"""Proves that commands which contradict themselves, or look where nothing is, say so at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .situations import Situation, Told, hold_to, say, tell


def make_store(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store" / "opencharacter-store.json").write_text('{"format": 1}')


def of_run(name: str, words: tuple[str, ...], *after: str) -> Situation:
    return Situation(name, words, command=("run",), after=after)


def of_show(name: str, words: tuple[str, ...], *after: str, code: int = 2) -> Situation:
    return Situation(name, words, command=("show",), after=after, code=code)


def of_store(name: str, words: tuple[str, ...], *command: str) -> Situation:
    return Situation(name, words, command=command, without_config=True, prepare=make_store)


def of_chat(name: str, words: tuple[str, ...], *after: str) -> Situation:
    return Situation(name, words, command=("chat",), after=("--model", "teacher", *after))


RUNS = [
    of_run("from after until", ("--from export", "nothing would be made"),
           "--from", "export", "--until", "characters"),
    of_run("from what is not there", ("--from dialogues", "not done yet"), "--from", "dialogues"),
    of_run("refresh of nothing", ("--refresh nonsense", "it has: personas"),
           "--refresh", "nonsense"),
    of_run("refresh too late", ("--refresh characters", "comes after"),
           "--refresh", "characters", "--until", "personas"),
    of_run("rejects of nothing", ("--retry-rejects nonsense", "it has:"),
           "--retry-rejects", "nonsense"),
    of_run("rejects of what asks nobody", ("--retry-rejects curation", "asks a model"),
           "--retry-rejects", "curation"),
    of_run("no such stage", ("--until", "report"), "--until", "reprot"),
    of_run("no such option", ("--untill",), "--untill", "report"),
    of_run("a server that is not there", ("PREFECT_API_URL", "does not answer", "unset it")),
]  # fmt: skip

SHOWN = [
    of_show("no rows", ("-n", "at least 1"), "characters", "-n", "0"),
    of_show("fewer than none", ("-n", "at least 1"), "characters", "-n", "-3"),
    of_show("a sheet of characters", ("--sample", "not of characters"),
            "characters", "--sample", "3"),
    of_show("blind characters", ("--blind", "not of characters"), "characters", "--blind"),
    of_show("a sheet of none", ("--sample", "1 or more"), "answers", "--sample", "0"),
    of_show("a reason of answers", ("--reason", "of rejects"), "answers", "--reason", "looped"),
    of_show("one row of many", ("lineage",), "characters", "abc123"),
    of_show("lineage of nobody", ("ID: is missing",), "lineage"),
    of_show("lineage of a stranger", ("abc123",), "lineage", "abc123"),
    of_show("rows of no such kind", ("WHAT", "charactors"), "charactors"),
    of_show("nothing ran", ("nothing ran in {folder}/store yet",), "rejects", code=0),
    of_show("no answers", ("answers", "there are none yet"), "answers", "--sample", "3"),
]  # fmt: skip

STORES = [
    of_store("a mistyped root", ("no such folder", "did you mean {folder}/store?"),
             "runs", "--root", "{folder}/stor"),
    of_store("the folder above", ("no store", "did you mean {folder}/store?"),
             "runs", "--root", "{folder}"),
    of_store("a store far away", ("no such folder",), "verify", "--root", "/nowhere/at/all"),
    of_store("an address", ("kind http",), "runs", "--root", "http://host/x"),
    of_store("no rows to list", ("-n", "at least 1"),
             "runs", "--root", "{folder}/store", "-n", "0"),
    of_store("no root", ("storage root: is not given",), "runs"),
    of_store("status of nobody", ("no run demo",), "status", "demo", "--root", "{folder}/store"),
    of_store("status of a neighbour", ("not the folder of a run",),
             "status", "../../x", "--root", "{folder}/store"),
    of_store("a run without a store", ("no store is given",), "status", "demo"),
    of_store("a bundle of nobody", ("no run demo",), "bundle", "demo", "--root", "{folder}/store"),
    of_store("a difference of nobody", ("no run",), "diff", "a", "b", "--root", "{folder}/store"),
    of_store("a comparison of nobody", ("no run",), "compare", "a", "b", "--root",
             "{folder}/store"),
    of_store("keep none", ("--keep", "at least 1"),
             "gc", "--root", "{folder}/store", "--keep", "0"),
    of_store("keep of nothing", ("no run is on record",),
             "gc", "--root", "{folder}/store", "--keep", "1"),

    of_store("a seed below zero", ("--seed", "0 or more"),
             "compare", "a", "b", "--root", "{folder}/store", "--seed", "-1"),
    of_store("a gate of nothing", ("--fail-below persona_score", "persona_score=-0.2"), "compare",
             "a", "b", "--root", "{folder}/store", "--fail-below", "persona_score"),
    of_store("no command", ("frobnicate",), "frobnicate"),
    of_store("two configurations", ("Unused Tokens",), "run", "a.yaml", "b.yaml"),
    of_store("no configuration", ("CONFIG",), "run"),
]  # fmt: skip

SERVED = [
    Situation("no such port", ("--port", "99999 is no port"), command=("serve",),
              after=("--port", "99999")),
    Situation("what cannot be served", ("--model teacher", "can be served"), command=("serve",),
              after=("--model", "teacher")),
]  # fmt: skip

MATRICES = [
    Situation("a matrix of one", ("compares two runs or more",), command=("matrix",)),
    Situation("a matrix elsewhere", ("--name", "begins with a dot"), command=("matrix",),
              after=("--name", "../../x")),
    Situation("a matrix below zero", ("--seed", "0 or more"), command=("matrix",),
              after=("--seed", "-1")),
    Situation("a matrix below", ("--name", "no folder should"), command=("matrix",),
              after=("--name", "a/b")),
    Situation("a matrix of itself", ("two runs are called 'small'",), command=("matrix",),
              after=("{folder}/small.yaml",)),
]  # fmt: skip

CHATS = [
    of_chat("nobody", ("--persona", "is empty"), "--persona", " "),
    of_chat("too cold", ("--temperature", "0 to 5"), "--persona", "A", "--temperature", "-1"),
    of_chat("no number", ("--temperature",), "--persona", "A", "--temperature", "nan"),
    of_chat("no mass", ("--top-p",), "--persona", "A", "--top-p", "1.5"),
    of_chat("no word", ("--max-new-tokens", "1 or more"),
            "--persona", "A", "--max-new-tokens", "-5"),
    of_chat("no profile there", ("--profile", "cannot be read"),
            "--persona", "A", "--profile", "none.txt"),
    Situation("no such model", ("odd",), command=("chat",),
              after=("--persona", "A", "--model", "odd")),
    Situation("nothing trained", ("tuned",), command=("chat",), after=("--persona", "A")),
]  # fmt: skip

ALL = [*RUNS, *SHOWN, *STORES, *SERVED, *MATRICES, *CHATS]


@pytest.mark.parametrize("situation", ALL, ids=[one.name for one in ALL])
def test_it_is_told_at_once(
    situation: Situation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_to(situation, tell(situation, tmp_path, capsys), tmp_path)


def fail(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> Told:
    """Have `plan` die of a fault in the program."""

    def plan_run(*_: object) -> None:
        raise KeyError("no such thing\n" * 40)

    monkeypatch.setattr("flows.plan.planning.plan_run", plan_run)
    return say(capsys, "plan", "configs/demo.yaml", *words)


def test_a_fault_of_the_program_is_told_in_a_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = fail(capsys, monkeypatch)
    assert told.code == 1
    assert "KeyError" in told.text
    assert "--debug" in told.text
    assert "Traceback" not in told.text
    assert len(told.lines) <= 12


def test_whoever_asks_for_it_sees_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    told = fail(capsys, monkeypatch, "--debug")
    assert told.code == 1
    assert "Traceback" in told.text


def test_a_matrix_elsewhere_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    tell(MATRICES[1], inner, capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"inner"}
