"""What NVIDIA cards need, as far as it can be tried without one: everything runs here on the CPU provider of the real
ONNX Runtime. Fakes stand only where a card would be: for sessions that refuse a graph, a precision or more memory."""

import json
import threading
import time

import numpy as np
import onnx
import pytest
from support import nets
from support.media_files import picture, psnr

from rtstyle import RtstyleError, Stylizer, stylize_video
from rtstyle.diagnose import doctor
from rtstyle.errors import ModelError
from rtstyle.gallery.catalog import resolve
from rtstyle.media.encoding import Encoding
from rtstyle.media.reader import VideoReader
from rtstyle.runtime import cuda, devices, tensorrt
from rtstyle.runtime.cuda import ExecutionMode, GpuSession
from rtstyle.runtime.device_form import device_form
from rtstyle.runtime.session import OrtSession
from rtstyle.video.stages import batch_size

pytest_plugins = ["support.runtime_fixtures"]

CPU = devices.choose("cpu")


@pytest.fixture(autouse=True)
def no_device_in_the_environment(monkeypatch):
    monkeypatch.delenv("RTSTYLE_DEVICE", raising=False)
    monkeypatch.setattr(devices, "openvino_problem", lambda: "OpenVINO is not installed")


@pytest.fixture(scope="module")
def choice():
    return resolve("starry-night")


@pytest.fixture(scope="module")
def plain(choice):
    """The portable file in an ordinary session of free size."""
    return OrtSession(choice.model.path, CPU, threads=1)


@pytest.fixture
def session(choice):
    return GpuSession(choice.model.path, CPU, choice.code)


def frames(seed: int, count: int, height: int, width: int) -> np.ndarray:
    return np.stack([picture(seed + i, height, width) for i in range(count)])


# -- the form of the model


@pytest.mark.parametrize("shape", [(1, 64, 96), (2, 61, 47), (1, 16, 16)])
def test_bytes_at_the_ends_only_changes_no_pixel(choice, plain, shape):
    feed = {"frames": frames(1, *shape), "code": choice.code}
    form = devices.open_session(device_form(choice.model.path.read_bytes(), half=False), CPU, 1)
    np.testing.assert_array_equal(form.run(None, feed)[0], plain.run(**feed))


@pytest.mark.parametrize("shape", [(1, 64, 96), (2, 61, 47)])
def test_float16_changes_next_to_nothing(choice, plain, shape):
    feed = {"frames": frames(1, *shape), "code": choice.code}
    form = devices.open_session(device_form(choice.model.path.read_bytes(), half=True), CPU, 1)
    difference = np.abs(form.run(None, feed)[0].astype(int) - plain.run(**feed))
    assert 0 < difference.mean() < 0.2 and difference.max() <= 2


@pytest.mark.torch
def test_every_number_in_float16_changes_little(choice, plain):
    """The CPU provider calculates much of that form in float32. Here everything is rounded, as a card rounds: after
    every operation, which itself adds up in float32."""
    torch = pytest.importorskip("torch")
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    def wide(*arrays):
        return (torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays)

    class Conv(OpRun):
        def _run(self, *inputs, strides=None, pads=None, group=None, dilations=None, **_):
            how = {"stride": strides or 1, "padding": (pads or [0])[0], "dilation": dilations or 1}
            y = torch.nn.functional.conv2d(*wide(*inputs), groups=group or 1, **how)
            return (y.numpy().astype(inputs[0].dtype),)

    class InstanceNormalization(OpRun):
        def _run(self, x, scale, shift, epsilon=None):
            y = torch.nn.functional.instance_norm(*wide(x), None, None, *wide(scale, shift), eps=epsilon)
            return (y.numpy().astype(x.dtype),)

    form = onnx.load_from_string(device_form(choice.model.path.read_bytes(), half=True))
    feed = {"frames": frames(1, 1, 96, 128), "code": choice.code}
    painted = ReferenceEvaluator(form, new_ops=[Conv, InstanceNormalization]).run(None, feed)[0]
    difference = np.abs(painted.astype(int) - plain.run(**feed))
    assert difference.mean() < 0.5 and np.percentile(difference, 99) <= 4


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("body", "config"),
    [
        ("live", {"widths": [8, 12], "dilations": [1, 2, 3]}),
        ("studio", {"widths": [8, 12], "dilations": [1, 2]}),
        ("johnson", {"widths": [8, 8, 12]}),
    ],
)
@pytest.mark.torch
def test_every_body_of_today_has_a_form(body, config, single):
    torch = pytest.importorskip("torch")
    from rtstyle.export import networks
    from rtstyle.export.to_onnx import to_model

    torch.manual_seed(0)
    net = networks.build(body, config=config)
    code = net.codes.detach().numpy()[0]
    model = to_model(net, code if single else None).SerializeToString()
    for shape in ((1, 37, 53), (2, 16, 560)):  # larger than the tile of the canvas
        feed = {"frames": frames(2, *shape)} | ({} if single else {"code": code})
        expected = devices.open_session(model, CPU, 1).run(None, feed)[0].astype(int)
        assert expected.std() > 3
        for half, most in ((False, 0), (True, 2)):
            form = device_form(model, half)
            onnx.checker.check_model(onnx.load_from_string(form), full_check=True)
            assert np.abs(devices.open_session(form, CPU, 1).run(None, feed)[0] - expected).max() <= most


