"""Making models: train, export and evaluate."""

from __future__ import annotations

from pathlib import Path

import click

from rtstyle.cli.options import needs_training, output_options, read_counts, with_vgg
from rtstyle.cli.progress import progress_bar, say
from rtstyle.errors import UsageError
from rtstyle.signals import ended_by_signals


@click.command()
@click.argument("picture", required=False)
@click.option("--recipe", type=click.Path(), help="Instead of PICTURE, a TOML file: body, styles, losses, schedule.")
@click.option("--content", type=click.Path(), help="Folder of photographs [default: a few that come with rtstyle].")
@click.option("--pictures", type=click.Path(), help="Folder of the recipe's style pictures [default: the recipe's].")
@click.option("-o", "--out", type=click.Path(), required=True, help="The model to write (.onnx).")
@click.option("--model", default="live", show_default=True, help="The model whose body learns PICTURE.")
@click.option("--full", is_flag=True, help="Train the body too: nearer to PICTURE, slower, mixes with no other style.")
@click.option(
    "--style-weight", type=float, help="How far the painting may go from the photograph: 4 to 16  [default: balanced]."
)
@click.option("--name", help="What the style is called [default: OUT's name].")
@click.option("--title", help="Of the picture, for the model's card.")
@click.option("--artist", help="The same.")
@click.option("--year", help="The same.")
@click.option("--licence", help="The same.")
@click.option("--run-dir", type=click.Path(), help="Checkpoints, curves and previews [default: beside OUT].")
@click.option("--resume", is_flag=True, help="Go on from the run folder's checkpoint.")
@click.option("--init", type=click.Path(), help="With --recipe: start from the weights of an exported model.")
@click.option("--steps", type=click.IntRange(1), help="Instead of the usual number.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@with_vgg
@output_options
def train(
    picture,
    recipe,
    content,
    pictures,
    out,
    model,
    full,
    style_weight,
    name,
    title,
    artist,
    year,
    licence,
    init,
    quiet,
    **options,
) -> None:
    """Learn a new style from PICTURE in minutes, or a whole gallery by a recipe."""
    if (picture is None) == (recipe is None):
        raise UsageError("give the picture to learn, or a --recipe for a whole gallery (not both)")
    card = {"name": name, "title": title, "artist": artist, "year": year, "licence": licence}
    only_picture = {"--full": full, "--style-weight": style_weight} | {f"--{key}": card[key] for key in card}
    only_recipe = {"--pictures": pictures, "--init": init}
    for option, given in (only_picture if recipe else only_recipe).items():
        if given:
            raise UsageError(f"{option} goes with {'a picture' if recipe else '--recipe'}")
    needs_training("train")
    from rtstyle.export.run import teach_style, train_model

    with ended_by_signals(), progress_bar("training", unit="steps", quiet=quiet) as update:
        options |= {
            "callback": lambda p: update(
                p.step, p.steps, " ".join(f"{k} {p.losses[k]:.3f}" for k in ("total", "content", "style"))
            ),
            "say": (lambda text: None) if quiet else say,
        }
        if recipe:
            train_model(recipe, content, pictures or Path(recipe).parent, out, init=init, **options)
        else:
            teaching = {"model": model, "full": full, "style_weight": style_weight, "card": card}
            teach_style(picture, out, content=content, **teaching, **options)
    click.echo(out)


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT.onnx")
@click.option("--style", "-s", metavar="NAME", help="Write a one-style model, without the code input.")
@click.option("--fp16", is_flag=True, help="Store the weights as float16: half the size, at most 2 grey levels apart.")
@click.option("--name", help="What to call the style of a .pth file [default: after the file].")
@click.option("--title", help="Title of the picture that a .pth file was trained on.")
@click.option("--artist", help="Its artist.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
def export(source, out, style, fp16, name, title, artist, force) -> None:
    """Write an ONNX model, checked against torch.

    IN is a checkpoint of rtstyle train, a model of rtstyle (.onnx), or weights of pytorch/examples' fast_neural_style
    (.pth, .model).
    """
    needs_training("export")
    from rtstyle.export.forms import export_model
    from rtstyle.files import check_output

    check_output(out, force=force, inputs=[source])
    export_model(source, out, style=style, half=fp16, name=name, title=title, artist=artist)
    click.echo(out)


@click.command()
@click.argument("model", default="live")
@click.option("--photos", type=click.Path(), required=True, help="Folder of photographs that training never saw.")
@click.option("--pictures", type=click.Path(), required=True, help="Folder of the artworks.")
@click.option("--recipe", type=click.Path(), help="Which artwork belongs to which style [default: the bundled recipe].")
@click.option("--limit", type=int, help="So many photographs, evenly chosen.")
@click.option("--size", type=int, help="Short side of the photographs in pixels [default: as the model is meant for].")
@click.option("--style-size", type=int, help="Short side of the artworks [default: as trained].")
@click.option("--clip", type=click.Path(), help="A video: warping error on its first 40 frames, too.")
@click.option(
    "--yardstick",
    metavar="N[,N...]",
    multiple=True,
    callback=read_counts,
    help="Compare with N iterations of L-BFGS on the picture itself (slow: use a small --limit).",
)
@click.option("--device", default="auto", show_default=True, help="For --yardstick: auto, cpu, cuda, cuda:1.")
@click.option("--sheet", type=click.Path(), help="Also draw a contact sheet (PNG).")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@with_vgg
@output_options
def evaluate(
    model,
    photos,
    pictures,
    recipe,
    limit,
    size,
    style_size,
    clip,
    yardstick,
    device,
    sheet,
    as_json,
    vgg,
    vgg_convention,
    force,
    quiet,
) -> None:
    """Measure a model: paint, recognition of the photograph, style, colours, steadiness, artefacts, speed."""
    needs_training("evaluate")
    from rtstyle.export.evaluate.evaluation import evaluate_model
    from rtstyle.files import check_output

    if sheet:
        check_output(sheet, force=force)
    with progress_bar("evaluating", unit="steps", quiet=quiet) as update:
        found = evaluate_model(
            model,
            photos,
            pictures,
            recipe=recipe,
            vgg=vgg,
            vgg_convention=vgg_convention,
            limit=limit,
            size=size,
            style_size=style_size,
            clip=clip,
            iterations=yardstick,
            device=device,
            progress=lambda what, done, total: update(done, total, what),
        )
    if sheet:
        found.save_sheet(sheet)
    if as_json:
        found.save_json()
    else:
        from rich.console import Console

        Console().print(found.table())
        if yardstick:
            Console().print(found.yardstick_table())
