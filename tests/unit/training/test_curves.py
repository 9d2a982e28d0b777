"""Proves that curves are drawn from whatever metrics there are, the same each time."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tasks.training.curves import draw_curves


def make_records(steps: int, **more: float) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [{"step": 0, "eval_loss": 3.0}]
    for step in range(1, steps + 1):
        loss = 1 + 2 * math.exp(-step / steps) + 0.1 * math.sin(step * 7)
        records.append({"step": step, "epoch": step / steps, "loss": loss, **more})
    records.append({"step": steps, "eval_loss": 1.5, "loss": None})
    return records


FULL = make_records(40, learning_rate=1e-5, grad_norm=0.7, tokens_per_s=1234.0)


def open_png(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def count_panels(svg: bytes) -> int:
    groups = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


def test_the_card_gets_a_white_picture_of_four_panels() -> None:
    image = open_png(draw_curves(FULL, "png"))
    assert image.size == (1344, 864)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    colours = {colour for _, colour in image.getcolors(1 << 20) or []}
    assert (0x2F, 0x6F, 0xB3) in colours and (0xC8, 0x55, 0x3D) in colours


def test_the_report_gets_a_vector_picture_without_a_ground() -> None:
    svg = draw_curves(FULL, "svg")
    text = svg.decode()
    assert count_panels(svg) == 4
    assert "#ffffff" not in text and "#000000" not in text
    assert draw_curves(FULL, "svg") == svg


def test_panels_without_numbers_are_left_out() -> None:
    assert count_panels(draw_curves([{"step": 1, "loss": 2.0}], "svg")) == 1
    assert count_panels(draw_curves([{"step": 1, "eval_loss": 2.0}], "svg")) == 1
    assert count_panels(draw_curves([{"step": 1, "grad_norm": 2.0, "loss": 1.0}], "svg")) == 2
    assert count_panels(draw_curves([{"step": 2}, {"loss": 1.0}], "svg")) == 0


def test_numbers_that_are_not_finite_leave_a_gap_and_nothing_fails() -> None:
    broken = [dict(record) for record in FULL]
    for record in broken[5:9]:
        record |= {"loss": math.nan, "grad_norm": math.inf}
    assert draw_curves(broken, "png") != draw_curves(FULL, "png")
    never = [{"step": step, "loss": math.nan} for step in range(5)]
    assert count_panels(draw_curves(never, "svg")) == 0


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_long_run_is_thinned(kind: Any) -> None:
    long = make_records(20_000, learning_rate=1e-5, grad_norm=0.7, tokens_per_s=1234.0)
    assert len(draw_curves(long, kind)) < 400_000
