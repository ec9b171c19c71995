"""A fuzzer over what comes in with a record: `tox run -e fuzz -- SECONDS`.

It is atheris, guided by coverage, where that is installed, else Hypothesis. It stops at the first input for which
something does not hold, and prints it.
"""

import logging
import sys
from time import monotonic


def fuzz_by_coverage(seconds):
    import atheris

    with atheris.instrument_imports(include=["otelkafka", "opentelemetry"]):
        from tests.support import hostile

    def run(data):
        hostile.check(hostile.headers_from(data), key=data[:8], value=data[8:])

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-len_control=0", "-rss_limit_mb=4096"], run
    )
    atheris.Fuzz()


def fuzz_at_random(seconds):
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from tests.support import hostile

    runs, until = 0, monotonic() + seconds

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.binary(max_size=4096))
    def run(data):
        nonlocal runs
        runs += 1
        hostile.check(hostile.headers_from(data), key=data[:8], value=data[8:])

    while monotonic() < until:
        run()
    sys.stdout.write(f"{runs} inputs, nothing found\n")


if __name__ == "__main__":
    logging.disable()  # OpenTelemetry says of each broken header what is wrong with it
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    try:
        import atheris  # noqa: F401
    except ImportError:
        fuzz_at_random(seconds)
    else:
        fuzz_by_coverage(seconds)
