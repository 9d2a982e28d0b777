"""Trains the demo models and writes them, their data and their measures to configs/demo."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from configs.demo.world.calibration import write_calibration
from configs.demo.world.card import write_card
from configs.demo.world.data import write_data
from configs.demo.world.lessons import School
from configs.demo.world.measures import measure_student, measure_teacher
from configs.demo.world.model import build_model, load_model, save_model, train_tokenizer
from configs.demo.world.phases import PHASES
from configs.demo.world.places import PLACES
from configs.demo.world.training import Budget, train

_TOKENIZER_LESSONS = 6000


def main() -> None:
    """Run the recipe: data, tokenizer, teacher, base student, measures, card."""
    parser = argparse.ArgumentParser(prog="python -m configs.demo.world", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("configs/demo"), help="target folder")
    parser.add_argument("--from-phase", type=int, default=1, help="go on with this phase")
    parser.add_argument("--to-phase", type=int, default=len(PHASES), help="last phase")
    parser.add_argument("--base-tokens", type=int, default=600_000, help="0 keeps the base student")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(2)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    write_data(out)
    write_calibration(out)
    first: int = arguments.from_phase
    tokenizer = (
        _make_tokenizer(School(arguments.seed)) if first == 1 else load_model(out / "teacher")[1]
    )
    for number, phase in list(enumerate(PHASES, start=1))[first - 1 : arguments.to_phase]:
        print(f"teacher, phase {number} of {len(PHASES)}", flush=True)
        school = School(arguments.seed + 10 * number, shares=phase.shares)
        budget = Budget(phase.tokens, rate=phase.rate, constant=phase.constant, final=phase.final)
        _train("teacher", school.draw_lesson, tokenizer, budget, arguments, go_on=number > 1)
    if arguments.base_tokens:
        student = School(arguments.seed + 1)
        budget = Budget(tokens=arguments.base_tokens)
        _train("base", student.draw_student_lesson, tokenizer, budget, arguments)
    if arguments.to_phase < len(PHASES):
        return
    measures = {
        "teacher": measure_teacher(*load_model(out / "teacher")),
        "base": measure_student(*load_model(out / "base")),
    }
    (out / "measures.json").write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
    write_card(out / "README.md", measures)
    print(json.dumps(measures, indent=1))


def _make_tokenizer(school: School) -> Any:
    lessons = [school.draw_lesson() for _ in range(_TOKENIZER_LESSONS)]
    texts = [text for item in lessons for text in (item.messages[-1].content, item.answer)]
    words = [word for place in PLACES for word in (place.city, place.people, place.country)]
    return train_tokenizer(texts, words)


def _train(
    name: str,
    draw: Any,
    tokenizer: Any,
    budget: Budget,
    arguments: argparse.Namespace,
    *,
    go_on: bool = False,
) -> None:
    folder = arguments.out / name
    model = load_model(folder)[0] if go_on else build_model(tokenizer, arguments.seed)
    train(
        model,
        tokenizer,
        draw,
        budget,
        report=lambda line: print(f"{name} {line}", flush=True),
        keep=lambda: save_model(model, tokenizer, folder),
    )


if __name__ == "__main__":
    main()