@pytest.mark.parametrize("half", [False, True])
def test_only_floats_lie_between_the_ends(choice, half):
    """CUDA's Pad takes no bytes, and half a graph in float32 would be half as fast."""
    kinds = onnx.TensorProto
    form = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(device_form(choice.model.path.read_bytes(), half)), strict_mode=True, data_prop=True
    )
    of = {value.name: value.type.tensor_type.elem_type for value in form.graph.value_info}
    of |= {tensor.name: tensor.data_type for tensor in form.graph.initializer}
    assert kinds.UINT8 not in of.values()
    live = {"frames"}  # what is made of constants alone is calculated at load, in float32
    for node in form.graph.node:
        if live.intersection(node.input):
            live.update(node.output)
    kernels = ("Conv", "InstanceNormalization", "Pad", "Add")
    pictures = [node for node in form.graph.node if node.op_type in kernels and live.intersection(node.input)]
    result = {of[name] for node in pictures for name in node.input[:1] if of[name] != kinds.INT64}
    made = {of[node.output[0]] for node in pictures if node.op_type in ("Conv", "InstanceNormalization")}
    assert made == {kinds.FLOAT16 if half else kinds.FLOAT}
    assert result <= made | {kinds.FLOAT}  # the head's bias is still added up in float32


def test_what_rtstyle_did_not_write_has_no_form():
    node = onnx.helper.make_node("Celu", ["frames"], ["stylized"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "celu", [], []))
    with pytest.raises(ValueError, match="Celu"):
        device_form(model.SerializeToString(), half=True)


# -- the session


def test_bound_memory_paints_what_a_plain_run_paints(session, plain, choice):
    """Sizes, batches and codes take turns."""
    other = resolve("great-wave").code
    for turn, shape in enumerate([(1, 48, 64), (1, 61, 47), (1, 48, 64), (3, 48, 64), (4, 48, 64), (1, 48, 64)]):
        for code in (choice.code, other, choice.code):
            feed = {"frames": frames(turn, *shape), "code": code}
            np.testing.assert_array_equal(session.run(**feed), plain.run(**feed))


def test_a_painting_is_the_callers_own(session, choice):
    feeds = [{"frames": frames(i, 1, 48, 64), "code": choice.code} for i in range(2)]
    first = session.run(**feeds[0])
    kept = first.copy()
    second = session.run(**feeds[1])
    assert (first == kept).all() and (second != first).any() and not np.shares_memory(first, second)
    first[:] = 0
    np.testing.assert_array_equal(session.run(**feeds[0]), kept)


def test_frames_are_taken_when_they_are_given(session, plain, choice):
    feed = {"frames": frames(3, 1, 48, 64), "code": choice.code.copy()}
    expected = plain.run(**feed)
    session.run(**feed)
    feed["code"][:] = 0  # a code that is changed in place is another code
    assert (session.run(**feed) != expected).any()


def test_batches_are_filled_up_and_few_sizes_stay_open(session, choice):
    for count in range(1, 9):
        assert len(session.run(frames(0, count, 16, 16), choice.code)) == count
    assert list(session.pool.open) == [(2, 16, 16, 3), (4, 16, 16, 3), (8, 16, 16, 3)]
    first = session.pool.open[4, 16, 16, 3]
    session.run(frames(0, 2, 16, 16), choice.code)
    session.run(frames(0, 1, 16, 32), choice.code)  # the one unused for longest goes
    assert list(session.pool.open) == [(8, 16, 16, 3), (2, 16, 16, 3), (1, 16, 32, 3)]
    assert first.empty()


