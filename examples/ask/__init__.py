"""Ask: a small system of two services and Kafka between them, and a page that shows where its time goes.

`tox run -e demo` asks four questions at once and prints why the last one had to wait; `tox run -e demo -- --serve`
stays up for a browser. The parts, from the outside in:

- `__main__` the command line; `system` starts and ends what `options` ask for; `terminal` prints the traces
- `producer`, `consumer` the two services, each a process of its own; `telemetry` what both set up alike
- `page` what a browser sees, and the OTLP endpoint for `traces`, `metrics` and `glass`; `wall` the questions
- `waterfall` one trace as rows, for page and terminal alike; `zipkin` a real Zipkin beside it
"""
