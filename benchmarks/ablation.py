"""What each term of the loss does: the bundled `live` is trained on for some steps with all terms, and without each.

    python benchmarks/ablation.py --photos DIR --held-out DIR --pictures DIR --vgg FILE [-o DIR] [TERM ...]

Every run starts from the bundled file, has the last stage of its recipe, one seed and the style weights with which the
file was trained, and ends as an .onnx and a contact sheet in the output folder. What a term is for is what gets worse
without it; a term without which nothing does is not worth its lines. `repeats` is the root mean square, in grey levels,
of what windows of 64 pixels repeat every 4 pixels down and across: lattices of dots and bars.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

import rtstyle
from rtstyle.export.evaluate.evaluation import evaluate_model
from rtstyle.export.evaluate.report import Evaluation
from rtstyle.export.losses import repeated
from rtstyle.export.recipe import STAGE_WEIGHTS, Recipe
from rtstyle.export.to_onnx import properties, read_training, write_onnx
from rtstyle.export.train import Trainer
from rtstyle.gallery import catalog

TERMS = ("repeat", "palette", "light", "lattice", "tv", "range", "structure", "content", "temporal")
STEP = 4  # pixels
RECIPE = Path(rtstyle.__file__).parents[1] / "export" / "recipes" / "live.toml"


def plan_without(term: str | None, steps: int, batch: int) -> Recipe:
    """The last stage of the recipe, the weight of one term 0."""
    recipe = Recipe.read(RECIPE)
    weights = read_training(properties(catalog.load("live").path))["style_weights"]
    stage = dataclasses.replace(recipe.stage[-1], batch=batch)
    loss = stage.loss(recipe.loss)
    if term:
        loss = dataclasses.replace(loss, **{f"{term}_weight": 0.0})
    styles = [dataclasses.replace(style, weight=weights[style.name]) for style in recipe.style]
    stage = dataclasses.replace(stage, **dict.fromkeys(STAGE_WEIGHTS))
    return dataclasses.replace(recipe, loss=loss, stage=[stage], style=styles, steps=steps, average=0.98)


def repeats(evaluation: Evaluation) -> float:
    """Grey levels, over the paintings that the evaluation kept."""
    painted = (
        torch.from_numpy(picture).permute(2, 0, 1)[None].double() for row in evaluation.rows for picture in row[1:]
    )
    return float(torch.cat([repeated(picture, STEP) for picture in painted]).mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("terms", nargs="*", metavar="TERM", help=f"Of {', '.join(TERMS)} [default: all].")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--vgg", required=True)
    parser.add_argument("-o", "--out", type=Path, default=Path("ablation"))
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--limit", type=int, default=2, help="Held-out photographs to measure on.")
    options = parser.parse_args()
    if unknown := set(options.terms) - set(TERMS):
        sys.exit(f"no term of the loss: {', '.join(sorted(unknown))}; choose from {', '.join(TERMS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    print("| without | paint | recognition | light | ratio (highest) | subject | palette | warp | flicker | repeats |")
    print("| --- |" + " --- |" * 9, flush=True)
    for name, term in [("bundled", None), ("nothing", None), *((term, term) for term in options.terms or TERMS)]:
        model = catalog.load("live").path
        if name != "bundled":
            model = options.out / f"{name}.onnx"
            trainer = Trainer(
                plan_without(term, options.steps, options.batch),
                options.photos,
                options.pictures,
                options.out / f"{name}.run",
                vgg=options.vgg,
                init=catalog.load("live").path,
                replace=True,
            )
            trainer.run()
            write_onnx(trainer.averaged_net(), trainer.describe(), model, force=True)
        found = evaluate_model(
            model, options.held_out, options.pictures, recipe=RECIPE, vgg=options.vgg, limit=options.limit
        )
        found.save_sheet(options.out / f"{name}.png", force=True)
        mean = found.overall()
        numbers = [f"{mean[key]:.2f}" for key in ("paint", "recognition", "light")]
        numbers += [f"{mean['ratio']:.2f} ({mean['worst_ratio']:.2f})", f"{mean['subject']:.2f}"]
        numbers += [f"{mean['palette']:.2f}", f"{mean['warp']:.1f}", f"{mean['flicker']:.1f}", f"{repeats(found):.2f}"]
        print("| " + " | ".join([name, *numbers]) + " |", flush=True)


if __name__ == "__main__":
    main()
