// Produces, consumes or forwards one record with sarama, traced by otelsarama.
//
// Every span that ends and every record that comes is printed as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/dnwe/otelsarama"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const patience = 60 * time.Second

func main() {
	ended := make(lines, 2)
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(ended)))
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(
		propagation.TraceContext{}, propagation.Baggage{}))
	if len(os.Args) < 4 {
		log.Fatal("arguments: produce SERVERS TOPIC [NAME=VALUE]..., consume SERVERS TOPIC, forward SERVERS FROM TO")
	}
	servers, topic := strings.Split(os.Args[2], ","), os.Args[3]
	switch os.Args[1] {
	case "produce":
		produce(servers, topic, headersOf(os.Args[4:]), sarama.StringEncoder("from Go"))
		ended.wait(1)
	case "consume":
		consume(servers, topic)
		ended.wait(1)
	case "forward":
		record := consume(servers, topic)
		produce(servers, os.Args[4], valuesOf(record.Headers), sarama.ByteEncoder(record.Value))
		ended.wait(2)
	default:
		log.Fatalf("no command %q", os.Args[1])
	}
}

func produce(servers []string, topic string, headers []sarama.RecordHeader, value sarama.Encoder) {
	config := configuration()
	bare, err := sarama.NewSyncProducer(servers, config)
	check(err)
	producer := otelsarama.WrapSyncProducer(config, bare)
	// The context of the headers is the span's parent: otelsarama heeds no other.
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Headers: headers, Value: value})
	check(err)
	check(producer.Close())
}

func consume(servers []string, topic string) *sarama.ConsumerMessage {
	group, err := sarama.NewConsumerGroup(servers, fmt.Sprintf("%s-%d", topic, os.Getpid()), configuration())
	check(err)
	waiting, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	first := &firstRecord{}
	check(group.Consume(waiting, []string{topic}, otelsarama.WrapConsumerGroupHandler(first)))
	check(group.Close())
	if first.record == nil {
		log.Fatalf("no record came of %s", topic)
	}
	printLine("record", described(first.record))
	return first.record
}

func configuration() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

// firstRecord is a group's handler that takes one record.
type firstRecord struct{ record *sarama.ConsumerMessage }

func (*firstRecord) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*firstRecord) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *firstRecord) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	select {
	case record := <-claim.Messages():
		h.record = record
	case <-session.Context().Done():
	}
	return nil
}

func headersOf(arguments []string) []sarama.RecordHeader {
	headers := make([]sarama.RecordHeader, len(arguments))
	for i, argument := range arguments {
		name, value, _ := strings.Cut(argument, "=")
		headers[i] = sarama.RecordHeader{Key: []byte(name), Value: []byte(value)}
	}
	return headers
}

func valuesOf(headers []*sarama.RecordHeader) []sarama.RecordHeader {
	values := make([]sarama.RecordHeader, len(headers))
	for i, header := range headers {
		values[i] = *header
	}
	return values
}

func described(record *sarama.ConsumerMessage) map[string]any {
	headers := make([][2]string, len(record.Headers))
	for i, header := range record.Headers {
		headers[i] = [2]string{string(header.Key), string(header.Value)}
	}
	return map[string]any{"headers": headers, "value": string(record.Value)}
}

// lines prints the spans that are exported to it, and counts them.
type lines chan struct{}

func (l lines) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	for _, span := range spans {
		links := []map[string]string{}
		for _, link := range span.Links() {
			links = append(links, ids(link.SpanContext))
		}
		shown := ids(span.SpanContext())
		printLine("span", map[string]any{
			"name": span.Name(), "kind": strings.ToUpper(span.SpanKind().String()),
			"trace_id": shown["trace_id"], "span_id": shown["span_id"], "links": links,
			"parent_id": span.Parent().SpanID().String(), "tracestate": span.SpanContext().TraceState().String(),
		})
		l <- struct{}{}
	}
	return nil
}

func (lines) Shutdown(context.Context) error { return nil }

// wait returns when so many spans have ended: otelsarama ends that of a record after it was handed over.
func (l lines) wait(count int) {
	for range count {
		select {
		case <-l:
		case <-time.After(patience):
			log.Fatal("a span did not end")
		}
	}
}

func ids(of trace.SpanContext) map[string]string {
	return map[string]string{"trace_id": of.TraceID().String(), "span_id": of.SpanID().String()}
}

func printLine(kind string, shown any) {
	line, err := json.Marshal(map[string]any{kind: shown})
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
