"""Runs several configurations one after the other in one store, and compares them on one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from flows.look.comparing import RunComparison, check_seed, compare_runs
from flows.pipeline import opencharacter
from flows.recipe.opening import prepare
from flows.recipe.settings import Settings, check_run_name
from flows.runs.closing import RunResult
from infra.errors import ConfigError, Problem
from infra.orchestration.tasks import publish_report
from infra.paths import require_path
from infra.store.storage import Storage
from infra.text.markdown import escape_markdown
from tasks.reporting.table_text import lay_out
from tasks.reporting.table_text import write_markdown as to_markdown
from tasks.reporting.tables import Cell, Column, Row, Table, name_columns
from tasks.scores import Comparison, Measure

_TEMPLATES, _PAGE = "templates", "matrix.html.j2"
_DASH = "\u2013"
_WIDTH = 160


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class MatrixRun(_Plain):
    """One run of a matrix: where its report is, what it made, and its headline."""

    run: str
    config: str
    report: str
    examples: int
    scores: dict[str, float]


class MatrixMeasure(_Plain):
    """One model's mean of one measure; ``judge`` and ``task`` are empty where there is none."""

    run: str
    model: str
    measure: str
    judge: str
    task: str
    mean: float | None
    low: float | None
    high: float | None
    rows: int
    missing: int


class MatrixDifference(_Plain):
    """A run's model minus the first run's model of the same role, on what both were asked."""

    run: str
    against: str
    model: str
    measure: str
    judge: str
    task: str
    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    rows: int


class MatrixReport(_Plain):
    """What a matrix came to; ``page`` and ``table`` are where people read it."""

    name: str
    page: str
    table: str
    runs: tuple[MatrixRun, ...]
    measures: tuple[MatrixMeasure, ...]
    differences: tuple[MatrixDifference, ...]


def _name_flow_run() -> str:
    parameters = flow_run.get_parameters()
    return f"matrix {parameters['name'] or ' '.join(parameters['configs'])}"


@flow(name="opencharacter-matrix", flow_run_name=_name_flow_run)
def opencharacter_matrix(
    configs: Sequence[str],
    overrides: Sequence[str] = (),
    name: str = "",
    seed: int = 0,
) -> MatrixReport:
    """Run every configuration, in order, and compare each with the first.

    All must keep their rows in one store, where what two of them share is made once. The page,
    a Markdown table and JSON come to ``<root>/runs/matrix-<name>/``. Interrupted, it goes on where
    it stopped: runs that are done are cached.

    Raises :class:`ConfigError` with the problems of all configurations, before the first starts.
    """
    settings = prepare_all(configs, overrides, name, seed)
    results = [opencharacter(config, overrides) for config in configs]
    return report_matrix(settings[0].storage.root, configs, results, name=name, seed=seed)


def prepare_all(
    configs: Sequence[str], overrides: Sequence[str] = (), name: str = "", seed: int = 0
) -> list[Settings]:
    """Load and check every configuration, and that they can be compared, in a folder of a name."""
    check_seed(seed)
    if name:
        check_run_name("--name", name)
    if len(configs) < 2:
        raise ConfigError(Problem("CONFIG", "a matrix compares two runs or more", "name another"))
    problems: list[Problem] = []
    settings: list[Settings] = []
    for config in configs:
        try:
            settings.append(prepare(config, overrides))
        except ConfigError as error:
            problems += [
                Problem(f"{config}: {item.where}", item.what, item.todo) for item in error.problems
            ]
    roots = {Storage(item.storage.root).root for item in settings}
    if len(roots) > 1:
        what = f"the configurations keep their rows in {len(roots)} stores"
        problems.append(Problem("storage.root", what, "give all one: --set storage.root=…"))
    names = [item.run.name for item in settings]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        what, todo = f"two runs are called {twice!r}", "give each a run.name in its file"
        problems.append(Problem("run.name", what, todo))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return settings


def report_matrix(
    root: str,
    configs: Sequence[str],
    results: Sequence[RunResult],
    *,
    name: str = "",
    seed: int = 0,
) -> MatrixReport:
    """Compare finished runs of one store with the first of them, and write the page."""
    storage = Storage(root)
    name = name or f"{results[0].run}-to-{results[-1].run}"
    folder = f"runs/matrix-{name}"
    first = results[0].run
    found = [
        (result.run, compare_runs(first, result.run, root, seed=seed)) for result in results[1:]
    ]
    report = MatrixReport(
        name=name,
        page=storage.url(f"{folder}/report.html"),
        table=storage.url(f"{folder}/report.md"),
        runs=tuple(
            _describe_run(config, result) for config, result in zip(configs, results, strict=True)
        ),
        measures=tuple(_list_measures(first, found)),
        differences=tuple(_list_differences(first, found)),
    )
    markdown = write_markdown(report)
    storage.write_bytes(f"{folder}/report.md", markdown.encode())
    storage.write_bytes(f"{folder}/report.html", write_page(report).encode())
    storage.write_bytes(f"{folder}/matrix.json", report.model_dump_json(indent=1).encode())
    publish_report(markdown, report.page)
    return report


def write_markdown(report: MatrixReport) -> str:
    """Return the tables of a matrix as Markdown."""
    blocks = [f"# {escape_markdown(report.name)}"]
    blocks += [f"## {title}\n\n{to_markdown(table)}" for title, table in _list_tables(report)]
    return "\n\n".join(blocks) + "\n"


