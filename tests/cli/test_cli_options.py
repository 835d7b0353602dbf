"""Options: one meaning everywhere, old spellings that go on working, and what the shell completes."""

import click
import pytest

from rtstyle.cli import cli
from rtstyle.gallery import catalog

pytest_plugins = ["support.runtime_fixtures"]


def commands(group=cli, path=()):
    """(words, command) of every command."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())


def options(flag):
    """{words of a command: its option `flag`}."""
    return {
        words: parameter
        for words, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and flag in parameter.opts
    }


@pytest.mark.parametrize(
    "flag",
    [
        *("--preset", "--photos", "--photo", "--vgg", "--vgg-convention", "--duration", "--force", "--quiet"),
        *("--model", "--strength", "--keep-color", "--work-height", "--progress", "--network", "--sheet"),
    ],
)
def test_an_option_takes_the_same_everywhere(flag):
    found = options(flag)
    assert len(found) > 1
    takes = {words: None if option.is_flag else option.metavar for words, option in found.items()}
    assert len(set(takes.values())) == 1, takes


def test_json_never_asks_for_a_file():
    context = click.Context(COMMANDS["bench",])
    for words, option in options("--json").items():
        assert option.get_help_record(context) == ("--json", "Print the result as JSON, for programs."), words


def test_whatever_may_be_forced_may_be_quiet():
    assert options("--force").keys() == options("--quiet").keys() >= {("export",), ("styles",), ("bench",)}
    assert all("-q" in option.opts for option in options("--quiet").values())


LEARN = "picture.jpg -o out.onnx"


@pytest.mark.parametrize(
    ("command", "arguments", "old", "new"),
    [
        ("train", LEARN, "--content DIR", "--photos DIR"),
        ("lab ratio", "s.jpg", "--content a.jpg", "--photo a.jpg"),
        ("lab train-ratio", "s.jpg", "--content a.jpg", "--photo a.jpg"),
        ("video", "in.mp4 out.mp4", "--preset slow", "--encoder-preset slow"),
        ("bench", "", "--seconds 3", "--duration 0:03"),
        ("cam", "", "--duration 90", "--duration 1:30"),
    ],
)
def test_old_spellings_work_and_are_not_shown(call, command, arguments, old, new):
    parsed = [
        COMMANDS[tuple(command.split())].make_context(command, [*arguments.split(), *words.split()]).params
        for words in (old, new)
    ]
    assert parsed[0] == parsed[1]
    flag = old.split()[0]
    if flag not in new:
        assert not any(line.split()[:1] == [flag] for line in call(*command.split(), "--help")[1].splitlines())


@pytest.mark.parametrize("style", ["--style", "-s"])
def test_the_options_of_painting_are_one_object(monkeypatch, call, style, tmp_path):
    seen = {}
    monkeypatch.setattr("rtstyle.cli.options.Painting.stylizer", lambda painting: seen.update(painting=painting))
    monkeypatch.setattr("rtstyle.image.stylize_image", lambda *_, **more: seen.update(more))
    words = f"{style} irises --model studio --strength 0.5 --keep-color --work-height 99 --device cpu --force -q"
    assert call("image", tmp_path / "a.png", tmp_path / "b.png", *words.split()) == (0, "", "")
    painting = seen.pop("painting")
    assert vars(painting) == {
        "style": "irises", "model": "studio", "strength": 0.5, "keep_color": True, "work_height": 99, "device": "cpu",
    }  # fmt: skip
    assert seen == {"strength": 0.5, "keep_color": True, "force": True}


# -- lab: a command for each experiment


def test_every_experiment_has_a_command():
    from rtstyle.export.lab.plan import EXPERIMENTS

    assert {words[1] for words in COMMANDS if words[0] == "lab" and len(words) == 2} == set(EXPERIMENTS)


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "lab" and len(words) == 2])
def test_the_help_of_an_experiment_shows_its_own_options(call, words):
    from rtstyle.export.lab.plan import ONLY

    code, out, err = call(*words, "--help")
    assert (code, err) == (0, "")
    shown = {word for line in out.splitlines() for word in line.split()[:2] if word.startswith("--")}
    for option, experiments in ONLY.items():
        flag = {"names": "--style", "pictures": "--picture"}.get(option, f"--{option.replace('_', '-')}")
        if option == "style":
            assert ("STYLE" in out.splitlines()[0]) == (words[1] in experiments)
        else:
            assert (flag in shown) == (words[1] in experiments), flag
    assert {"--out", "--photo", "--steps", "--size", "--vgg"} <= {word.rstrip(",") for word in shown}


# -- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell(call, monkeypatch, shell):
    monkeypatch.setenv("_RTSTYLE_COMPLETE", f"{shell}_source")
    code, out, err = call()
    assert (code, err) == (0, "")
    assert f"_RTSTYLE_COMPLETE={shell}_complete" in out and "rtstyle" in out


@pytest.fixture
def complete(call, monkeypatch):
    """What bash would offer after some words, the last of which is being typed."""

    def offered(line):
        words = line.split(" ")
        monkeypatch.setenv("_RTSTYLE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        code, out, err = call()
        assert (code, err) == (0, "")
        return [tuple(item.split(",", 1)) for item in out.splitlines() if item]

    return offered


def test_styles_are_completed(complete):
    names = [style.name for style in catalog.styles()]
    for command in ("video in.mp4 out.mp4", "image", "cam", "demo", "bench"):
        assert complete(f"rtstyle {command} --style ") == [("plain", name) for name in names]
    assert complete("rtstyle cam --style great") == [("plain", "great-wave")]
    assert complete("rtstyle cam -s scream:0.5,great") == [("plain", "scream:0.5,great-wave")]
    assert complete("rtstyle cam --style ./mine") == [("file", "./mine")]


def test_commands_options_models_and_devices_are_completed(complete, tmp_path, monkeypatch):
    assert complete("rtstyle vi") == [("plain", "video")]
    assert complete("rtstyle lab o") == [("plain", "optimizers")]
    assert complete("rtstyle train p.jpg --pho") == [("plain", "--photos")]
    assert complete("rtstyle train p.jpg --content") == []
    assert complete("rtstyle cam --model s") == [("plain", "studio")]
    assert complete("rtstyle cam --device cu") == [("plain", "cuda"), ("plain", "cuda:1")]
    monkeypatch.setattr(catalog, "user_folder", lambda: tmp_path)
    assert complete("rtstyle styles remove ") == []
