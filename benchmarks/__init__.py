"""What tracing costs: `python -m benchmarks` measures it, and writes the figures into docs/performance.md."""
