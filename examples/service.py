"""A service that knows nothing of tracing: it asks a question and answers it.

`opentelemetry-instrument python examples/service.py localhost:9092 questions`
"""

import argparse
import json

from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def main() -> None:
    """Send one question, and answer the first that comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap_servers")
    parser.add_argument("topic")
    parser.add_argument("--options", type=json.loads, default={}, help="more for the clients, as JSON")
    given = parser.parse_args()
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in given.options.items()}
    producer = KafkaProducer(bootstrap_servers=given.bootstrap_servers, **options)
    producer.send(given.topic, b"why?").get(30)
    producer.close()
    consumer = KafkaConsumer(auto_offset_reset="earliest", bootstrap_servers=given.bootstrap_servers, **options)
    consumer.assign([TopicPartition(given.topic, 0)])
    for record in consumer:
        print("answered", record.value.decode())
        break
    consumer.close()


if __name__ == "__main__":
    main()
