"""Options: one meaning everywhere, old spellings that go on working, and what the shell completes."""

import ast
import logging
import re
from pathlib import Path

import click
import pytest

import rtstyle
from rtstyle import errors
from rtstyle.cli import cli
from rtstyle.cli.flags import in_flags
from rtstyle.errors import OutputError
from rtstyle.gallery import catalog

pytest_plugins = ["support.runtime_fixtures"]


def commands(group=cli, path=()):
    """(words, command) of every command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
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
    result = options(flag)
    assert len(result) > 1
    takes = {words: None if option.is_flag else option.metavar for words, option in result.items()}
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
    monkeypatch.setattr("rtstyle.cli.options.Painting.stylizer", lambda painting, **_: seen.update(painting=painting))
    monkeypatch.setattr("rtstyle.image.stylize_image", lambda *_, **more: seen.update(more))
    (tmp_path / "a.png").touch()
    words = f"{style} irises --model studio --strength 0.5 --keep-color --work-height 99 --device cpu"
    assert call(
        "image",
        tmp_path / "a.png",
        tmp_path / "b.png",
        *words.split(),
        "--stroke-size",
        "large",
        "--force",
        "-q",
        "--max-memory",
        "3G",
    ) == (0, "", "")
    painting = seen.pop("painting")
    assert vars(painting) == {
        "style": "irises", "model": "studio", "strength": 0.5, "keep_color": True, "work_height": 99,
        "stroke_size": 1.5, "device": "cpu",
    }  # fmt: skip
    assert seen == {"strength": 0.5, "keep_color": True, "max_memory": 3 * 10**9, "force": True}


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
    assert {"--out", "--photo", "--size", "--vgg"} <= {word.rstrip(",") for word in shown}


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
    assert complete("rtstyle cam --device o") == [("plain", "openvino"), ("plain", "openvino:gpu")]
    assert complete("rtstyle train p.jpg --device o") == []
    monkeypatch.setattr(catalog, "user_folder", lambda: tmp_path)
    assert complete("rtstyle styles remove ") == []


# -- the library speaks of arguments, the command line of flags


@pytest.mark.parametrize(
    ("words", "sentence", "shown"),
    [
        ("image", "add `force=True` to replace it", "add --force to replace it"),
        ("image", "`work_height` must be at least 16", "--work-height must be at least 16"),
        ("image", "or use `device='cpu'`", "or use --device cpu"),
        ("video", "ffv1 has no `preset`", "ffv1 has no --encoder-preset"),
        ("video", "try `steady=False`", "try --no-steady"),
        ("gatys", "raise `style_weight`", "raise --beta"),
        ("lab ratio", "leave `vgg_convention` out", "leave --vgg-convention out"),
        ("image", "leave `resume` out", "leave resume out"),  # no such option there
    ],
)
def test_arguments_become_flags_of_the_running_command(words, sentence, shown):
    with click.Context(cli) as outer, click.Context(COMMANDS[tuple(words.split())], parent=outer):
        assert in_flags(sentence) == shown


def test_errors_and_warnings_name_flags(call, monkeypatch, tmp_path):
    def fail(*_, **__):
        logging.getLogger("rtstyle").warning("`strength` is low")
        raise OutputError("add `force=True`")

    monkeypatch.setattr("rtstyle.image.stylize_image", fail)
    monkeypatch.setattr("rtstyle.cli.options.Painting.stylizer", lambda painting, **_: None)
    (tmp_path / "a.png").touch()
    code, out, err = call("image", tmp_path / "a.png", tmp_path / "b.png")
    assert (code, out, err) == (1, "", "warning: --strength is low\nrtstyle: add --force\n")


def test_quiet_leaves_warnings(call, monkeypatch, tmp_path):
    def work(*_, **__):
        logging.getLogger("rtstyle").info("a word on the way")
        logging.getLogger("rtstyle").warning("take care")

    monkeypatch.setattr("rtstyle.image.stylize_image", work)
    monkeypatch.setattr("rtstyle.cli.options.Painting.stylizer", lambda painting, **_: None)
    monkeypatch.setattr("rtstyle.cli.files.say_device", lambda stylizer: None)
    files = tmp_path / "a.png", tmp_path / "b.png"
    files[0].touch()
    assert call("image", *files, "-q") == (0, "", "warning: take care\n")
    assert call("image", *files) == (0, "", "a word on the way\nwarning: take care\n")


def library():
    """(file, text) of every string of the library that is no docstring."""
    root = Path(rtstyle.__file__).parent
    for path in (*root.rglob("*.py"), *(root / "export").rglob("*.py")):  # in a checkout, that is a link
        if path.is_relative_to(root / "cli"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield path.relative_to(root), node.value


def test_the_library_speaks_of_arguments():
    flags = {flag for command in COMMANDS.values() for parameter in command.params for flag in parameter.opts}
    named = [
        (str(path), text)
        for path, text in library()
        for result in re.finditer(r"--[a-z][a-z-]+", text)
        if text != result.group()  # a word of a command line
        and result.group() in flags
        and not re.search(r"rtstyle [a-z]+ $", text[: result.start()])
    ]
    assert named == []


def test_every_error_has_its_kind():
    kinds = {"InputError": 1, "OutputError": 1, "DeviceError": 1, "ModelError": 1, "UsageError": 2, "Interrupted": 130}
    for name, code in kinds.items():
        kind = getattr(errors, name)
        assert issubclass(kind, errors.RtstyleError) and kind.exit_code == code


@pytest.mark.parametrize("words", ["video a.mp4 b.mp4", "cam", "bench"])
def test_a_duration_of_nothing_is_refused(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, said = call(*words.split(), "--duration", "0")
    assert code == 2 and said.count("a duration must be above 0") == 1 and "Traceback" not in said


@pytest.mark.parametrize("option", ["--work-height tall", "--stroke-size huge"])
def test_a_size_in_other_words_is_refused(call, option, tmp_path):
    code, _, said = call("image", tmp_path / "a.png", tmp_path / "b.png", *option.split())
    assert code == 2 and option.split()[1] in said and "such as" in said
