"""What people already have, as models of rtstyle: checkpoints, models, and weights of other programs.

Weights of pytorch/examples' fast_neural_style are those of Johnson's net with one style. There the scale and shift
of each normalisation are weights like all others; here they are the style's code. A bias in front of a
normalisation is taken away again by its mean, and is left out.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

from rtstyle.errors import ModelError, UsageError
from rtstyle.export import networks
from rtstyle.export.checkpoint import averaged, load_checkpoint
from rtstyle.export.other_programs import write_ffmpeg, write_web
from rtstyle.export.to_onnx import from_onnx, write_onnx
from rtstyle.gallery import catalog
from rtstyle.gallery.model_file import typeable

TRAINED_AT = 256  # side in pixels of the pictures that fast_neural_style trains on, unless told otherwise
GREY = 127.5  # a body's head gives -1 to 1, theirs grey levels
FORMS: dict[str, Callable[..., None]] = {"portable": write_onnx, "web": write_web, "ffmpeg": write_ffmpeg}
EXPECTED = "expected a checkpoint of rtstyle train or weights of pytorch/examples' fast_neural_style"
# old versions of torch saved these with every InstanceNorm2d, though they are not used
UNUSED = re.compile(r"(res\d+\.)?in\d+\.(running_mean|running_var|num_batches_tracked)")


def export_model(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    form: str = "portable",
    style: str | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    name: str | None = None,
    title: str | None = None,
    artist: str | None = None,
    force: bool = False,
) -> None:
    """Write `source` to `out` as a model of rtstyle, or in the `form` "web" or "ffmpeg" for other programs
    (`rtstyle.export.other_programs`).

    `source` is a checkpoint of `rtstyle train`, a model (`live`, `studio` or an .onnx file that rtstyle wrote), or
    a .pth or .model file of fast_neural_style. `style` picks one style of several and makes it part of the net;
    `half` stores the weights as float16. `size` (width, height), in pixels, is for the other forms, which may paint one
    size only. `name`, `title` and `artist` describe the style of a fast_neural_style
    file, which says nothing about itself. Without `force` no file is replaced. Raises RtstyleError, and then nothing
    is written.
    """
    if form not in FORMS:
        raise UsageError(f"unknown form {form!r}: choose {', '.join(FORMS)}")
    if form == "portable" and size is not None:
        raise UsageError("`size` is for the forms web and ffmpeg: a portable model paints any size")
    write = functools.partial(FORMS[form], half=half, force=force, **({} if form == "portable" else {"size": size}))
    source = str(source)
    info = {"name": name, "title": title, "artist": artist}
    is_model = source in catalog.BUNDLED or source.lower().endswith(".onnx")
    weights = None if is_model else _foreign_weights(source)
    body: networks.Body
    if weights is not None:
        if style is not None:
            raise UsageError(f"{source} holds a single style: leave `style` out; `name` gives it a name")
        body, description = from_fast_neural_style(weights, Path(source), info)
        write(body, description, out, style=description["styles"][0]["name"])
        return
    if any(info.values()):
        raise UsageError(f"{source} knows the names of its styles: `name`, `title` and `artist` are for bare weights")
    if is_model:
        body, description, single = from_model(catalog.model_path(source))
    else:
        body, description, single = *from_checkpoint(source), None
    write(body, description, out, style=style or single)


def from_checkpoint(checkpoint: str | os.PathLike[str]) -> tuple[networks.Body, dict[str, Any]]:
    """(body with its codes, both averaged over the steps, its description) of a training checkpoint."""
    state = load_checkpoint(checkpoint)
    if "styles" not in state["description"]:
        raise ModelError(f"{checkpoint} is an encoder's, which `train` alone writes as ONNX: go on with `resume=True`")
    try:
        return averaged(state["average"], state["description"]), state["description"]
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError):
        raise ModelError(f"{checkpoint} holds a body that this version of rtstyle cannot export") from None


def from_model(path: Path) -> tuple[networks.Body, dict[str, Any], str | None]:
    """(body with its codes, description as `Trainer.describe` gives it, name of the style if it is a part of the net)
    of a model that rtstyle wrote."""
    body, infos = from_onnx(path)
    model = onnx.load(str(path))
    props = {prop.key: prop.value for prop in model.metadata_props}
    single = None if any(value.name == "code" for value in model.graph.input) else infos[0]["name"]
    try:
        description = {
            "styles": infos,
            "reference_height": int(props["rtstyle.reference_height"]),
            "training": json.loads(props["rtstyle.training"]),
        }
    except (LookupError, ValueError):
        raise ModelError(f"{path} has incomplete rtstyle metadata: export it again") from None
    return body, description, single


def _foreign_weights(path: str) -> dict[str, torch.Tensor] | None:
    """The weights in a file of torch, None for a checkpoint. Raises RtstyleError for what is neither."""
    if not Path(path).is_file():
        raise ModelError(f"the file {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise ModelError(f"{path} cannot be read ({type(error).__name__}): {EXPECTED}") from None
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds a {type(state).__name__}: {EXPECTED}")
    if {"net", "average", "description"} <= state.keys():
        return None
    if "conv1.conv2d.weight" not in state:
        keys = ", ".join(map(str, list(state)[:3])) or "nothing"
        raise ModelError(f"{path} holds {keys}, ...: {EXPECTED} (conv1.conv2d.weight, ...)")
    return state


def from_fast_neural_style(
    state: dict[str, torch.Tensor], path: Path, info: dict[str, str | None]
) -> tuple[networks.Johnson, dict[str, Any]]:
    """(body with one code, its description) of the state dict of a TransformerNet.

    Widths and the number of residual blocks are taken from the weights. `path` gives the style its name where the
    info (name, title, artist, each possibly None) has none. Raises RtstyleError for weights of another net.
    """
    own = {key: value for key, value in state.items() if not UNUSED.fullmatch(str(key))}
    try:
        widths = [len(own[f"conv{i}.conv2d.weight"]) for i in (1, 2, 3)]
        blocks = sum(re.fullmatch(r"res\d+\.conv1\.conv2d\.weight", key) is not None for key in own)
        body = networks.Johnson(1, widths, (blocks,))
        convs = {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "up2": "deconv1", "up1": "deconv2"}
        norms = ["in1", "in2", "in3"]
        for i in range(blocks):
            for j in (1, 2):
                convs[f"residuals.{i}.conv{j}"] = f"res{i + 1}.conv{j}"
                norms.append(f"res{i + 1}.in{j}")
        norms += ["in4", "in5"]
        taken = {f"{ours}.weight": own.pop(f"{theirs}.conv2d.weight").float() for ours, theirs in convs.items()}
        for theirs in convs.values():
            own.pop(f"{theirs}.conv2d.bias", None)
        taken["head.weight"] = own.pop("deconv3.conv2d.weight").float() / GREY
        taken["head.bias"] = own.pop("deconv3.conv2d.bias").float() / GREY - 1
        layers = [(own.pop(f"{norm}.weight").float(), own.pop(f"{norm}.bias").float()) for norm in norms]
        if [len(scale) for scale, _ in layers] != body.norm_channels():
            raise ValueError("normalisations of other widths")
        body.load_state_dict(taken | {"codes": networks.pack(layers)[None]})
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else "its weights have other shapes"
        raise ModelError(f"{path} is not a net of pytorch/examples' fast_neural_style: {reason}") from None
    if own:
        raise ModelError(f"{path} is not a net of pytorch/examples' fast_neural_style: it also has {next(iter(own))}")
    if not all(bool(weight.isfinite().all()) for weight in body.state_dict().values()):
        raise ModelError(f"{path} is damaged: some of its weights are not finite numbers")
    return body, describe(path, info)


def describe(path: Path, info: dict[str, str | None]) -> dict[str, Any]:
    """The description of a model made from the weights at `path`; its style is called after the file by default."""
    name = info["name"] or typeable(path.stem)
    if name != typeable(name):
        raise UsageError(f"a style cannot be called {name!r}, because it has to be typed: try {typeable(name)}")
    return {
        "styles": [
            {
                "name": name,
                "title": info["title"] or name,
                "artist": info["artist"] or "",
                "year": "",
                "licence": "",
                "source": path.name,
            }
        ],
        "reference_height": TRAINED_AT,
        "training": {
            "program": "pytorch/examples fast_neural_style",
            "weights": path.name,
            "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    }
