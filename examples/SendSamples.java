// Send a casting strand's samples to caststream, one record per sample, once per second.
//
//     caststream topics create
//     java -cp "$HOME/.local/share/caststream/kafka-4.3.0/*" examples/SendSamples.java 127.0.0.1:9092 strand-1 130
//     caststream tail scores --from-beginning
//
// The class path is where `make setup` keeps Kafka's jars; in a project of your own it is the one dependency
// org.apache.kafka:kafka-clients. The first score comes after 100 samples. Needs a JDK of version 17 or newer.

import java.time.Instant;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class SendSamples {
    static final Random NOISE = new Random();

    public static void main(String[] arguments) throws InterruptedException {
        if (arguments.length < 3) {
            System.err.println("usage: SendSamples BROKER STREAM SAMPLES [SAMPLES_PER_SECOND [TOPIC]]");
            System.exit(2);
        }
        String broker = arguments[0];
        String stream = arguments[1];
        int samples = Integer.parseInt(arguments[2]);
        double perSecond = arguments.length > 3 ? Double.parseDouble(arguments[3]) : 1.0;
        String topic = arguments.length > 4 ? arguments[4] : "casting-samples";
        // A cast's id must not come again: records of a cast that has ended are refused as late.
        String sequence = "heat-" + Instant.now();
        AtomicInteger failed = new AtomicInteger();

        // Since Kafka 3 the producer is idempotent and waits for all copies unless it is told otherwise.
        Map<String, Object> config = Map.of("bootstrap.servers", broker);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int step = 0; step < samples; step++) {
                String value = sample(sequence, step, step == samples - 1);
                // The key names the stream, and keeps its samples in one partition and in order.
                producer.send(new ProducerRecord<>(topic, stream, value), (place, error) -> {
                    if (error != null) {
                        failed.incrementAndGet();
                        System.err.println("not delivered: " + error.getMessage());
                    }
                });
                Thread.sleep((long) (1000 / perSecond));
            }
        } // closing waits for what is under way
        System.out.printf("sent %d samples of %s, sequence %s%n", samples - failed.get(), stream, sequence);
        System.exit(failed.get() == 0 ? 0 : 1);
    }

    /** One sample as JSON. `end` makes it the last of its cast, which brings the final score. */
    static String sample(String sequence, int step, boolean end) {
        return String.format(
                Locale.ROOT, // a decimal point, whatever the country
                "{\"sequence\": \"%s\", \"step\": %d, \"timestamp_ms\": %d, \"casting_speed\": %.3f, "
                        + "\"mold_temperature\": %.1f, \"mold_level\": %.1f, \"cooling_water_flow\": %.1f, "
                        + "\"superheat\": %.1f, \"end\": %b}",
                sequence, step, System.currentTimeMillis(),
                read(1.2, 0.05), read(1520, 10), read(150, 5), read(200, 15), read(25, 3), end);
    }

    /** A made-up sensor; put your own in its place. */
    static double read(double nominal, double deviation) {
        return nominal + deviation * NOISE.nextGaussian();
    }
}
