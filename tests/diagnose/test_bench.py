"""`rtstyle bench`: the arithmetic of its figures, and short real runs on small frames."""

import dataclasses
import importlib
import json
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from support.helpers import run_python

from rtstyle import Interrupted, RtstyleError, Stylizer, UsageError
from rtstyle.diagnose import arithmetic, bench, bench_report, scaling, scenes, timing
from rtstyle.errors import DeviceError
from rtstyle.gallery.catalog import load
from rtstyle.paint import stylizer as painting
from rtstyle.runtime import devices
from rtstyle.runtime.openvino import OpenvinoSession

pytest_plugins = ["support.runtime_fixtures"]

SHORT = ["--device", "cpu", "--threads", 1, "--duration", "0.02", "--quiet"]
STAGES = ["paint", "+ decode", "+ look", "+ steady", "+ encode", "all", "batch 2"]

BROKEN_ROW = {"width": 64, "height": 48, "what": "paint", "batch": 1, "frames": 3}
BROKEN_ROW |= {"median_ms": 0, "p95_ms": 1, "p99_ms": 1, "fps": 1}


@pytest.fixture(scope="module")
def short_run():
    """A real run at 64x48, as JSON."""
    settings = bench.Settings(device="cpu", threads=1, sizes=((64, 48),), batch=2, seconds=0.02)
    reports = []
    return bench.run(settings, lambda *step: reports.append(step)), reports


def test_percentiles_are_those_of_the_samples():
    samples = [n / 1e3 for n in range(1, 102)]  # 1 to 101 ms
    np.random.default_rng(0).shuffle(samples)
    result = timing.summary(samples)
    assert result["median_ms"] == pytest.approx(51)
    assert result["p95_ms"] == pytest.approx(96)
    assert result["p99_ms"] == pytest.approx(100)
    assert result["fps"] == pytest.approx(1e3 / 51)
    assert result["frames"] == 101


def test_figures_of_a_batch_are_per_frame():
    result = timing.summary([0.4, 0.8], batch=4)
    assert (result["median_ms"], result["frames"], result["batch"]) == (pytest.approx(150), 8, 4)
    assert result["fps"] == pytest.approx(8 / 1.2)


def test_warm_up_is_not_counted():
    """A step whose first call takes a hundred times as long as the others, on a clock of its own."""
    clock = [0.0]

    def step(index):
        clock[0] += 10.0 if index == 0 else 0.1

    times = timing.timed(step, 1.0, lambda: clock[0])
    assert times == pytest.approx([0.1] * len(times))
    assert 9 <= len(times) <= 11


def test_slow_steps_are_taken_a_few_times():
    minutes = iter(range(1000))
    assert len(timing.timed(lambda _: None, 1.0, lambda: 60.0 * next(minutes))) == timing.MIN_SAMPLES


def test_steps_take_turns():
    order = []
    timing.in_turns({name: lambda _, name=name: order.append(name) for name in "ab"}, 1e-6)
    assert order == ["a", "b"] * (len(order) // 2)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("360p", ((640, 360),)),
        ("2160p, 540", ((960, 540), (3840, 2160))),
        ("100x64,64x48,64X48", ((64, 48), (100, 64))),
    ],
)
def test_sizes(text, sizes):
    assert bench.parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", " , ", "big", "x360", "640x", "8p", "9000p", "-360", "640x360x2"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError):
        bench.parse_sizes(text)


