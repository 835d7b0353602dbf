"""Making models: train, export and evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rtstyle.cli.flags import Command
from rtstyle.cli.options import (
    check_sheet,
    json_option,
    model_option,
    needs_training,
    option,
    output_options,
    photos_option,
    read_counts,
    read_size,
    torch_device_option,
    vgg_options,
)
from rtstyle.cli.progress import progress_bar
from rtstyle.errors import UsageError

if TYPE_CHECKING:
    from rtstyle.export.loop import Progress


@click.command(cls=Command)
@click.argument("picture", required=False)
@option("--recipe", type=click.Path(), help="Instead of PICTURE, a TOML file: body, styles, losses, schedule.")
@photos_option(old=["--content"])
@option("--pictures", type=click.Path(), help="Folder of the recipe's style pictures [default: that of the recipe].")
@option("-o", "--out", type=click.Path(), required=True, help="The model to write (.onnx).")
@model_option
@option("--full", is_flag=True, help="Train the body too: nearer to PICTURE, slower, mixes with no other style.")
@option(
    "--style-weight",
    type=float,
    help="How far the painting may go from the photograph: 4 to 16 [default: as far as it can be recognised].",
)
@option("--name", help="What the style is called [default: OUT's name].")
@option("--title", help="Of the picture, for the model's metadata.")
@option("--artist", help="Of the picture, for the same.")
@option("--year", help="Of the picture, for the same.")
@option("--licence", help="Of the picture, for the same.")
@option("--run-dir", type=click.Path(), help="Checkpoints, curves and previews [default: beside OUT].")
@option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@option("--init", type=click.Path(), help="With --recipe: start from the weights of an exported model.")
@option("--init-model", type=click.Path(), help="With an encoder as --init: the other model that it is for.")
@option("--steps", type=click.IntRange(1), help="Steps [default: 400; with --full 1500; the recipe's].")
@option("--batch", type=click.IntRange(1), help="With --recipe: photographs a step, instead of the recipe's.")
@torch_device_option
@option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of the calculation; auto: bf16 where that is faster.",
)
@vgg_options
@output_options
def train(
    picture: str | None,
    recipe: str | None,
    photos: str | None,
    pictures: str | None,
    out: str,
    model: str,
    full: bool,
    style_weight: float | None,
    name: str | None,
    title: str | None,
    artist: str | None,
    year: str | None,
    licence: str | None,
    init: str | None,
    init_model: str | None,
    batch: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Learn a new style from PICTURE in minutes, or a whole gallery by a recipe."""
    if (picture is None) == (recipe is None):
        raise UsageError("give the picture to learn, or a --recipe for a whole gallery (not both)")
    info = {"name": name, "title": title, "artist": artist, "year": year, "licence": licence}
    chosen = click.get_current_context().get_parameter_source("model") is ParameterSource.COMMANDLINE
    only_picture: dict[str, Any] = {"--full": full, "--style-weight": style_weight, "--model": chosen}
    only_picture |= {f"--{key}": info[key] for key in info}
    only_recipe = {"--pictures": pictures, "--init": init, "--init-model": init_model, "--batch": batch}
    for flag, given in (only_picture if recipe else only_recipe).items():
        if given:
            raise UsageError(f"{flag} goes with {'a picture' if recipe else '--recipe'}")
    needs_training("train")
    from rtstyle.export.encoder_recipe import is_encoder_recipe
    from rtstyle.export.encoder_training import train_encoder
    from rtstyle.export.run import teach_style, train_model

    with progress_bar("training", unit="steps", quiet=quiet) as update:

        def show(p: Progress) -> None:
            update(p.step, p.steps, " ".join(f"{k} {p.losses[k]:.3f}" for k in ("total", "content", "style")))

        options["callback"] = show
        if recipe and is_encoder_recipe(recipe):
            options["preparing"] = lambda done, total: update(done, total, "preparing pictures")
            options["init_model"] = init_model
            train_encoder(recipe, photos, pictures or Path(recipe).parent, out, init=init, batch=batch, **options)
        elif recipe:
            if init_model:
                raise UsageError("--init-model goes with the recipe of an encoder")
            train_model(recipe, photos, pictures or Path(recipe).parent, out, init=init, batch=batch, **options)
        elif picture:
            style_info = {key: value for key, value in info.items() if value}
            options |= {"model": model, "full": full, "style_weight": style_weight, "info": style_info}
            teach_style(picture, out, content=photos, **options)
    click.echo(out)


