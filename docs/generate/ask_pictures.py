"""Takes the pictures of the demo Ask, in Debian's Chromium: `.tox/ask/bin/python -m docs.generate.ask_pictures`."""

import argparse
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver

from docs.generate.trace_pictures import PICTURES
from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.browser import browser
from examples.ask.options import Options
from examples.ask.system import Question, System

DESKTOP, PHONE = 1080, 400
LARGEST = 150_000
BURSTS, BURST_SECONDS = (1, 3, 8, 14, 6, 0, 2, 1, 0), 5
MORE_QUESTIONS = (
    Question("Grete", "Is anybody reading this?"),
    Question("Dora", "Which one comes next?"),
    Question("Julie", "How long is the queue?"),
    Question("Robert", "Would two printers be faster?"),
)


def shots(system: System) -> Iterator[tuple[str, str, int, bool]]:
    """Yield each picture's name, its page, its width and whether it is dark."""
    slowest = max(system.wait_for_traces(len(QUESTIONS)), key=lambda trace: trace.duration)
    trace = f"/traces/{slowest.trace_id}"
    yield "ask-traces", "/traces", DESKTOP, False
    yield "ask-trace", trace, DESKTOP, False
    yield "ask-trace-dark", trace, DESKTOP, True
    yield "ask-trace-phone", trace, PHONE, False
    for question in MORE_QUESTIONS:
        system.ask(question)
    yield "ask-wall", "/", DESKTOP, False
    _keep_busy(system)
    yield "ask-metrics", "/metrics", DESKTOP, False
    yield "ask-glass", "/glass", DESKTOP, False


def take(driver: webdriver.Chrome, url: str, width: int, file: Path, *, dark: bool) -> None:
    """Take a picture of a whole page."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    _resize(driver, width, 300)
    driver.get(url)
    # To the end of the page, without the footer.
    _resize(
        driver,
        width,
        driver.execute_script("return document.querySelector('main').getBoundingClientRect().bottom") + 28,
    )
    driver.execute_script("document.querySelector('footer').style.visibility = 'hidden'")
    driver.save_screenshot(str(file))
    shrink(file)


def _resize(driver: webdriver.Chrome, width: int, height: float) -> None:
    size = {"width": width, "height": int(height), "deviceScaleFactor": 1.5, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def shrink(file: Path) -> None:
    """Make a picture smaller where pngquant is installed, and refuse one that is too large.

    Raises:
        RuntimeError: it is too large.
    """
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--strip", "--output", file, file], check=True)
    if file.stat().st_size > LARGEST:
        msg = f"{file.name} has {file.stat().st_size} bytes, {LARGEST} at most: apt install pngquant makes it smaller"
        raise RuntimeError(msg)


def _keep_busy(system: System) -> None:
    """Ask now less and now more, so that the charts have something to show."""
    for burst in BURSTS:
        for number in range(burst):
            system.ask(Question("Franz", f"And what about {number}?"))
        time.sleep(BURST_SECONDS)


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PICTURES, help="the directory")
    directory = parser.parse_args().to
    with System(Options()) as system, browser() as driver:
        ask_all(system)
        for name, page, width, dark in shots(system):
            take(driver, system.page_url + page, width, directory / f"{name}.png", dark=dark)


if __name__ == "__main__":
    main()