def write_page(report: MatrixReport) -> str:
    """Return the tables of a matrix as one page that needs nothing beside itself."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader(require_path(_TEMPLATES, "matrix")),
    )
    runs = [run.run for run in report.runs if run.report]
    template = environment.get_template(_PAGE)
    return template.render(name=report.name, tables=list(_list_tables(report)), runs=runs)


def print_matrix(report: MatrixReport) -> str:
    """Return a matrix as text for people."""
    text = StringIO()
    console = Console(file=text, width=_WIDTH, highlight=False, markup=False)
    for title, table in _list_tables(report):
        console.print(f"{title}\n")
        console.print(lay_out(table))
        console.print()
    console.print(report.page)
    return text.getvalue().rstrip()


def _describe_run(config: str, result: RunResult) -> MatrixRun:
    curated = result.counts.get("curation")
    return MatrixRun(
        run=result.run,
        config=config,
        report=result.report,
        examples=curated.accepted if curated is not None else 0,
        scores=result.scores,
    )


def _list_measures(
    first: str, found: Sequence[tuple[str, RunComparison]]
) -> Iterator[MatrixMeasure]:
    """Yield the first run's measures once, then every other run's."""
    for place, (run, comparison) in enumerate(found):
        for item in comparison.measures:
            label, _, model = item.model.partition(":")
            if label == "B" or place == 0:
                yield _name_measure(first if label == "A" else run, model, item)


def _name_measure(run: str, model: str, item: Measure) -> MatrixMeasure:
    # A judge of one run alone is named with its side, which says nothing among many runs.
    return MatrixMeasure(
        run=run,
        model=model,
        measure=item.name,
        judge=item.judge.removeprefix("A:").removeprefix("B:"),
        task=item.task,
        mean=item.mean,
        low=item.low,
        high=item.high,
        rows=item.rows,
        missing=item.missing,
    )


def _list_differences(
    first: str, found: Sequence[tuple[str, RunComparison]]
) -> Iterator[MatrixDifference]:
    for run, comparison in found:
        for item in comparison.comparisons:
            model, against = item.model.partition(":")[2], item.against.partition(":")[2]
            if model == against and item.rows:
                yield _name_difference(run, first, model, item)


def _name_difference(run: str, first: str, model: str, item: Comparison) -> MatrixDifference:
    return MatrixDifference(
        run=run,
        against=first,
        model=model,
        measure=item.name,
        judge=item.judge,
        task=item.task,
        mean=item.mean,
        low=item.low,
        high=item.high,
        p_value=item.p_value,
        rows=item.rows,
    )


def _list_tables(report: MatrixReport) -> Iterator[tuple[str, Table]]:
    """Yield title and table, one after the other."""
    names = list(dict.fromkeys(name for run in report.runs for name in run.scores))
    yield (
        "Runs",
        Table(
            name_columns(
                "run",
                Column("configuration", "text"),
                "examples",
                *(name.replace("_", " ") for name in names),
            ),
            tuple(
                _make_row(
                    run.run,
                    [Path(run.config).name],
                    [f"{run.examples:,}", *(_show(run.scores.get(name)) for name in names)],
                )
                for run in report.runs
            ),
        ),
    )
    columns = list(dict.fromkeys(map(_name_column, report.measures)))
    cells = {(item.run, item.model, _name_column(item)): item for item in report.measures}
    rows = dict.fromkeys((item.run, item.model) for item in report.measures)
    if columns:
        yield (
            "Means with 95 % intervals, each over all that the model was asked",
            Table(
                name_columns("run", Column("model", "text"), *columns),
                tuple(
                    _make_row(
                        run,
                        [model],
                        [_show_measure(cells.get((run, model, name))) for name in columns],
                    )
                    for run, model in rows
                ),
            ),
        )
    if report.differences:
        texts = (Column("model", "text"), Column("measure", "text"))
        yield (
            f"Differences from {report.runs[0].run}, over what both were asked",
            Table(
                name_columns("run", *texts, "difference", "95 %", "p", "rows"),
                tuple(map(_write_difference, report.differences)),
            ),
        )


def _write_difference(item: MatrixDifference) -> Row:
    interval = f"{_show(item.low, '+')} … {_show(item.high, '+')}"
    numbers = [_show(item.mean, "+"), interval, _show(item.p_value), f"{item.rows:,}"]
    return _make_row(item.run, [item.model, _name_column(item)], numbers)


def _make_row(name: str, texts: Sequence[str], numbers: Sequence[str]) -> Row:
    cells = [*(Cell(text, kind="text") for text in texts), *map(Cell, numbers)]
    return Row(name, tuple(cells))


def _name_column(item: MatrixMeasure | MatrixDifference) -> str:
    name = f"{item.measure} {item.task}".strip().replace("_", " ")
    return f"{name} ({item.judge})" if item.judge else name


def _show_measure(item: MatrixMeasure | None) -> str:
    if item is None or item.mean is None:
        return _DASH
    missing = f" ({item.missing:,} missing)" if item.missing else ""
    if item.low is None or item.high is None:
        return f"{item.mean:.3f}{missing}"
    return f"{item.mean:.3f} ± {(item.high - item.low) / 2:.3f}{missing}"


def _show(value: float | None, sign: str = "") -> str:
    return _DASH if value is None else f"{value:{sign}.3f}"
