"""Plain functions that several tests use."""

import csv
import dataclasses
import os
import subprocess
import sys
import threading
import time

import pytest

SHORT = 6  # steps of a toy training whose result does not matter; its second stage starts half-way


def run_python(*arguments, **options):
    """Python in a process of its own, as text, with the environment `extra` added."""
    environment = {**os.environ, **options.pop("extra", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        **options,
    )


def wait_until(condition, seconds=10.0):
    """Wait for another thread or process to bring something about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def in_time(call, *arguments, seconds=10.0):
    """What `call` gives, or the error it raises; fails if it takes too long."""
    got = []

    def work():
        try:
            got.append(call(*arguments))
        except Exception as error:
            got.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert got, "it hangs"
    return got[0]


def open_files():
    """How many files this process has open (on Linux)."""
    return len(os.listdir("/proc/self/fd"))


def tree(folder):
    """{relative path: content} of everything below a folder; folders have None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# Toy trainings (see training_fixtures.py)


def with_loss(recipe, **changes):
    """The recipe with other losses."""
    return dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, **changes))


def some_photos(trainer, count=2, crop=32, seed=0):
    """The same ones for every trainer."""
    import torch

    return trainer.photos.batch(count, crop, torch.Generator().manual_seed(seed))


def mean_losses(trainer, photos, styles, targets, **options):
    """Losses of a batch as training sees them: `total` and its terms, means over the samples. `styles` is a list."""
    import torch

    result = trainer.sample_losses(photos, torch.tensor(styles), targets, **options)
    return {name: values.mean() for name, values in result.items()}


def interrupt_after(steps):
    """A callback that presses Ctrl-C."""

    def callback(progress):
        if progress.step == steps:
            raise KeyboardInterrupt

    return callback


def interrupted_and_resumed(trainer_in, recipe):
    """The trainer of a run that was stopped half-way and went on to its end."""
    with pytest.raises(KeyboardInterrupt):
        trainer_in("parts", recipe).run(interrupt_after(SHORT // 2))
    resumed = trainer_in("parts", recipe, resume=True)
    resumed.run()
    return resumed


def read_losses(folder):
    with open(folder / "losses.csv", newline="") as file:
        return list(csv.reader(file))


def assert_same_run(one, two):
    """Bit for bit: weights, their average, the optimizer's state and every loss; the clock may differ."""
    import torch

    for name, weight in one.net.state_dict().items():
        assert torch.equal(weight, two.net.state_dict()[name]), name
        assert torch.equal(one.average[name], two.average[name]), name
    states = (one.optimizer.state_dict()["state"], two.optimizer.state_dict()["state"])
    for key, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][key][name])), name
    assert torch.equal(one.generator.get_state(), two.generator.get_state())
    rows = [[row[:-1] for row in read_losses(trainer.run_dir)] for trainer in (one, two)]
    assert rows[0] == rows[1] and len(rows[0]) == one.step + 1