def convolution_model():
    """Conv 3 to 8 (3x3, stride 2, padded), depthwise 3x3, transposed 8 to 4 (2x2, stride 2), and a matrix product."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {"a": (8, 3, 3, 3), "b": (8, 1, 3, 3), "c": (8, 4, 2, 2), "d": (20, 7)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["p", "b"], ["q"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["q", "c"], ["r"], strides=[2, 2]),
        helper.make_node("MatMul", ["r", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(random.random(shape, np.float32), name) for name, shape in weights.items()],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    return model.SerializeToString()


def test_operations_of_a_small_net_counted_by_hand():
    by_hand = (
        8 * 6 * 10 * 3 * 9  # 12x20 at stride 2 is 6x10
        + 8 * 6 * 10 * 9  # each channel for itself
        + 8 * 6 * 10 * 4 * 4  # every input pixel gives 2x2 in 4 channels
        + 4 * 12 * 20 * 7
    )
    assert arithmetic.operations(convolution_model(), {"x": np.zeros((1, 3, 12, 20), np.float32)}) == 2 * by_hand


@pytest.mark.parametrize("size", [(360, 200), (203, 333), (48, 500)])
def test_operations_of_large_frames_follow_from_small_ones(stylizer, size):
    height, width = size
    direct = arithmetic.operations_at(stylizer, height, width)
    assert arithmetic.frame_operations(stylizer, width, height) == pytest.approx(direct, rel=1e-12)
    assert direct > 1e8


@pytest.mark.parametrize(("kind", "far"), [(np.float32, 1e-3), (np.float16, 0.1)])
def test_the_product_model_multiplies(kind, far):
    left, right = np.random.default_rng(0).standard_normal((2, 200, 200), np.float32).astype(kind)
    session = ort.InferenceSession(arithmetic.product_model(right), providers=["CPUExecutionProvider"])
    product = session.run(None, {"left": left})[0]
    assert product.dtype == kind
    np.testing.assert_allclose(product, left.astype(float) @ right.astype(float), rtol=1e-3, atol=far)


def test_the_ceiling_is_that_of_a_processor():
    """Between a slow phone's and a large GPU's."""
    assert 0.5 < arithmetic.ceiling(devices.choose("cpu"), 1, 0.05) < 1e5


@pytest.mark.parametrize("name", ["webgpu", "openvino:gpu"])
def test_other_engines_have_no_known_ceiling(name, short_run, capsys):
    assert arithmetic.ceiling(devices.Device(name, [], "asked for"), 1, 0.05) is None
    report, _ = short_run
    rows = [row | {"ceiling_share": None} for row in report["rows"]]
    bench_report.print_report(report | {"ceiling_gflops": None, "rows": rows})
    assert "ceiling: not known of this device" in capsys.readouterr().out


def test_what_openvino_calculates_in_half_precision_has_no_ceiling(monkeypatch, short_run):
    session = object.__new__(OpenvinoSession)
    session.precision = "bf16"
    monkeypatch.setattr(bench, "open_model", lambda *_, **__: session)
    monkeypatch.setattr(bench, "_measure_size", lambda *_: bench_report.rows_of(short_run[0]))
    report = bench.run(bench.Settings(device="cpu", threads=1, sizes=((64, 48),), seconds=0.02))
    assert (report["precision"], report["ceiling_gflops"]) == ("bfloat16", None)


def test_the_session_that_is_opened_alone_is_the_stylizers(monkeypatch):
    real, opened = painting.open_model, []

    def open_model(path, device, **options):
        opened.append([code.tolist() for code in options["codes"]])
        return real(path, device, **options)

    for module in (painting, bench):
        monkeypatch.setattr(module, "open_model", open_model)
    bench.header(bench.Settings(device="cpu", threads=1))
    assert len(opened) == 2 and opened[0] == opened[1]


@pytest.mark.parametrize(
    ("workers", "on_processor", "frames"), [(1, True, 4), (2, True, 4), (3, True, 6), (1, False, 8), (2, False, 16)]
)
def test_frames_that_finish_together_are_averaged_over(workers, on_processor, frames):
    device = SimpleNamespace(on_processor=on_processor)
    stylizer = SimpleNamespace(for_throughput=lambda: (None, workers), device=device)
    assert bench._in_a_row(stylizer, (1280, 720)) == frames


def test_memory_is_that_of_what_is_timed(monkeypatch):
    """Not of writing the clip, which has whole batches."""
    done, write, whole = [], bench.write_clip, bench.stylize_video
    monkeypatch.setattr(bench, "forget_peak", lambda: done.append("forget"))
    monkeypatch.setattr(bench, "timed", lambda step, _: done.append(step(0) is None or "timed") or [1e-3] * 3)
    monkeypatch.setattr(bench, "write_clip", lambda path, scene, n: done.append(n) or write(path, scene, n))
    monkeypatch.setattr(bench, "stylize_video", lambda *a, **o: done.append("timed") or whole(*a, **o))
    settings = bench.Settings(device="cpu", threads=1, batch=2, seconds=0.021)
    bench._measure_size(settings, 64, 48, None, lambda _: None)
    assert done == ["forget", "timed", 24, *["forget", "timed"] * 3, "forget", True, *["forget", "timed"] * 2]


@pytest.fixture
def second_size(monkeypatch, short_run):
    """A function that makes measuring 80x48 fail; other sizes have the rows of a run before."""

    def fails(error):
        def measure(settings, width, *_):
            if width == 80:
                raise error
            return bench_report.rows_of(short_run[0])

        monkeypatch.setattr(bench, "_measure_size", measure)

    return fails


def test_a_size_that_cannot_be_measured_leaves_the_others(second_size):
    second_size(DeviceError("no memory"))
    settings = bench.Settings(device="cpu", threads=1, sizes=((64, 48), (80, 48), (96, 64)), seconds=0.02)
    report = bench.run(settings)
    assert len(report["rows"]) == 2 * len(STAGES) and "80x48 could not be measured: no memory" in report["doubts"]
    with pytest.raises(RtstyleError, match=r"^80x48 could not be measured: no memory$"):
        bench.run(dataclasses.replace(settings, sizes=((80, 48),)))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("12 frames are painted")])
def test_ctrl_c_keeps_the_sizes_before(second_size, call, tmp_path, error):
    second_size(error)
    saved = tmp_path / "run.json"
    code, out, err = call("bench", "--sizes", "64x48,80x48", "--out", saved, *SHORT)
    assert code == 130 and "64x48" in out and "rtstyle: interrupted at 80x48: the sizes before it" in err
    assert len(json.loads(saved.read_text())["rows"]) == len(STAGES)
    code, out, err = call("bench", "--sizes", "80x48", *SHORT)
    assert (code, out, err.strip()) == (130, "", "rtstyle: interrupted")


def test_a_run_has_every_figure(short_run):
    report, reports = short_run
    rows = bench_report.rows_of(report)
    assert [row.what for row in rows] == STAGES
    for row in rows:
        assert (row.width, row.height, row.batch) == (64, 48, 2 if row.what == "batch 2" else 1)
        assert 0 < row.median_ms <= row.p95_ms <= row.p99_ms
        assert row.fps > 0 and row.frames >= timing.MIN_SAMPLES
        assert (row.adds_ms is None) == (row.what == "paint")
        assert row.peak_mib is None or 20 < row.peak_mib < 1e5
    paint = rows[0]
    assert paint.first_ms > 0
    assert paint.gflop == pytest.approx(arithmetic.operations_at(Stylizer(device="cpu"), 48, 64) / 1e9)
    assert paint.ceiling_share == pytest.approx(paint.gflop / (paint.median_ms / 1e3) / report["ceiling_gflops"])
    assert report["threads"] == 1 and report["device"] == "cpu"
    assert report["machine"]["onnxruntime"] == ort.__version__ and report["machine"]["cores"] >= 1
    assert min(report["load"]["session_ms"], report["load"]["stylizer_ms"]) > 0
    assert [step[0] for step in reports] == list(range(len(STAGES) + 3)) and reports[-1][:2] == (9, 9)
    json.dumps(report)


def test_bench_prints_a_table_and_saves_json(tmp_path, call):
    saved = tmp_path / "run.json"
    code, out, err = call("bench", "--sizes", "64x48,80x48", "--batch", 1, "--out", saved, *SHORT)
    assert code == 0, err
    report = json.loads(saved.read_text())
    assert len(report["rows"]) == 2 * len(STAGES[:-1])
    text = " ".join(out.split())
    for row in bench_report.rows_of(report):
        first = f"{row.first_ms:.1f}" if row.what == "paint" else "-"
        shown = [row.what, first, *(f"{value:.1f}" for value in (row.median_ms, row.p95_ms, row.p99_ms, row.fps))]
        assert " ".join(shown) in text
    assert "64x48" in out and "80x48" in out and "frames/s" in out and "GFLOP/s" in out


def test_bench_as_json(tmp_path, call, monkeypatch, short_run):
    report = json.loads(json.dumps(short_run[0] | {"doubts": None}))
    monkeypatch.setattr(bench, "run", lambda *_: report)
    code, out, err = call("bench", "--json", *SHORT)
    assert (code, err) == (0, "") and json.loads(out) == report
    saved = tmp_path / "run.json"  # with a file, as it was before version 0.2
    code, out, err = call("bench", "--json", saved, *SHORT)
    assert (code, err) == (0, "") and "frames/s" in out
    assert json.loads(saved.read_text()) == report


def test_existing_files_are_kept(tmp_path, call):
    saved = tmp_path / "run.json"
    saved.write_text("mine")
    code, _, err = call("bench", "--sizes", "64x48", "--out", saved, *SHORT)
    assert (code, saved.read_text()) == (1, "mine") and "--force" in err


def test_compare_gives_the_ratios(tmp_path, call, monkeypatch, short_run):
    now, _ = short_run
    then = json.loads(json.dumps(now))
    for row in then["rows"]:
        row["median_ms"] *= 4
    then["rows"] = then["rows"][:-1]  # what only one of them has is left out
    then["threads"], then["machine"]["cpu"] = 96, "another processor"
    earlier = tmp_path / "then.json"
    bench_report.save(then, earlier)
    with pytest.raises(RtstyleError, match=r"then\.json was written by somebody else meanwhile and stays"):
        bench_report.save(now, earlier)
    result = bench_report.compare(now, bench_report.load_report(earlier))
    assert [row["what"] for row in result] == STAGES[:-1]
    assert [row["ratio"] for row in result] == pytest.approx([0.25] * len(result))
    monkeypatch.setattr(bench, "run", lambda *_: now)
    code, out, err = call("bench", "--sizes", "64x48", "--compare", earlier, *SHORT)
    assert code == 0
    assert out.count(" 0.25") == len(result)
    assert "threads: 96 then, 1 now" in err and "cpu: another processor then" in err
    assert "numpy" not in err, "the same on both sides"


def test_runs_without_a_common_size_cannot_be_compared(capsys, short_run):
    now, _ = short_run
    then = now | {"rows": [row | {"width": 640} for row in now["rows"]]}
    with pytest.raises(RtstyleError, match="no measurement in common"):
        bench_report.print_comparison(now, then)


def test_a_run_that_will_have_nothing_in_common_is_not_begun(tmp_path, call, monkeypatch, short_run):
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("measured"))
    bench_report.save(short_run[0], tmp_path / "then.json")
    code, out, err = call("bench", "--sizes", "80x48", "--compare", tmp_path / "then.json", *SHORT)
    assert (code, out) == (1, "") and "no measurement in common: choose the same --sizes" in err


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '"rtstyle-bench-1"',
        '{"rows": []}',
        '{"format": "rtstyle-bench-1"}',
        '{"format": "rtstyle-bench-1", "rows": [{"width": 3}]}',
        "\x00\xff",
        "[" * 100_000,
        '{"format": "rtstyle-bench-1", "rows": [], "machine": {}}',
        json.dumps({"format": "rtstyle-bench-1", "machine": {}, "rows": [BROKEN_ROW]}),
        json.dumps({"format": "rtstyle-bench-1", "machine": [], "rows": [BROKEN_ROW | {"median_ms": 1}]}),
    ],
)
def test_wrong_files_are_refused_before_anything_is_measured(tmp_path, call, monkeypatch, content):
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("measured"))
    path = tmp_path / "then.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    code, out, err = call("bench", "--compare", path, *SHORT)
    assert (code, out) == (1, "")
    assert err.startswith("rtstyle: ") and len(err.splitlines()) == 1 and str(path) in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sizes", "big"],
        ["--plot", "a.png"],
        ["--scaling", "--compare", "a.json"],
        ["--json", "--compare", "a.json"],
        ["--scaling", "--batch", "16"],
        ["--out", "a.json", "--json", "b.json"],
        ["--model", "nope"],
        ["--style", "nope"],
        ["--batch", "0"],
        ["--duration", "0"],
        ["--threads", "none"],
        ["--device", "abacus"],
    ],
)
def test_wrong_arguments_are_one_sentence(call, arguments):
    code, out, err = call("bench", *arguments)
    assert (code, out) == (2, "") and "Traceback" not in err
    assert err.splitlines()[-1].startswith(("rtstyle: ", "Error: "))


def test_doubts():
    row = bench.Row(64, 48, "paint", 1, 9, median_ms=10.0, p95_ms=11.0, p99_ms=12.0, fps=100.0)
    assert bench.doubts(0.1, [row]) is None and bench.doubts(None, [row]) is None
    assert "load 2.0" in bench.doubts(2.0, [row])
    assert "2.5 times" in bench.doubts(0.1, [row, dataclasses.replace(row, p95_ms=25.0)])


def test_doubts_are_said(call, monkeypatch, short_run):
    monkeypatch.setattr(bench, "run", lambda *_: short_run[0] | {"doubts": "these figures are unreliable: so"})
    _, _, err = call("bench", *SHORT)
    assert err == "warning: these figures are unreliable: so\n"


def test_exponent():
    x = np.array([0.2, 0.5, 0.9, 8.0])
    assert scaling.exponent(x, 3 * x**1.25) == pytest.approx(1.25)
    assert scaling.exponent([1.0], [2.0]) is None


def test_scaling(tmp_path, call):
    saved, drawn = tmp_path / "s.json", tmp_path / "s.svg"
    pytest.importorskip("matplotlib")
    code, out, err = call("bench", "--scaling", "--sizes", "32x32,96x64", "-o", saved, "--plot", drawn, *SHORT)
    assert code == 0, err
    result = json.loads(saved.read_text())["scaling"]
    assert [row["megapixels"] for row in result["pixels"]] == pytest.approx([0.001024, 0.006144])
    for row in result["pixels"]:
        assert row["ms_per_megapixel"] == pytest.approx(row["median_ms"] / row["megapixels"])
    (a, b), (p, q) = ([row[key] for row in result["pixels"]] for key in ("megapixels", "median_ms"))
    assert result["exponent"] == pytest.approx(np.log(q / p) / np.log(b / a))
    assert [row["styles"] for row in result["gallery"]] == list(scaling.GALLERIES)
    assert [row["batch"] for row in result["batch"]] == list(scaling.BATCHES)
    assert result["set_style_ms"] > 0
    assert f"to the power of {result['exponent']:.2f}" in out
    assert "</svg>" in drawn.read_text()


@pytest.mark.parametrize("name", ["curves", "curves.docx"])
def test_a_plot_of_no_known_kind_is_refused_before_anything_is_measured(call, monkeypatch, tmp_path, name):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(scaling, "run_scaling", lambda *_: pytest.fail("measured"))
    code, out, err = call("bench", "--scaling", "--plot", tmp_path / name, *SHORT)
    assert (code, out) == (1, "") and f"{name} cannot be drawn: end it with one of" in err and ".png" in err
    assert not list(tmp_path.iterdir())


def test_a_plot_needs_matplotlib(call, monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "run_scaling", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = call("bench", "--scaling", "--plot", tmp_path / "a.png", *SHORT)
    assert (code, out) == (1, "") and "pip install matplotlib" in err


def test_the_gallery_is_painted_in_its_styles(monkeypatch):
    """What is timed must differ from frame to frame, or a swap would cost nothing because there is none."""
    stylizer = Stylizer(device="cpu", threads=1)
    painted = []
    monkeypatch.setattr(scaling, "timed", lambda step, _: [step(i) or 1 for i in range(3)])
    monkeypatch.setattr(stylizer, "run", lambda batch, code: painted.append(code))
    result = scaling.by_gallery(stylizer, [np.zeros((16, 16, 3), np.uint8)], 1.0)
    assert [row["styles"] for row in result] == list(scaling.GALLERIES)
    assert [len(np.unique(painted[i : i + 3], axis=0)) for i in range(0, 12, 3)] == [1, 3, 3, 3]
    assert painted[0].shape == load("live").styles[0].code.shape


def test_a_model_of_one_style_has_no_gallery(make_body, tmp_path, call):
    from rtstyle.export.to_onnx import write_onnx

    info = {"styles": [{"name": "only"}], "reference_height": 64, "training": {}}
    write_onnx(make_body(), info, tmp_path / "one.onnx", style="only")
    arguments = ["--scaling", "--sizes", "32x32", "--model", tmp_path / "one.onnx"]
    code, out, err = call("bench", *arguments, *SHORT)
    assert code == 0, err
    assert "one style built in" in out


def test_scenes_go_on_and_differ():
    scene = scenes.Scene(80, 48)
    frames = scene.some()
    assert len(frames) == 8 and all(frame.shape == (48, 80, 3) and frame.dtype == np.uint8 for frame in frames)
    for one, next_one in zip(frames, [*frames[1:], frames[0]], strict=True):
        assert (one != next_one).mean() > 0.3
    assert frames[0].std() > 20
    assert np.abs(scene[0].astype(int) - scene[1]).mean() < 20, "neighbours"
    assert scene[100_000].shape == (48, 80, 3)


def test_clips_hold_what_was_drawn(tmp_path):
    scene = scenes.Scene(80, 48)
    clip = scenes.write_clip(tmp_path / "clip.mp4", scene, 5)
    decoded = scenes.endless_frames(clip)
    frames = [next(decoded) for _ in range(7)]
    assert np.abs(frames[1].astype(int) - scene[1]).mean() < 8
    np.testing.assert_array_equal(frames[0], frames[5])


HELD = """
import numpy as np
from rtstyle.diagnose import machine

