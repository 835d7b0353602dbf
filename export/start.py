"""Where a training starts: fresh weights, or those of an exported model."""

from __future__ import annotations

import os

import numpy as np
import torch

from rtstyle.errors import ModelError
from rtstyle.export import networks
from rtstyle.export.artworks import Artworks
from rtstyle.export.data import Photos
from rtstyle.export.recipe import Recipe
from rtstyle.export.to_onnx import from_onnx
from rtstyle.gallery import encoder

PHOTOS = 4  # by which the nearest style of another model is found


def seed_weights(net: networks.Body, generator: torch.Generator) -> None:
    """He initialisation from the run's own generator, so that a seed fixes the whole run."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
    with torch.no_grad():
        net.head.weight.mul_(0.2)  # start near mid-grey, within range


def start_from(
    net: networks.Body,
    path: str | os.PathLike[str],
    recipe: Recipe,
    artworks: Artworks,
    photos: Photos,
    *,
    own_codes: bool = False,
) -> dict[str, str]:
    """Give `net` the weights of an exported model, or of a smaller body to grow from; codes of styles with the same
    name go on (unless `own_codes`), new ones start from what the bundled encoder makes of their picture, if it was made
    for this body, else from the nearest of the model's. Returns what the metadata say of the start. Raises RtstyleError
    for a body that does not fit."""
    other, infos = from_onnx(path)
    codes = other.codes.to(net.codes.device)
    try:
        if other.name == net.name and other.config == net.config:
            net.load_state_dict(other.body_weights(), strict=False)
        elif isinstance(net, networks.Studio) and isinstance(other, networks.Live):
            codes = net.grow_from(other.to(net.codes.device))
        else:
            raise ValueError("another body")
    except ValueError:
        raise ModelError(
            f"{path} is a {other.name} body {other.config}, the recipe wants {net.name} {net.config}"
        ) from None
    known = {} if own_codes else {info["name"]: row for row, info in enumerate(infos)}
    with torch.no_grad():
        for row, style in enumerate(recipe.artworks):
            if style.name in known:
                net.codes[row] = codes[known[style.name]]
            elif net.name == other.name and encoded(other.body_sha256()):
                net.codes[row] = torch.from_numpy(encoder.code_of(artworks.files[row]).copy())
            else:
                net.codes[row] = codes[nearest(net, codes, row, artworks, photos, recipe)]
    return {"body_sha256": other.body_sha256()}


def encoded(body_sha256: str) -> bool:
    """Whether there is an encoder for this body."""
    return encoder.encoder_path().is_file() and encoder.writes_for(body_sha256)


@torch.no_grad()
def nearest(
    net: networks.Body, codes: torch.Tensor, style: int, artworks: Artworks, photos: Photos, recipe: Recipe
) -> int:
    """Which of `codes` [S, K] paints photographs nearest to an artwork, by Gram distance."""
    generator = torch.Generator().manual_seed(recipe.seed)
    batch = photos.batch(PHOTOS, max(recipe.stage[0].crop, 128), generator)
    distances = []
    for code in codes:
        painted = net(batch.contiguous(memory_format=torch.channels_last), code).clamp(0, 255)
        distances.append(float(artworks.distances(painted)[:, style].mean()))
    return int(np.argmin(distances))
