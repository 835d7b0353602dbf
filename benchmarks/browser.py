"""How soon the page of `rtstyle web` paints, and how fast: python benchmarks/browser.py [ROUNDS]

Chromium with its fake camera (1280x720, 30 frames a second) opens the page anew, with one thread of wasm and with two
in turns. Prints what each opening gave and the medians: seconds to the first painting, and after ten seconds of camera
the frames a second and the height at which the net ran. Without a GPU the page draws on a plain canvas.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import threading
import time

from playwright.sync_api import Browser, sync_playwright

from rtstyle.web import site
from rtstyle.web.server import PageServer

FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
MEASURED = """[
  performance.getEntriesByName("first-painting")[0]?.startTime / 1000,
  document.getElementById("facts").textContent,
]"""
CAMERA_SECONDS = 10


def opened(browser: Browser, url: str, threads: int) -> tuple[float, float, int]:
    """(seconds to the first painting, frames a second, height of the net) of one visit."""
    context = browser.new_context(permissions=["camera"], viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{url}?threads={threads}&backend=wasm")
    while not page.evaluate(MEASURED)[0] or "fps" not in page.evaluate(MEASURED)[1]:
        time.sleep(0.1)
    time.sleep(CAMERA_SECONDS)
    first, facts = page.evaluate(MEASURED)
    context.close()
    rate, size, engine, *_ = facts.split(" · ")
    assert engine == f"wasm, {threads} thread{'s' if threads > 1 else ''}", facts
    return first, float(rate.split()[0]), int(size.split()[-1])


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    path = shutil.which("chromium") or shutil.which("google-chrome")
    found: dict[int, list[tuple[float, float, int]]] = {1: [], 2: []}
    with PageServer(site.page_files(), 0) as server, sync_playwright() as play:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = play.chromium.launch(executable_path=path, args=[*FLAGS])
        for _ in range(rounds):
            for threads in found:
                found[threads].append(opened(browser, server.url, threads))
                print(f"{threads} threads: first painting {{:.1f}} s, {{:.0f}} fps at {{}}".format(*found[threads][-1]))
        browser.close()
        server.shutdown()
    for threads, visits in found.items():
        first, rate, height = (statistics.median(values) for values in zip(*visits, strict=True))
        print(f"{threads} threads, median of {rounds}: first painting {first:.1f} s, {rate:.0f} fps at {height:.0f}")


if __name__ == "__main__":
    main()
