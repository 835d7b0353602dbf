"""What README and docs say can be typed is typed, and where they point to is something."""

import re
import shlex
from pathlib import Path

import click
import pytest

from rtstyle.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "benchmarks").rglob("*.md")]


def code(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands():
    """(page, arguments) of every command of rtstyle that is written out in full."""
    for page in PAGES:
        for line in "".join(code(page, "sh")).replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|", line):
                words = shlex.split(command, comments=True)
                if words and words[0].rpartition("/")[2] == "rtstyle" and "..." not in words:
                    yield page, words[1:]


def all_commands(group):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield command
        if isinstance(command, click.Group):
            yield from all_commands(command)


@pytest.mark.parametrize(
    "arguments", [pytest.param(words, id=f"{page.name}: {shlex.join(words)}") for page, words in commands()]
)
def test_every_command_of_the_docs_is_understood(arguments, monkeypatch):
    called = []
    for command in all_commands(cli):
        monkeypatch.setattr(command, "callback", lambda **options: called.append(options))
    cli.main(arguments, prog_name="rtstyle", standalone_mode=False)
    assert called


def test_commands_are_found():
    result = [arguments[0] for _, arguments in commands()]
    assert set(result) >= {"cam", "video", "image", "train", "gatys", "styles", "export", "evaluate", "lab", "bench"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target.partition("#")[0]).exists()] == []


def test_every_page_of_the_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []
    assert len(readme.splitlines()) <= 130


@pytest.mark.parametrize("folder", ["rtstyle", "export"])
def test_contributing_names_files_that_are_there(folder):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / "docs/how-it-works.md").read_text(
        encoding="utf-8"
    )
    named = re.findall(rf"`({folder}/[\w/.]*)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
