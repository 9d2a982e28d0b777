"""Trains the demo models and writes them, their data and their measures to configs/demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks.demo_world.lessons import School
from tasks.demo_world.model import build_model, save_model, train_tokenizer
from tasks.demo_world.places import PLACES
from tasks.demo_world.training import Budget, train

_TOKENIZER_LESSONS = 6000


def main() -> None:
    """Run the recipe: tokenizer, teacher, base student."""
    parser = argparse.ArgumentParser(prog="python -m tasks.demo_world", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("configs/demo"), help="target folder")
    parser.add_argument("--teacher-tokens", type=int, default=7_000_000)
    parser.add_argument("--base-tokens", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--only", choices=("teacher", "base"), help="train one of the two")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(2)
    school = School(arguments.seed)
    lessons = [school.draw_lesson() for _ in range(_TOKENIZER_LESSONS)]
    texts = [text for item in lessons for text in (item.messages[-1].content, item.answer)]
    words = [word for place in PLACES for word in (place.city, place.people, place.country)]
    tokenizer = train_tokenizer(texts, words)
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)

    jobs = {
        "teacher": (school.draw_lesson, arguments.teacher_tokens),
        "base": (School(arguments.seed + 1).draw_student_lesson, arguments.base_tokens),
    }
    for name, (draw, tokens) in jobs.items():
        if arguments.only not in (None, name):
            continue
        model = build_model(tokenizer, arguments.seed)
        folder = arguments.out / name
        print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
        train(
            model,
            tokenizer,
            draw,
            Budget(tokens=tokens, rate=arguments.rate),
            report=lambda line, name=name: print(f"{name} {line}", flush=True),  # type: ignore[misc]
            keep=lambda model=model, folder=folder: save_model(model, tokenizer, folder),  # type: ignore[misc]
        )


if __name__ == "__main__":
    main()
