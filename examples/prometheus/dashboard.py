"""Makes the dashboard for Grafana: `python -m examples.prometheus.dashboard` writes `dashboard.json`."""

from dataclasses import dataclass, field
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

FILE = Path(__file__).with_suffix(".json")
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
TOPIC = "messaging_destination_name, messaging_destination_template"
OF_TOPIC = "{{messaging_destination_name}}{{messaging_destination_template}}"
OF_GROUP = "{{messaging_consumer_group_name}}"
GROUP = '{messaging_consumer_group_name=~"$group"}'
HEIGHT, SPAN = 8, 8
SECONDS, SHARE, PER_SECOND, COUNT = "s", "percentunit", "ops", "short"


@dataclass(frozen=True)
class Panel:
    """One figure over time.

    Attributes:
        description: what it shows, in a sentence.
        queries: queries of Prometheus, by the name of the curve.
    """

    title: str
    description: str
    unit: str
    queries: dict[str, str] = field(default_factory=dict)


ROWS = {
    "Records": [
        Panel(
            "Time to glass",
            "p50 and p95 of the time from a record's origin to the end of its processing, and the objective.",
            SECONDS,
            {
                f"{OF_TOPIC} {OF_GROUP} p50": f"topic_group:otelkafka_pipeline_duration_seconds:p50{GROUP}",
                f"{OF_TOPIC} {OF_GROUP} p95": f"topic_group:otelkafka_pipeline_duration_seconds:p95{GROUP}",
                "aim": "otelkafka:pipeline_duration_seconds:aim",
            },
        ),
        Panel(
            "Queue time",
            "p50 and p95 of the time from a record's timestamp to the start of its processing, and the objective.",
            SECONDS,
            {
                f"{OF_TOPIC} {OF_GROUP} p50": f"topic_group:otelkafka_queue_duration_seconds:p50{GROUP}",
                f"{OF_TOPIC} {OF_GROUP} p95": f"topic_group:otelkafka_queue_duration_seconds:p95{GROUP}",
                "aim": "otelkafka:queue_duration_seconds:aim",
            },
        ),
        Panel(
            "Busy share",
            "The share of each member's time in its own code. Near 1, more consumers help; near 0, check Kafka.",
            SHARE,
            {f"{OF_GROUP} {{{{instance}}}}": f"group_instance:otelkafka_consumer_time_seconds:busy_share{GROUP}"},
        ),
        Panel(
            "Lag",
            "Records behind, in all partitions, as of the last record returned.",
            COUNT,
            {f"{OF_TOPIC} {OF_GROUP}": f"topic_group:otelkafka_consumer_lag:sum{GROUP}"},
        ),
        Panel(
            "Processed",
            "Records per second, and failed records per second by exception.",
            PER_SECOND,
            {
                f"{OF_TOPIC} {OF_GROUP}": f"topic_group:messaging_process_duration_seconds_count:rate{GROUP}",
                f"{OF_TOPIC} {OF_GROUP} {{{{error_type}}}}": (
                    f"sum by ({TOPIC}, messaging_consumer_group_name, error_type) (rate("
                    'messaging_process_duration_seconds_count{error_type!="",messaging_consumer_group_name=~"$group"}'
                    "[$__rate_interval]))"
                ),
            },
        ),
        Panel(
            "Processing time",
            "p95 of the processing time.",
            SECONDS,
            {
                f"{OF_TOPIC} {OF_GROUP} p95": (
                    f"histogram_quantile(0.95, sum by ({TOPIC}, messaging_consumer_group_name, le) "
                    f"(rate(messaging_process_duration_seconds_bucket{GROUP}[$__rate_interval])))"
                )
            },
        ),
        Panel(
            "Oldest in process",
            "The age of the record in process, by member. It grows while a handler hangs.",
            SECONDS,
            {
                f"{OF_TOPIC} {{{{instance}}}}": f"max by ({TOPIC}, instance) (otelkafka_process_age_seconds{GROUP})",
                "aim": "otelkafka:process_age_seconds:aim",
            },
        ),
        Panel(
            "Without context",
            "The share of records without a valid context, by topic. Instrument the producers of these topics.",
            SHARE,
            {f"{OF_TOPIC} {OF_GROUP}": f"topic_group:otelkafka_records_without_context:share{GROUP}"},
        ),
        Panel(
            "Recorded although not sampled",
            "Records per second that are recorded although they were not sampled, by reason: wait or error.",
            PER_SECOND,
            {
                "{{otelkafka_sampled_reason}}": (
                    "sum by (otelkafka_sampled_reason) (rate(otelkafka_sampled_records_total[$__rate_interval]))"
                )
            },
        ),
    ],
    "Clients": [
        Panel(
            "Sending time",
            "p95 of the time from a send to its acknowledgement.",
            SECONDS,
            {
                f"{OF_TOPIC} p95": (
                    f"histogram_quantile(0.95, sum by ({TOPIC}, le) (rate("
                    'messaging_client_operation_duration_seconds_bucket{messaging_operation_name="send"}'
                    "[$__rate_interval])))"
                )
            },
        ),
        Panel(
            "Sends",
            "Sends per second, and failed sends per second by error.",
            PER_SECOND,
            {
                f"{OF_TOPIC} {{{{error_type}}}}": (
                    f"sum by ({TOPIC}, error_type) (rate("
                    'messaging_client_operation_duration_seconds_count{messaging_operation_name="send"}'
                    "[$__rate_interval]))"
                )
            },
        ),
        Panel(
            "Rebalances",
            "Assigned, revoked and lost partitions in 15 minutes.",
            COUNT,
            {
                f"{OF_GROUP} {{{{messaging_operation_name}}}}": (
                    "sum by (messaging_consumer_group_name, messaging_operation_name) "
                    f"(increase(otelkafka_consumer_rebalances_total{GROUP}[15m]))"
                )
            },
        ),
        Panel(
            "Telemetry itself",
            "Contained failures and items left out, in 15 minutes. Both should be 0.",
            COUNT,
            {
                "{{otelkafka_call}} {{error_type}}": (
                    "sum by (otelkafka_call, error_type) (increase(otelkafka_telemetry_errors_total[15m]))"
                ),
                "left out: {{otelkafka_drop_reason}}": (
                    "sum by (otelkafka_drop_reason) (increase(otelkafka_telemetry_dropped_total[15m]))"
                ),
            },
        ),
        Panel(
            "Alerts",
            "Alerts that are pending or firing.",
            COUNT,
            {
                "{{alertname}} {{alertstate}}": (
                    'count by (alertname, alertstate) (ALERTS{alertname=~"(Kafka|Otelkafka).+"})'
                )
            },
        ),
    ],
}