@click.command(cls=Command)
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT.onnx")
@option(
    "--form",
    type=click.Choice(["portable", "web", "ffmpeg"]),
    default="portable",
    show_default=True,
    help="web: one size, for a page of one's own. ffmpeg: one style, for FFmpeg and VapourSynth.",
)
@option("--style", "-s", metavar="NAME", help="Write a one-style model, without the code input.")
@option(
    "--size", type=read_size, metavar="WxH", help="The frames of a web form [default: 640x360] or ffmpeg form [any]."
)
@option("--fp16", is_flag=True, help="Store the weights as float16: half the size, at most 2 grey levels apart.")
@option("--name", help="What to call the style of a .pth file [default: after the file].")
@option("--title", help="Title of the picture that a .pth file was trained on.")
@option("--artist", help="Its artist.")
@output_options
def export(
    source: str,
    out: str,
    style: str | None,
    fp16: bool,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write an ONNX model, checked against torch.

    IN is a checkpoint of rtstyle train, a model of rtstyle (live, studio or an .onnx file), or weights of
    pytorch/examples' fast_neural_style (.pth, .model).
    """
    needs_training("export")
    from rtstyle.export.forms import export_model
    from rtstyle.files import check_output

    if Path(out).suffix.lower() != ".onnx":
        raise UsageError(f"the model must be named .onnx, not {Path(out).name}")
    check_output(out, force=force, inputs=[source])
    export_model(source, out, style=style, half=fp16, force=force, **options)
    click.echo(out)


@click.command(cls=Command)
@click.argument("model", default="live")
@option(
    "--photos",
    type=click.Path(),
    metavar="DIR",
    required=True,
    help="Folder of photographs that training never saw.",
)
@option("--pictures", type=click.Path(), required=True, help="Folder of the artworks.")
@option("--recipe", type=click.Path(), help="Which artwork belongs to which style [default: as the model says].")
@option("--encoder", is_flag=True, help="The styles are the pictures of --pictures, as the encoder sees them.")
@option("--limit", type=int, help="So many photographs, evenly chosen.")
@option("--size", type=int, metavar="PX", help="Short side of the photographs [default: as the model is meant for].")
@option("--style-size", type=int, help="Short side of the artworks [default: as trained].")
@option("--clip", type=click.Path(), help="A video: warping error on its first 40 frames, too.")
@option(
    "--lbfgs",
    "iterations",
    old=["--yardstick"],
    metavar="N[,N...]",
    multiple=True,
    callback=read_counts,
    help="Compare with N iterations of L-BFGS on the picture itself (slow: use a small --limit).",
)
@option("--device", default="auto", show_default=True, help="For --lbfgs: auto, cpu, cuda, cuda:1.")
@option("--sheet", type=click.Path(), metavar="FILE", help="Also draw a contact sheet (PNG).")
@json_option
@vgg_options
@output_options
def evaluate(
    model: str,
    photos: str,
    pictures: str,
    iterations: Sequence[int],
    sheet: str | None,
    as_json: bool,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure a model: paint, recognition, style, colours, steadiness, artefacts, speed."""
    needs_training("evaluate")
    from rtstyle.export.evaluate.evaluation import evaluate_model

    if sheet:
        check_sheet(sheet, force=force)
    with progress_bar("evaluating", unit="steps", quiet=quiet) as update:
        evaluation = evaluate_model(
            model,
            photos,
            pictures,
            iterations=iterations,
            progress=lambda what, done, total: update(done, total, what),
            **options,
        )
    if as_json:
        evaluation.print_json()
    else:
        from rich.console import Console

        Console().print(evaluation.table())
        if iterations:
            Console().print(evaluation.lbfgs_table())
    if sheet:
        evaluation.save_sheet(sheet, force=force)
