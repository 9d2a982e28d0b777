"""Measures what of the gain in held-out loss is the profile's, with a control that lost it.

Three figures over the same held-out characters with their true profiles: the base model's loss,
the tuned model's, and that of a control, trained on the same answers under other characters'
profiles. What the control gains too is style and topic; the rest is the profile's share. The same
three are compared where the profile shows most: in attribution, where a control can only guess, and
in the judge's score. Synthesis is shared with the run itself, so this takes one training more than
the run did, and the control's answers and judgements.

    make control
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from flows.pipeline import opencharacter
from flows.recipe.opening import prepare
from infra.store.manifests import read_manifest
from infra.store.storage import Storage

_MEASURES = ("attribution", "profile_gain", "persona_score")


def main() -> None:
    """Run the configuration and its control, and print the three losses."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.control", description=__doc__)
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--set", action="append", default=[], help="override a key, as a.b=c")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    losses: dict[str, float] = {}
    scores: dict[str, float] = {}
    for name, control in (("tuned", "none"), ("control", "shuffled_profiles")):
        overrides = [*arguments.set, f"training.control={control}", f"run.name={name}"]
        result = opencharacter(arguments.config, overrides)
        losses |= {
            "base": result.scores["eval_loss_base"],
            name: result.scores["eval_loss_tuned"],
        }
        for measure in _MEASURES:
            if f"{measure}_tuned" in result.scores:
                scores[f"{measure}_base"] = result.scores[f"{measure}_base"]
                scores[f"{measure}_{name}"] = result.scores[f"{measure}_tuned"]
    gain, spoiled = losses["base"] - losses["tuned"], losses["base"] - losses["control"]
    figures = {
        **losses,
        "held_out_characters": count_held_out(arguments.config, arguments.set),
        "gain": round(gain / losses["base"], 4),
        "control_gain": round(spoiled / losses["base"], 4),
        "profile_share_of_gain": round((gain - spoiled) / gain, 4),
        "tuned_below_control": round(1 - losses["tuned"] / losses["control"], 4),
        **scores,
    }
    print(json.dumps(figures, indent=1))
    if arguments.save:
        command = f"python -m tests.benchmarks.control --config {arguments.config}"
        record = {"date": date.today().isoformat(), "command": command, **figures}
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def count_held_out(config: str, overrides: list[str]) -> int:
    """Count the characters of the validation split of the tuned run."""
    from infra.store.manifests import refer_to
    from infra.store.reading import read_accepted_frame

    storage = Storage(prepare(config, overrides).storage.root)
    summary = json.loads(storage.read_bytes("runs/tuned/summary.json"))
    manifest = read_manifest(storage, summary["manifests"]["curation"])
    rows = read_accepted_frame(storage, refer_to(manifest))
    held = {
        key
        for key, split in rows.select("character_key", "split").iter_rows()
        if split == "validation"
    }
    return len(held)


if __name__ == "__main__":
    main()