def dashboard() -> str:
    """Return it as Grafana imports it."""
    board = Dashboard("Kafka clients (otelkafka)").uid("otelkafka").tags(["otelkafka", "kafka"])
    board.time("now-1h", "now").refresh("15s").timezone("browser")
    board.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    board.with_variable(_groups())
    for title, panels in ROWS.items():
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(_figure(panel))
    made: str = JSONEncoder(sort_keys=True, indent=2).encode(board.build())
    return f"{made}\n"


def _groups() -> QueryVariable:
    values = "label_values(otelkafka_consumer_time_seconds_total, messaging_consumer_group_name)"
    choice = QueryVariable("group").label("Group").datasource(SOURCE).query(values)
    return choice.multi(True).include_all(True).all_value(".*").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _figure(panel: Panel) -> TimeSeries:
    figure = TimeSeries().title(panel.title).description(panel.description).unit(panel.unit).min(0)
    figure.datasource(SOURCE).height(HEIGHT).span(SPAN)
    for letter, (legend, query) in zip("ABC", panel.queries.items(), strict=False):
        figure.with_target(Dataquery().expr(query).legend_format(legend).ref_id(letter).range())
    return figure


def main() -> None:
    """Write the file."""
    FILE.write_text(dashboard())


if __name__ == "__main__":
    main()
