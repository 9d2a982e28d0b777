"""Offers the node that writes the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.nodes.node import JobNode, JobOutput, Node
from infra.nodes.rows import Rows
from infra.store.manifests import write_file
from tasks.reporting.config import ReportConfig
from tasks.reporting.templates import read_templates
from tasks.scores import Comparison, Measure


@dataclass(frozen=True, kw_only=True, eq=False)
class Report(JobNode):
    """Page of a run, from whatever nodes it has; ``config_text`` is shown as it is.

    Where two models answered, a page of their answers side by side comes with it.
    """

    kind = "report"
    stage = "report"
    version = 6  # languages of rows: English is told by its words
    record = Measure

    config: ReportConfig
    shown: Sequence[Node]
    config_text: str = ""

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs and its templates' contents."""
        template = read_templates(self.config.template)
        return {**self.config.knob_values("identity"), "template": template}

    def run(self, given: Rows) -> JobOutput:
        """Write the page, and the page of pairs if there are any."""
        from tasks.reporting.assembly import assemble_pairs, assemble_report
        from tasks.reporting.markdown_summary import summarise_scores
        from tasks.reporting.page import render_pairs, render_report
        from tasks.reporting.run_nodes import RunNodes
        from tasks.reporting.sections.judges import describe_judges, find_single_rubrics
        from tasks.reporting.sections.overview import ModelLine, RunFacts

        context, storage = self.context, self.context.storage
        nodes = RunNodes(storage, [node.reference for node in self.shown])
        run = RunFacts(
            fingerprint=self.spec.fingerprint,
            demo=context.uses_demo_models(),
            models=tuple(
                ModelLine(role, context.model_label(role), model.engine)
                for role, model in sorted(context.models.items())
            ),
            versions=tuple(context.versions().items()),
            config_text=self.config_text,
            judges=describe_judges(self.shown),
        )
        templates = read_templates(self.config.template)
        pairs = assemble_pairs(nodes, self.config, self.spec.fingerprint)
        facts = assemble_report(nodes, self.config, run, paired=pairs is not None)
        base = f"{self.spec.folder}/{self.spec.fingerprint}"
        pages = {"page": (f"{base}.html", render_report(facts, templates))}
        if pairs is not None:
            pages["pairs"] = (f"{base}.pairs.html", render_pairs(pairs, templates))
        summary = summarise_scores(
            nodes.read_part("scores", "measures", Measure),
            nodes.read_part("scores", "comparisons", Comparison),
            find_single_rubrics(run.judges),
        )
        files = [write_file(storage, path, text.encode()) for path, text in pages.values()]
        paths = {name: path for name, (path, _) in pages.items()}
        return JobOutput(files, 1, facts={**paths, "summary": summary})
