"""The private globals of OpenTelemetry's API, which hold what an application has set for its whole process.

They are read from the module's dictionary, which is faster than a function of the API. If a release keeps a global
elsewhere, the dictionary does not have it.
"""

from typing import Any, Final

from opentelemetry import propagate, trace

try:
    from opentelemetry.metrics import _internal as metrics
except ImportError:  # an API that is made otherwise
    metrics = None  # type: ignore[assignment]

PROPAGATE: Final = vars(propagate)
"""Has the global propagator as `PROPAGATE[PROPAGATOR]`."""
PROPAGATOR: Final = "_HTTP_TEXT_FORMAT"
TRACE: Final = vars(trace)
"""Has the global tracer provider as `TRACE[PROVIDER]`; None as long as there is none."""
PROVIDER: Final = "_TRACER_PROVIDER"
METRICS: Final[dict[str, Any]] = {} if metrics is None else vars(metrics)
"""Has the global meter provider as `METRICS[METER_PROVIDER]`; None as long as there is none."""
METER_PROVIDER: Final = "_METER_PROVIDER"
