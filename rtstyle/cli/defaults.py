"""Where cam has its defaults from: a config file, and the style and strength of the last time."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs
from click.core import ParameterSource

from rtstyle.cli.flags import Command
from rtstyle.cli.progress import say
from rtstyle.errors import InputError, RtstyleError

if TYPE_CHECKING:
    from rtstyle.gallery.model_file import Style
    from rtstyle.live.controls import Controls

TABLES = ("cam", "keys")
NOT_THERE = {
    "last",
    "no_config",
    "list_cameras",
    "as_json",
    "force",
}  # options that only make sense when they are given


def config_path() -> Path:
    """The config file, which need not exist: RTSTYLE_CONFIG, or rtstyle.toml in the user's config folder."""
    given = os.environ.get("RTSTYLE_CONFIG")
    return Path(given) if given else platformdirs.user_config_path("rtstyle", appauthor=False) / "rtstyle.toml"


def last_path() -> Path:
    """Where the style and strength of the last time are kept: beside the file of RTSTYLE_CONFIG, or in the user's
    folder for such things."""
    if os.environ.get("RTSTYLE_CONFIG"):
        return config_path().with_name("last.json")
    return platformdirs.user_state_path("rtstyle", appauthor=False) / "last.json"


def read_config(command: click.Command) -> dict[str, dict[str, Any]]:
    """The tables `cam`, by the names of the options of a command, and `keys` of the config file; empty where there is
    none. Raises RtstyleError, with line and column or with the name that is wrong."""
    path = config_path()
    try:
        config = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        config = {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the config file {path} cannot be read ({error}): --no-config does without it") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the config file {path} is broken: {error}; --no-config does without it") from None
    for name, table in config.items():
        if name not in TABLES or not isinstance(table, dict):
            raise InputError(f"the config file {path} has tables [cam] and [keys], not {name}")
    names = {parameter.name for parameter in command.params if parameter.name} - NOT_THERE
    cam = {name.replace("-", "_"): value for name, value in config.get("cam", {}).items()}
    for name in cam:
        if name not in names:
            raise InputError(
                f"the config file {path} sets {name.replace('_', '-')}, which is not an option of rtstyle cam"
            )
    return {"cam": {name: _as_words(value) for name, value in cam.items()}, "keys": _keys(config.get("keys", {}), path)}


def _as_words(value: Any) -> Any:
    """A value as it would be written behind an option."""
    return value if isinstance(value, bool) else str(value)


def _keys(table: dict[str, Any], path: Path) -> dict[str, str]:
    """Which key does what another one is for: single characters, of which the second has a meaning."""
    from rtstyle.live.controls import KEYS

    known = "".join(key.keys for key in KEYS)
    for key, meaning in table.items():
        if not (isinstance(meaning, str) and len(key) == len(meaning) == 1 and meaning in known):
            raise InputError(
                f"the config file {path} gives the key {key!r} to {meaning!r}: write KEY = KEY, such as k = 's'"
            )
    return table


def read_last() -> dict[str, Any]:
    """Style and strength of the last time; empty where nothing is known of it."""
    with contextlib.suppress(OSError, ValueError):
        last = json.loads(last_path().read_text("utf-8"))
        return {name: str(last[name]) for name in ("style", "strength") if name in last}
    return {}


def remember(controls: Controls) -> None:
    """Keep the style and strength of now for the next time, if that is possible."""
    last: dict[str, Any] = {"strength": controls.painter.strength}
    if style := _in_words(controls):
        last["style"] = style
    with contextlib.suppress(OSError):
        last_path().parent.mkdir(parents=True, exist_ok=True)
        last_path().write_text(json.dumps(last), "utf-8")


def _in_words(controls: Controls) -> str | None:
    """The style of now as `catalog.resolve` takes it: pictures, and the styles of a model that is no longer found by
    name, by their files. None where that cannot be said, as the picture of it is gone."""
    import numpy as np

    from rtstyle.gallery import catalog

    styles, pictures = controls.styles, controls.pictures.files if controls.pictures else {}
    first, second, share = styles.position
    if first < 0:  # as it was asked for at the start, or gone since then
        with contextlib.suppress(RtstyleError):
            return catalog.resolve(styles.label).label
        return None

    def words(style: Style) -> str:
        if style.name in pictures:
            return str(pictures[style.name].resolve())
        with contextlib.suppress(RtstyleError):
            code = catalog.resolve(style.name).code
            if code is not None and np.array_equal(code, style.code):
                return style.name
        return f"{Path(controls.painter.stylizer.path).resolve()}#{style.name}"

    one, other = words(styles.styles[first]), words(styles.styles[second])
    return f"{one}:{1 - share:g},{other}:{share:g}" if share else one


class Configured(Command):
    """A command whose options have their defaults in the config file, and from the last time with `--last`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        without = extra.get("resilient_parsing") or {"--no-config", "--help", "-h"} & set(args)
        config = {"cam": {}, "keys": {}} if without else read_config(self)
        last = read_last() if "--last" in args else {}
        given = list(args)
        try:
            context = super().make_context(info_name, args, parent, default_map=config["cam"] | last, **extra)
        except click.BadParameter as error:
            name, flags = (error.param.name, error.param.opts) if error.param else (None, [])
            if name in config["cam"] and not any(word.partition("=")[0] in flags for word in given):
                raise click.BadParameter(f"{error.message} (in {config_path()})", error.ctx, error.param) from None
            raise
        if "style" in last and context.get_parameter_source("style") is ParameterSource.DEFAULT_MAP:
            context.params["style"] = _still_there(context.params, config["cam"].get("style"))
        context.obj = config["keys"]
        return context


def _still_there(params: dict[str, Any], otherwise: str | None) -> str | None:
    """The style of the last time, or another one where it cannot be used any more, which is said."""
    from rtstyle.gallery import catalog

    try:
        catalog.resolve(params["style"], params["model"])
    except RtstyleError as error:
        say(f"not with the style of the last time: {error}")
        return otherwise
    return str(params["style"])