held = np.ones(160 << 20, np.uint8)
del held
machine.forget_peak()
before = machine.peak_memory()
held = np.ones(80 << 20, np.uint8)
print(None if before is None else machine.peak_memory() - before)
"""


def test_peak_memory_sees_what_was_held():
    """In a process of its own: what this one no longer needs may be given back meanwhile."""
    done = run_python("-c", HELD)
    assert done.returncode == 0, done.stderr
    if done.stdout == "None\n":
        pytest.skip("this system does not tell")
    assert 40 < float(done.stdout) < 120


@pytest.fixture(scope="module")
def peers():
    """The modules of benchmarks/peers as one."""
    folder = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "peers"
    names = ("contenders", "johnson", "tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        modules = [importlib.import_module(name) for name in names]
        yield SimpleNamespace(**{key: value for module in modules for key, value in vars(module).items()})
    for name in names:
        del sys.modules[name]


def test_a_peers_worker_paints_in_its_turns_and_its_end_is_noticed(peers, tmp_path):
    scene = scenes.Scene(64, 48)
    np.save(tmp_path / "frames.npy", np.stack([scene[i] for i in range(3)]))
    task = peers.Task(str(tmp_path / "frames.npy"), str(tmp_path), threads=1)
    worker = peers.Worker("rtstyle live", Path(sys.executable), task)
    try:
        painted = np.load(tmp_path / "rtstyle-live.npy")
        np.testing.assert_array_equal(painted, Stylizer(device="cpu")(scene[0]))
        assert re.search(rf"\bonnxruntime(-\w+)? {re.escape(ort.__version__)}", worker.versions)
        for _ in range(2):
            times = worker.times(0.05)
            assert len(times) >= 3 and min(times) > 0
        worker._process.kill()
        with pytest.raises(peers.Unavailable, match="process ended"):
            worker.times(0.05)
    finally:
        worker.end()


def test_pictures_of_all_peers_tables_are_kept(peers, tmp_path):
    table = peers.Table(SimpleNamespace(pictures=str(tmp_path)), tmp_path, {})
    for task in ({}, {"work_height": 24}, {"abreast": True}):
        table._keep("rtstyle live", np.zeros((48, 64, 3), np.uint8), peers.Task("", "", threads=1, **task))
    names = [f"rtstyle-live-64x48{how}.png" for how in ("", "-abreast", "-at-24")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_peers_commands_take_no_threads():
    script = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "peers"
    done = run_python(script, "video", "--threads", 1000)
    assert done.returncode == 2 and "--threads is not for video" in done.stderr


def test_a_peers_worker_says_why_it_cannot(peers, tmp_path):
    np.save(tmp_path / "frames.npy", np.zeros((1, 48, 64, 3), np.uint8))
    task = peers.Task(str(tmp_path / "frames.npy"), str(tmp_path), threads=1)
    with pytest.raises(peers.Unavailable, match=r"studio\.onnx does not exist"):
        peers.Worker("rtstyle studio", Path(sys.executable), task)


def test_peers_ratios_are_medians_of_each_rounds_ratio(peers, capsys):
    medians = {"rtstyle live": [10.0, 20.0, 40.0], "other": [30.0, 40.0, 200.0]}
    peers.print_table("x", medians, "rtstyle live", {name: ["1.0", "a picture"] for name in medians})
    rows = capsys.readouterr().out.splitlines()
    assert "| 1.00 | rtstyle live | 20.0 | 10.0 to 40.0 | 1.0 | a picture |" in rows
    assert "| 3.00 | other | 40.0 | 30.0 to 200.0 | 1.0 | a picture |" in rows


def test_peers_pictures_are_checked(peers):
    frame = scenes.Scene(64, 48)[0]
    good = 255 - frame
    names = "Johnson, torch", "Johnson, OpenCV"
    assert "at most" in peers.check(names[1], {names[0]: good, names[1]: good // 2 * 2}, frame)
    for bad in (frame, frame[:-1], np.full_like(frame, 90), good.astype(np.float32), np.roll(good, 9, 1)):
        with pytest.raises(peers.Unavailable):
            peers.check(names[1], {names[0]: good, names[1]: bad}, frame)


def test_the_float_net_of_peers_is_that_of_torch(peers, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = peers.transformer_net().eval()
    peers.spread_colours(net)
    torch.save(net.state_dict(), tmp_path / "johnson.pth")
    model = peers.float_johnson(tmp_path / "johnson.pth", (64, 48)).SerializeToString()
    planes = peers.to_planes(scenes.Scene(64, 48)[0])
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = net(torch.from_numpy(planes)).numpy()
    assert expected.std() > 20
    np.testing.assert_allclose(session.run(None, {"image": planes})[0], expected, atol=0.1)


def test_frames_abreast_are_the_same_frames_and_timed_by_the_frame(peers, tmp_path):
    """Two threads of one session at once; a call of 40 ms that paints two frames counts 20 ms a frame."""
    scene = scenes.Scene(64, 48)
    np.save(tmp_path / "frames.npy", np.stack([scene[i] for i in range(3)]))
    task = peers.Task(str(tmp_path / "frames.npy"), str(tmp_path), threads=2, abreast=True)
    paint = peers.Abreast(peers.rtstyle_live, task)
    assert paint.paint.threads == 1
    np.testing.assert_array_equal(paint(scene[1]), Stylizer(device="cpu")(scene[1]))

    asleep = []

    def nap(frame):
        asleep.append(threading.get_ident())
        time.sleep(0.04)
        return frame

    times = peers.measure(peers.Abreast(lambda task: nap, task), [scene[0]], 0.2)
    assert 20 <= min(times) < 30 and len(set(asleep)) == 2


@pytest.mark.real_time
def test_the_roofline_of_a_small_frame():
    script = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "roofline.py"
    done = run_python(script, "--size", "96x64", "--runs", 3, "--seconds", 0.5, "--threads", 1)
    assert done.returncode == 0, done.stderr
    rows = {cells[1]: cells[2:-1] for line in done.stdout.splitlines() if (cells := line.split("|"))[1:]}
    rows = {name.strip(): [cell.strip(" *") for cell in cells] for name, cells in rows.items()}
    _, took, least, _ = rows["Conv"]
    # Convolutions of many channels: not above the peak, as far as that is known after half a second beside other work
    assert 0 < float(least) < 1.5 * float(took)
    each = [float(cells[1]) for name, cells in rows.items() if cells[0].isdecimal() and name != "all"]
    assert float(rows["all"][1]) == pytest.approx(sum(each), abs=0.2)
    assert rows["the frame without profiling"][3].endswith("%")
