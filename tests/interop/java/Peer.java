import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.context.propagation.TextMapPropagator;
import io.opentelemetry.instrumentation.kafkaclients.v2_6.KafkaTelemetry;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Produces, consumes or forwards one record with Kafka's own clients, wrapped by OpenTelemetry's library for them.
 *
 * <p>Every span that ends and every record that comes is printed as a line of JSON.
 */
public final class Peer {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final OpenTelemetrySdk sdk = OpenTelemetrySdk.builder()
        .setTracerProvider(
            SdkTracerProvider.builder().addSpanProcessor(SimpleSpanProcessor.create(new Lines())).build())
        .setPropagators(ContextPropagators.create(TextMapPropagator.composite(
            W3CTraceContextPropagator.getInstance(), W3CBaggagePropagator.getInstance())))
        .build();
    private final KafkaTelemetry telemetry = KafkaTelemetry.create(sdk);
    private final String servers;

    private Peer(String servers) {
        this.servers = servers;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 3) {
            throw new IllegalArgumentException(
                "produce SERVERS TOPIC [NAME=VALUE]..., consume SERVERS TOPIC, forward SERVERS FROM TO");
        }
        Peer peer = new Peer(arguments[1]);
        switch (arguments[0]) {
            case "produce" -> peer.produce(arguments[2], Arrays.asList(arguments).subList(3, arguments.length));
            case "consume" -> peer.consume(arguments[2], record -> {});
            case "forward" -> peer.consume(arguments[2], record -> peer.forward(record, arguments[3]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private void produce(String topic, List<String> headers) throws Exception {
        Map<String, String> carrier =
            headers.stream().map(header -> header.split("=", 2)).collect(Collectors.toMap(h -> h[0], h -> h[1]));
        Context context = sdk.getPropagators().getTextMapPropagator().extract(Context.root(), carrier, new MapGetter());
        try (Scope ignored = context.makeCurrent()) {
            send(new ProducerRecord<>(topic, "from Java"));
        }
    }

    /** Takes the first record, inside its span, which lasts until the iterator is asked for another. */
    private void consume(String topic, Handler handler) throws Exception {
        try (Consumer<String, String> consumer = telemetry.wrap(new KafkaConsumer<String, String>(consumerSettings()))) {
            consumer.subscribe(List.of(topic));
            long end = System.nanoTime() + PATIENCE.toNanos();
            while (System.nanoTime() < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    print("record", "\"value\":" + quoted(record.value()) + ",\"headers\":" + described(record.headers()));
                    handler.handle(record);
                    end = 0;
                }
            }
        }
    }

    private void forward(ConsumerRecord<String, String> record, String topic) throws Exception {
        send(new ProducerRecord<>(topic, null, null, record.key(), record.value(), record.headers()));
    }

    private void send(ProducerRecord<String, String> record) throws Exception {
        try (Producer<String, String> producer = telemetry.wrap(new KafkaProducer<String, String>(producerSettings()))) {
            producer.send(record).get();
        }
    }

    private Properties producerSettings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("key.serializer", StringSerializer.class);
        settings.put("value.serializer", StringSerializer.class);
        return settings;
    }

    private Properties consumerSettings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("group.id", UUID.randomUUID().toString());
        settings.put("auto.offset.reset", "earliest");
        settings.put("key.deserializer", StringDeserializer.class);
        settings.put("value.deserializer", StringDeserializer.class);
        return settings;
    }

    private static String described(Headers headers) {
        return StreamSupport.stream(headers.spliterator(), false)
            .map(header -> "[" + quoted(header.key()) + "," + quoted(new String(header.value())) + "]")
            .collect(Collectors.joining(",", "[", "]"));
    }

    private static synchronized void print(String kind, String shown) {
        System.out.println("{" + quoted(kind) + ":{" + shown + "}}");
    }

    private static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    private interface Handler {
        void handle(ConsumerRecord<String, String> record) throws Exception;
    }

    private static final class MapGetter implements TextMapGetter<Map<String, String>> {
        @Override
        public Iterable<String> keys(Map<String, String> carrier) {
            return carrier.keySet();
        }

        @Override
        public String get(Map<String, String> carrier, String key) {
            return carrier.get(key);
        }
    }

    /** Prints the spans that are exported to it. */
    private static final class Lines implements SpanExporter {
        @Override
        public CompletableResultCode export(Collection<SpanData> spans) {
            spans.forEach(span -> print("span", described(span)));
            return CompletableResultCode.ofSuccess();
        }

        @Override
        public CompletableResultCode flush() {
            return CompletableResultCode.ofSuccess();
        }

        @Override
        public CompletableResultCode shutdown() {
            return CompletableResultCode.ofSuccess();
        }

        private static String described(SpanData span) {
            String links = span.getLinks().stream()
                .map(link -> "{" + ids(link.getSpanContext()) + "}").collect(Collectors.joining(",", "[", "]"));
            String state = span.getSpanContext().getTraceState().asMap().entrySet().stream()
                .map(entry -> entry.getKey() + "=" + entry.getValue()).collect(Collectors.joining(","));
            return Stream.of(
                    ids(span.getSpanContext()), field("name", span.getName()), field("kind", span.getKind().name()),
                    field("parent_id", span.getParentSpanId()), field("tracestate", state), "\"links\":" + links)
                .collect(Collectors.joining(","));
        }

        private static String ids(SpanContext context) {
            return field("trace_id", context.getTraceId()) + "," + field("span_id", context.getSpanId());
        }

        private static String field(String name, String value) {
            return quoted(name) + ":" + quoted(value);
        }
    }
}
