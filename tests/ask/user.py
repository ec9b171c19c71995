"""What a user of the demo does: fetch a page, and wait until something has happened."""

import time
import urllib.error
import urllib.request

PATIENCE = 60


def until(condition):
    """Return when a condition holds; fail if it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def fetch(url, body=None, content_type="text/plain"):
    request = urllib.request.Request(url, body, {"content-type": content_type})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
