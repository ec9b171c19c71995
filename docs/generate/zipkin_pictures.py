"""Takes the demo's pictures of a real Zipkin: `.tox/ask/bin/python -m docs.generate.zipkin_pictures`."""

import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from docs.generate.ask_pictures import shrink
from docs.generate.trace_pictures import PICTURES
from examples.ask.__main__ import ask_all
from examples.ask.browser import browser
from examples.ask.options import Options
from examples.ask.system import System

WIDTH, HEIGHT = 1280, 900
PATIENCE = 60
DRAWN_SECONDS = 3  # the page of Zipkin says nowhere that its animations are over


def main() -> None:
    """Ask the four questions, and take pictures of the slowest trace and of the graph of dependencies."""
    with System(Options(zipkin=True)) as system, browser() as driver:
        ask_all(system)
        system.stop_services()
        slowest = max((trace for trace in system.traces.all() if trace.question), key=lambda trace: trace.duration)
        driver.set_window_size(WIDTH, HEIGHT)
        assert system.zipkin is not None
        driver.get(f"{system.zipkin.url}/traces/{slowest.trace_id}")
        _click(driver, "//*[contains(text(), 'process questions')]")
        tag = driver.find_element(By.XPATH, "//*[text()='link.1']")
        driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", tag)
        _take(driver, "zipkin-trace")
        driver.get(f"{system.zipkin.url}/dependency")
        _click(driver, "//button[contains(., 'query') or contains(., 'Query')]")
        _take(driver, "zipkin-graph")


def _click(driver: webdriver.Chrome, path: str) -> None:
    found = WebDriverWait(driver, PATIENCE).until(lambda page: page.find_elements(By.XPATH, path))
    driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", found[0])
    time.sleep(DRAWN_SECONDS)


def _take(driver: webdriver.Chrome, name: str) -> None:
    file = PICTURES / f"{name}.png"
    driver.save_screenshot(str(file))
    shrink(file)


if __name__ == "__main__":
    main()
