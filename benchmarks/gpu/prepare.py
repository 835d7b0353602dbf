"""Gather what a training on a borrowed GPU needs into .gpu/ (ignored by git): 57 MiB from the 2,576
photographs of this project.

    python benchmarks/gpu/prepare.py --vgg VGG16.safetensors --content PHOTOGRAPHS --pictures PAINTINGS [--count N]

Photographs keep a short side of 256 pixels, paintings, all of them for the encoder, of 820. Packages that the machine
lacks (platformdirs, for one) can be laid into .gpu/packages, for PYTHONPATH; training does without PyAV if an empty
av.py lies there.
"""

from __future__ import annotations

import argparse
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from rtstyle.export.data import evenly, list_pictures

ROOT = Path(__file__).resolve().parent.parent.parent


def shrink(source: Path, out: Path, side: int, quality: int) -> None:
    with Image.open(source) as picture:
        picture = picture.convert("RGB")
        scale = min(1.0, side / min(picture.size))
        picture = picture.resize([round(s * scale) for s in picture.size], Image.Resampling.LANCZOS)
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out, quality=quality)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg", required=True, type=Path)
    parser.add_argument("--content", required=True, type=Path)
    parser.add_argument("--pictures", required=True, type=Path)
    parser.add_argument("--count", type=int, help="photographs [default: all]")
    arguments = parser.parse_args()
    luggage = ROOT / ".gpu"
    for name in ("content", "style"):
        shutil.rmtree(luggage / name, ignore_errors=True)
        (luggage / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(arguments.vgg, luggage / "vgg16.safetensors")
    photographs = evenly(list_pictures(arguments.content), arguments.count)
    jobs = [(path, luggage / "content" / f"{i:05}.webp", 256, 68) for i, path in enumerate(photographs)]
    paintings = list_pictures(arguments.pictures)  # whose names stay: by them recipes hold pictures out
    jobs += [(path, luggage / "style" / path.relative_to(arguments.pictures), 820, 80) for path in paintings]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: shrink(*job), jobs))
    size = sum(path.stat().st_size for path in luggage.rglob("*") if path.is_file())
    print(f"{luggage}: {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
