"""Gather what a training on a borrowed GPU needs into .gpu/ (ignored by git): under 64 MB.

    python benchmarks/gpu/prepare.py --vgg VGG16.safetensors --content PHOTOGRAPHS --pictures PAINTINGS [--count 2000]

Photographs keep a short side of 256 pixels, paintings of 640.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image

from rtstyle.export.data import list_pictures
from rtstyle.export.evaluate.evaluation import evenly
from rtstyle.export.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent.parent


def shrink(source: Path, out: Path, side: int) -> None:
    with Image.open(source) as picture:
        picture = picture.convert("RGB")
        scale = min(1.0, side / min(picture.size))
        picture.resize([round(s * scale) for s in picture.size], Image.Resampling.LANCZOS).save(out, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg", required=True, type=Path)
    parser.add_argument("--content", required=True, type=Path)
    parser.add_argument("--pictures", required=True, type=Path)
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    luggage = ROOT / ".gpu"
    for name in ("content", "style"):
        (luggage / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(arguments.vgg, luggage / "vgg16.safetensors")
    for number, path in enumerate(evenly(list_pictures(arguments.content), arguments.count)):
        shrink(path, luggage / "content" / f"{number:05}.jpg", 256)
    for style in Recipe.read(ROOT / "export/recipes/studio.toml").style:
        shrink(arguments.pictures / style.file, luggage / "style" / style.file, 640)
    size = sum(path.stat().st_size for path in luggage.rglob("*") if path.is_file())
    print(f"{luggage}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
