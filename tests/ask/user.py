"""What a user of the demo does: fetch a page, and wait until something has happened."""

import urllib.error
import urllib.request


def fetch(url, body=None, content_type="text/plain"):
    request = urllib.request.Request(url, body, {"content-type": content_type})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
