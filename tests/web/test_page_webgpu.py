"""WebGPU in Chromium, on a software adapter: what it paints, and that it may go away. Not how fast it is."""

import numpy as np
import pytest
from support.web_browser import SOFTWARE_GPU, Tab, chromium, painted_by_page, painted_by_runtime, photograph, serving

from rtstyle.gallery import catalog
from rtstyle.web import site


@pytest.fixture(scope="module")
def gpu_tab():
    with chromium(*SOFTWARE_GPU) as browser, serving(site.page_files()) as url:
        tab = Tab(browser.new_context(), url + "licences.txt")
        if not tab.page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no software adapter for WebGPU")
        yield tab


def test_webgpu_paints_what_onnx_runtime_paints_and_may_go_away(gpu_tab):
    frame, code = photograph(height=48, width=64), catalog.load("live").styles[0].code
    name, painted = painted_by_page(gpu_tab, frame, code, "webgpu")
    assert name == "WebGPU"
    expected = painted_by_runtime(frame, code)
    assert np.abs(painted - expected).max() <= 2
    (worker,) = [worker for worker in gpu_tab.page.workers if worker.evaluate("Boolean(self.gpuDevice)")]
    worker.evaluate("self.gpuDevice.destroy()")
    gpu_tab.until("/The GPU went away: painting goes on by wasm/.test(window.said)")
    assert gpu_tab.page.evaluate("window.painter.choice") == "wasm"
    name, painted = painted_by_page(gpu_tab, frame, code, None)
    assert name == "wasm, 1 thread" and np.abs(painted - expected).max() <= 1