def test_every_session_has_its_size_fixed(session, choice):
    session.run(frames(0, 2, 40, 56), choice.code)
    slot = session.pool.open[2, 40, 56, 3].get()
    assert [item.shape for item in slot.session.get_inputs()] == [[2, 40, 56, 3], [len(choice.code)]]


def test_slots_paint_at_the_same_time(session, plain, choice):
    run, workers = session.for_throughput()
    pool = session.throughput_pool
    assert session.for_throughput() == (run, workers) == (pool.run, cuda.SLOTS)
    feeds = [{"frames": frames(i, 1, 48, 64), "code": choice.code} for i in range(8)]
    run(**feeds[0])
    together = threading.Barrier(workers, timeout=20)
    slots = [pool.open[1, 48, 64, 3].get() for _ in range(workers)]
    for slot in slots:
        slot.run = lambda *arguments, paint=slot.run: (together.wait(), paint(*arguments))[1]
        pool.open[1, 48, 64, 3].put(slot)
    painted = {}
    threads = [threading.Thread(target=lambda i=i: painted.update({i: run(**feeds[i])})) for i in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, feed in enumerate(feeds):
        np.testing.assert_array_equal(painted[i], plain.run(**feed))


def test_no_frame_is_painted_while_a_size_is_opened(session, choice, monkeypatch):
    """A graph that is being captured breaks if anything else is asked of the card."""
    pool = session.throughput_pool
    pool.run(frames(0, 1, 16, 16), choice.code)
    busy, broken = [], []
    slot_run, open_session = cuda.SessionSlot.run, devices.open_session

    def run(slot, *arguments):
        busy.append(1)
        time.sleep(0.01)
        result = slot_run(slot, *arguments)
        busy.pop()
        return result

    def slowly(*arguments, **options):
        time.sleep(0.05)
        broken.extend(busy)
        return open_session(*arguments, **options)

    monkeypatch.setattr(cuda.SessionSlot, "run", run)
    monkeypatch.setattr(devices, "open_session", slowly)
    shapes = [(1, 16, 16), (1, 16, 32), (1, 16, 16), (1, 32, 16)] * 2
    threads = [threading.Thread(target=pool.run, args=(frames(0, *shape), choice.code)) for shape in shapes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken and len(pool.open) == 3


def test_without_binding_it_paints_the_same(choice, plain):
    feed = {"frames": frames(0, 2, 48, 64), "code": choice.code}
    unbound = GpuSession(
        choice.model.path, CPU, choice.code, modes=(ExecutionMode(half=False, graph=False, bound=False),)
    )
    np.testing.assert_array_equal(unbound.run(**feed), plain.run(**feed))


@pytest.mark.torch
def test_a_model_of_one_style_has_no_code(tmp_path, choice):
    torch = pytest.importorskip("torch")
    from rtstyle.export import networks
    from rtstyle.export.to_onnx import to_model

    net = networks.build("live", generator=torch.Generator().manual_seed(0))
    path = tmp_path / "one.onnx"
    onnx.save(to_model(net, net.codes.detach().numpy()[0]), path)
    feed = {"frames": frames(0, 1, 48, 64)}
    expected = devices.open_session(str(path), CPU, 1).run(None, feed)[0]
    np.testing.assert_array_equal(GpuSession(path, CPU).run(**feed), expected)


# -- ways back


@pytest.fixture
def gpu(monkeypatch):
    """A card that is really the CPU. `refuse` (of the provider's options and the size) says what does not work there;
    `opened` lists what was."""

    class Gpu:
        def __init__(self):
            self.device = devices.Device("cuda:0", devices._providers("cuda", 0), "asked for")
            self.opened = []
            self.refuse = lambda options, sizes: None

    gpu, open_session = Gpu(), devices.open_session

    def opened(model, device, threads=None, sizes=None):
        if device.kind != "cpu":
            options = device.providers[0][1]
            gpu.opened.append((options, sizes))
            if reason := gpu.refuse(options, sizes):
                raise RtstyleError(reason)
            session = open_session(model, CPU, threads or 1, sizes)
            session.options = options
            return session
        return open_session(model, device, threads or 1, sizes)

    monkeypatch.setattr(devices, "open_session", opened)
    monkeypatch.setattr(cuda, "memory_place", lambda device: ("cpu", 0))
    return gpu


def test_a_gpu_gets_float16_and_graphs(gpu, choice, plain):
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    feed = {"frames": frames(0, 1, 48, 64), "code": choice.code}
    difference = np.abs(session.run(**feed).astype(int) - plain.run(**feed))
    assert 0 < difference.mean() < 0.2, "not float16"
    options, sizes = gpu.opened[-1]
    assert options == {
        "device_id": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": "1",
        "prefer_nhwc": "0",
    }
    assert sizes == {"N": 1, "H": 48, "W": 64}
    assert session.device.why == "asked for (float16, CUDA graphs)"
    assert session.device.providers[0][0] == "CUDAExecutionProvider"


def test_several_frames_at_once_are_painted_in_float32(gpu, choice, plain):
    """In float16 CUDA's normalisation of more than one frame is wrong."""
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    several = {"frames": frames(0, 4, 48, 64), "code": choice.code}
    np.testing.assert_array_equal(session.run(**several), plain.run(**several))
    assert (session.run(several["frames"][:1], choice.code) != plain.run(several["frames"][:1], choice.code)).any()


def test_a_graph_that_cannot_be_captured_is_done_without(gpu, choice):
    gpu.refuse = lambda options, _: "no capture here" if options["enable_cuda_graph"] == "1" else None
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    assert session.device.why == "asked for (float16; no float16, CUDA graphs: no capture here)"
    tried = len(gpu.opened)
    session.run(frames(0, 1, 48, 64), choice.code)
    assert len(gpu.opened) == tried + 1, "what does not work is tried again"


def test_a_graph_that_replays_something_else_is_refused(gpu, choice, monkeypatch):
    run = cuda.SessionSlot.run

    def graphs_paint_darker(slot, *arguments):
        return run(slot, *arguments) // (1 + int(slot.session.options["enable_cuda_graph"]))

    monkeypatch.setattr(cuda.SessionSlot, "run", graphs_paint_darker)
    assert GpuSession(choice.model.path, gpu.device, choice.code).mode == ExecutionMode(graph=False)
    monkeypatch.setattr(cuda.SessionSlot, "run", lambda slot, *arguments: run(slot, *arguments) // 2)
    with pytest.raises(RtstyleError, match=r"cuda:0 paints \d+\.\d grey levels from what the CPU paints"):
        GpuSession(choice.model.path, gpu.device, choice.code)


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_a_model_that_another_program_wrote_runs_as_it_is(gpu, choice, plain, tmp_path, kind, cache):
    model = onnx.load(choice.model.path)
    model.graph.node[-1].output[0] = "whole"
    model.graph.node.append(onnx.helper.make_node("Identity", ["whole"], ["stylized"]))
    onnx.save(model, path := tmp_path / "other.onnx")
    device = devices.Device(f"{kind}:0", devices._providers(kind, 0), "asked for")
    session = GpuSession(path, device, choice.code)
    if kind == "cuda":
        assert session.device.why.startswith(
            "asked for (float32, CUDA graphs; no float16, CUDA graphs: the operator Id"
        )
    feed = {"frames": frames(0, 1, 48, 64), "code": choice.code}
    np.testing.assert_array_equal(session.run(**feed), plain.run(**feed))


def test_float16_that_paints_something_else_is_refused(gpu, choice, plain, monkeypatch):
    def wrong(model, half):
        form = device_form(model, half)
        return form.replace(np.float32(127.5).tobytes(), np.float32(64).tobytes()) if half else form

    monkeypatch.setattr("rtstyle.runtime.device_form.device_form", wrong)
    cuda._form.cache_clear()
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    cuda._form.cache_clear()
    assert session.mode == ExecutionMode(half=False)
    assert "no float16: it paints " in session.device.why and "grey levels from the CPU" in session.device.why
    feed = {"frames": frames(0, 1, 48, 64), "code": choice.code}
    np.testing.assert_array_equal(session.run(**feed), plain.run(**feed))


def test_memory_of_other_sizes_is_given_back_before_anything_is_rejected(gpu, choice):
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    feed = {"frames": frames(0, 1, 16, 16), "code": choice.code}
    session.run(**feed)
    gpu.refuse = lambda _, sizes: "out of memory" if sizes["H"] == 48 and session.pool.open else None
    session.run(frames(0, 1, 48, 64), choice.code)
    assert session.mode == ExecutionMode() and list(session.pool.open) == [(1, 48, 64, 3)]


def test_what_does_not_work_at_all_is_the_first_reason(gpu, choice):
    gpu.refuse = lambda options, _: f"cuDNN is broken ({options['enable_cuda_graph']})"
    with pytest.raises(RtstyleError, match=r"^cuDNN is broken \(1\)$"):
        GpuSession(choice.model.path, gpu.device, choice.code)


def test_a_size_that_does_not_work_changes_nothing_for_others(gpu, choice):
    session = GpuSession(choice.model.path, gpu.device, choice.code)
    gpu.refuse = lambda _, sizes: "too large" if sizes["H"] == 48 else None
    with pytest.raises(RtstyleError, match="too large"):
        session.run(frames(0, 1, 48, 64), choice.code)
    assert session.mode == ExecutionMode()
    assert session.run(frames(0, 1, 16, 16), choice.code).shape == (1, 16, 16, 3)


# -- as people use it


@pytest.fixture
def on_gpu(gpu, monkeypatch):
    monkeypatch.setattr(devices, "cuda_problem", lambda kind="cuda": None)
    monkeypatch.setattr(devices, "driver", lambda: (["GPU 0", "GPU 1"], 13000))
    monkeypatch.setattr(devices.ort, "get_available_providers", lambda: list(devices.NAMES.values()))
    return gpu


def test_a_stylizer_on_a_gpu_says_how(on_gpu, choice, plain):
    stylizer = Stylizer("starry-night", device="cuda:1")
    frame = frames(0, 1, 48, 64)
    assert (stylizer.device.name, stylizer.device.why) == ("cuda:1", "asked for (float16, CUDA graphs)")
    assert np.abs(stylizer(frame).astype(int) - plain.run(frame, choice.code)).max() <= 2
    stylizer.style = "great-wave"
    wave = plain.run(frame, resolve("great-wave").code)
    assert np.abs(stylizer(frame).astype(int) - wave).max() <= 2


def test_auto_falls_back_to_the_cpu_with_the_reason(on_gpu):
    on_gpu.refuse = lambda *_: "libcudnn is of another version"
    stylizer = Stylizer("starry-night")
    assert (stylizer.device.name, stylizer.device.why) == ("cpu", "auto: libcudnn is of another version")
    with pytest.raises(RtstyleError, match="libcudnn is of another version"):
        Stylizer("starry-night", device="cuda")


def one_size():
    """A net that takes frames of 7x7 alone."""
    node = onnx.helper.make_node("Reshape", ["frames", "shape"], ["stylized"])
    return [node], [nets.number("shape", 1, 7, 7, 3)]


@pytest.mark.parametrize("name", ["auto", "Auto"])
def test_a_model_that_fails_when_it_runs_is_one_sentence(on_gpu, tmp_path, name):
    model = nets.write_own(tmp_path / "own.onnx", one_size)
    with pytest.raises(ModelError, match=r"own\.onnx cannot be painted with on cuda:0 \(.*Reshape.*\): use") as error:
        Stylizer(model=model, device="cuda")
    assert "\n" not in str(error.value)
    device = Stylizer(model=model, device=name).device
    assert (device.name, device.why) == ("cpu", f"auto: {error.value}")


def test_a_video_goes_through_in_batches_side_by_side(on_gpu, clip, tmp_path):
    paths = {}
    for device in ("cpu", "cuda"):
        paths[device] = tmp_path / f"{device}.mkv"
        stylizer = Stylizer("starry-night", device=device)
        stylize_video(clip, paths[device], stylizer, steady=False, encoding=Encoding("ffv1"))
    opened = [sizes["N"] for _, sizes in on_gpu.opened if sizes["H"] == 96]
    assert sorted(opened, reverse=True) == [8, 8, 4, 4], "12 frames: 8, then 4, in two slots"
    both = [[frame.rgb for frame in VideoReader(path)] for path in paths.values()]
    assert len(both[0]) == len(both[1]) == 12
    assert min(psnr(a, b) for a, b in zip(*both, strict=True)) > 40


def test_batches_have_few_sizes(on_gpu):
    """A session for each."""
    stylizer = Stylizer("starry-night", device="cuda")
    sizes = [(160, 96), (1280, 720), (1920, 1080), (3840, 2160), (7680, 4320)]
    assert [batch_size(stylizer, size) for size in sizes] == [8, 8, 8, 2, 1]
    assert stylizer.half and not Stylizer("starry-night", device="cpu").half


def test_the_doctor_says_what_works(on_gpu):
    examined = doctor.examine()
    assert examined["devices"]["cards"] == ["GPU 0", "GPU 1"]
    assert examined["devices"]["cuda"].endswith(" ms (asked for (float16, CUDA graphs))")
    assert "not tried" in examined["devices"]["tensorrt"]


def test_the_doctor_says_what_a_gpu_lacks(monkeypatch):
    monkeypatch.setattr(devices, "driver", lambda: (["GPU 0"], 13000))
    monkeypatch.setattr(devices.ort, "get_available_providers", lambda: list(devices.NAMES.values()))
    monkeypatch.setattr(devices, "missing_libraries", lambda kind: ["libcudnn.so.9"])
    examined = doctor.examine()
    assert examined["devices"]["cuda"].startswith(
        "not available: libraries of NVIDIA are missing: libcudnn.so.9; install"
    )
    assert [problem for problem in examined["problems"] if "libcudnn.so.9" in problem] == [
        f"cuda is {examined['devices']['cuda']}"
    ]


# -- TensorRT


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(devices, "driver", lambda: (["GPU 0", "GPU 1"], 13000))
    monkeypatch.setattr(tensorrt, "version", lambda: "101300")
    return tmp_path


def test_engines_are_cached_by_everything_they_depend_on(choice, cache, monkeypatch, tmp_path):
    device = devices.Device("tensorrt:0", devices._providers("tensorrt", 0), "asked for")
    shape, best = (1, 360, 640, 3), {"half": True, "graph": True}
    first = tensorrt.options(choice.model.path, device, shape, **best)
    assert first == tensorrt.options(choice.model.path, device, shape, half=True, graph=False) | {
        "trt_cuda_graph_enable": "True"
    }
    assert first["trt_fp16_enable"] == first["trt_engine_cache_enable"] == first["trt_timing_cache_enable"] == "True"
    made_for = json.loads((cache / "tensorrt").glob("*/*/made-for.json").__next__().read_text())
    assert (made_for["gpu"], made_for["tensorrt"], made_for["shape"], made_for["half"]) == (
        "GPU 0",
        "101300",
        list(shape),
        True,
    )
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another model")
    second_gpu = devices.Device("tensorrt:1", devices._providers("tensorrt", 1), "asked for")
    result = [
        first,
        tensorrt.options(choice.model.path, device, (2, *shape[1:]), **best),
        tensorrt.options(choice.model.path, device, shape, half=False, graph=True),
        tensorrt.options(other, device, shape, **best),
        tensorrt.options(choice.model.path, second_gpu, shape, **best),
    ]
    for module, name, value in ((tensorrt, "version", lambda: "101400"), (tensorrt.ort, "__version__", "1.99")):
        monkeypatch.setattr(module, name, value)
        result.append(tensorrt.options(choice.model.path, device, shape, **best))
    assert len({options["trt_engine_cache_path"] for options in result}) == len(result)
    assert len({options["trt_timing_cache_path"] for options in result}) == 4, "one for each card and its software"


def test_tensorrt_gets_no_engine_for_a_trial_and_chooses_its_own_halves(gpu, choice, cache, plain):
    device = devices.Device("tensorrt:0", devices._providers("tensorrt", 0), "asked for")
    session = GpuSession(choice.model.path, device, choice.code)
    assert gpu.opened == [({"device_id": "0"}, None)]
    feed = {"frames": frames(0, 1, 48, 64), "code": choice.code}
    np.testing.assert_array_equal(session.run(**feed), plain.run(**feed))
    options, sizes = gpu.opened[-1]
    assert options["trt_fp16_enable"] == options["trt_cuda_graph_enable"] == "True"
    assert sizes == {"N": 1, "H": 48, "W": 64}


def test_a_cache_that_cannot_be_written_is_no_error(choice, cache, monkeypatch):
    (cache / "tensorrt").write_text("a file in the way")
    device = devices.Device("tensorrt:0", devices._providers("tensorrt", 0), "asked for")
    options = tensorrt.options(choice.model.path, device, (1, 16, 16, 3), half=True, graph=True)
    assert options["trt_engine_cache_enable"] == "True"
