"""What a person does and sees, in a real browser."""

import re

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from examples.ask.__main__ import NOT_SAMPLED
from examples.ask.browser import CHROMEDRIVER, CHROMIUM, browser
from examples.ask.system import Question
from tests.support.needs import need
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="module")
def driver():
    need(CHROMIUM, CHROMEDRIVER)
    with browser() as running:
        yield running


def test_ask_see_the_answer_and_why_it_waited(driver, system):
    """Asks through the form behind others, sees the answer on the wall, opens the trace and reads who it waited for."""
    wait = _Wait(driver)
    driver.get(system.page_url)
    driver.find_element(By.NAME, "name").send_keys("Franz")
    driver.find_element(By.NAME, "question").send_keys("Who is kept waiting?")
    for _ in range(8):
        system.ask(Question("Felix", "Who is before him?"))
    driver.find_element(By.CSS_SELECTOR, "form button").click()
    wait.until(
        lambda d: _card(d, "Who is kept waiting?").find_element(By.LINK_TEXT, "what happened?").click() or True,
        "a link to the trace of the answer",
    )
    wait.until(lambda d: "waits in questions" in d.find_element(By.TAG_NAME, "main").text, "the wait in the trace")
    assert driver.find_element(By.TAG_NAME, "h1").text == "Who is kept waiting?"
    shown = driver.find_element(By.TAG_NAME, "main").text
    assert shown.count("\nconsumer busy with «Who is before him?»") == 3
    assert re.search(r"\nconsumer busy with \d more", shown)
    driver.find_element(By.XPATH, "//summary[contains(., 'process questions')]").click()
    details = driver.find_element(By.CSS_SELECTOR, "details[open]").text
    assert "messaging.consumer.group.name" in details
    assert "busy: «Who is before him?», which took" in details


def test_what_kept_the_consumer_busy_leads_to_its_trace(driver, system):
    """The slowest of the demo's four names those before it; a click shows what they did."""
    slowest = next(trace for trace in system.traces.all() if trace.question == "What is happening?")
    driver.get(f"{system.page_url}/traces/{slowest.trace_id}")
    assert "busy with «Who kept the consumer busy?»" in driver.find_element(By.CSS_SELECTOR, ".waterfall").text
    driver.find_elements(By.LINK_TEXT, "its trace")[-1].click()
    _Wait(driver).until(
        lambda d: d.find_element(By.TAG_NAME, "h1").text == "Who kept the consumer busy?",
        "the trace of what kept the consumer busy",
    )


def test_time_to_glass_leads_to_traces(driver, system):
    """From a bar to a trace in it, and from what was not sampled to why it is there."""
    wait = _Wait(driver)
    driver.get(f"{system.page_url}/glass")
    wait.until(lambda d: d.find_element(By.LINK_TEXT, "a trace").click() or True, "a link to a trace")
    wait.until(lambda d: "process questions" in d.find_element(By.CSS_SELECTOR, ".waterfall").text, "the trace")
    driver.get(f"{system.page_url}/glass")
    wait.until(
        lambda d: d.find_element(By.LINK_TEXT, NOT_SAMPLED.question).click() or True, "a link to what was not sampled"
    )
    wait.until(
        lambda d: d.find_element(By.TAG_NAME, "h1").text == NOT_SAMPLED.question, "the trace of what was not sampled"
    )
    assert "it waited too long" in driver.find_element(By.CSS_SELECTOR, "#trace .notice").text


@pytest.mark.parametrize("width", [320, 400, 800, 1280])
@pytest.mark.parametrize("page", ["/", "/traces", "trace", "/glass", "/metrics"])
def test_nothing_is_cut_off(driver, system, page, width):
    """No page is wider than its window, and no label runs into its bar."""
    slowest = next(trace for trace in system.traces.all() if trace.question == "What is happening?")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(system.page_url + (f"/traces/{slowest.trace_id}" if page == "trace" else page))
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.execute_script(OVERFLOWING) == []


def test_hover_and_keyboard_show_attributes(driver, system):
    """The mouse over a span shows some of its attributes, the Enter key all of them."""
    trace = next(trace for trace in system.traces.all() if trace.question == "What is happening?")
    driver.get(f"{system.page_url}/traces/{trace.trace_id}")
    send = driver.find_element(By.XPATH, "//summary[contains(., 'send questions')]")
    tip = send.find_element(By.CSS_SELECTOR, ".tip")
    assert not tip.is_displayed()
    ActionChains(driver).move_to_element(send).perform()
    assert "messaging.destination.name = questions" in tip.text
    send.send_keys(Keys.ENTER)
    assert "messaging.kafka.offset" in driver.find_element(By.CSS_SELECTOR, "details[open] dl").text


def test_a_refused_question_stays_in_the_form(driver, system):
    """What was typed is still there, with the reason beside it, and the page goes on by itself."""
    driver.get(system.page_url)
    driver.find_element(By.NAME, "name").send_keys("Franz")
    driver.find_element(By.NAME, "question").send_keys("   ")
    driver.find_element(By.CSS_SELECTOR, "form button").click()
    _Wait(driver).until(
        lambda d: "Write a question first" in d.find_element(By.ID, "error").text, "the reason beside the form"
    )
    assert driver.find_element(By.NAME, "name").get_attribute("value") == "Franz"
    system.ask(Question("Max", "Is it still live?"))
    _Wait(driver).until(lambda d: _card(d, "Is it still live?"), "the new question on the wall")


def test_a_trace_comes_to_who_is_early(driver, system):
    """Its page fills by itself, and stays as it is once the record has been processed."""
    recorded = system.ask(Question("Max", "Am I early?"))
    driver.get(f"{system.page_url}/traces/{recorded['trace_id']}")
    _Wait(driver).until(lambda d: "process questions" in d.find_element(By.ID, "trace").text, "the process span")
    assert driver.find_element(By.TAG_NAME, "h1").text == "Am I early?"
    _Wait(driver).until(
        lambda d: d.find_element(By.ID, "trace").get_attribute("data-live") is None, "a page that stays as it is"
    )


def test_it_needs_nothing_from_elsewhere(driver, system):
    """All that a page loads comes from its own server."""
    driver.get(system.page_url)
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert loaded
    assert all(name.startswith(system.page_url) for name in loaded)


OVERFLOWING = """
return [...document.querySelectorAll('.name, .took, .card p, td')]
  .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.textContent)
"""


class _Wait(WebDriverWait):
    """Waits while the page renews itself: what was just found may be gone. It fails with what the page shows."""

    def __init__(self, driver):
        gone = [NoSuchElementException, StaleElementReferenceException]
        super().__init__(driver, PATIENCE, ignored_exceptions=gone)

    def until(self, condition, what):
        try:
            return super().until(condition)
        except TimeoutException:
            shown = self._driver.find_element(By.TAG_NAME, "body").text
            pytest.fail(f"waited {PATIENCE:.0f} s for {what}; {self._driver.current_url} shows: {shown}")


def _card(driver, question):
    return driver.find_element(By.XPATH, f"//li[contains(@class, 'card')][contains(., '{question}')]")
