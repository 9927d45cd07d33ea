import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams with the signal LSTM by ONNX Runtime: source, one processor with a state store, predictions.
 *
 * <pre>java -cp CLASSES:JARS Main each|gathered</pre>
 *
 * BENCH_BROKER, BENCH_APP_ID, BENCH_SOURCE, BENCH_OUTPUT, BENCH_MODEL, BENCH_MODEL_NAME and BENCH_GUARANTEE in the
 * environment say what it reads, writes and runs. What differs from the defaults is written out in {@link #settings}.
 */
public final class Main {
    static final String STATES = "states";

    public static void main(String[] words) throws Exception {
        boolean gathered = words[0].equals("gathered");
        // One stream thread: its tasks share the model and take turns.
        Lstm model = new Lstm(env("MODEL"), gathered ? StepGathered.MOST : 1);
        ProcessorSupplier<String, Sample, String, Prediction> step =
                gathered ? () -> new StepGathered(model) : () -> new StepEach(model);
        KafkaStreams streams = new KafkaStreams(topology(step), settings(gathered));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1); // not a thread less, and no outputs
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
    }

    private static Topology topology(ProcessorSupplier<String, Sample, String, Prediction> step) {
        KeyValueBytesStoreSupplier store = Stores.persistentKeyValueStore(STATES);
        return new Topology()
                .addSource("samples", new StringDeserializer(), Sample::read, env("SOURCE"))
                .addProcessor("lstm", step, "samples")
                .addStateStore(
                        Stores.keyValueStoreBuilder(store, Serdes.String(), Serdes.ByteArray()).withCachingEnabled(),
                        "lstm")
                .addSink("predictions", env("OUTPUT"), new StringSerializer(), Prediction::write, "lstm");
    }

    private static Properties settings(boolean gathered) {
        Properties all = new Properties();
        all.put(StreamsConfig.APPLICATION_ID_CONFIG, env("APP_ID"));
        all.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env("BROKER"));
        all.put(StreamsConfig.STATE_DIR_CONFIG, "state");
        all.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, env("GUARANTEE"));
        all.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500); // as the other peers
        // The cache makes one changelog record of a state in each commit interval.
        all.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        all.put("main.consumer.group.instance.id", env("APP_ID") + "-0"); // a restart takes its place at once
        all.put("main.consumer.auto.offset.reset", "earliest");
        all.put("producer.linger.ms", 5); // Kafka Streams' own 100 ms would be in every latency
        all.put("producer.batch.size", 128 << 10);
        if (gathered) {
            all.put(StreamsConfig.POLL_MS_CONFIG, 10); // or what waits would wait for 100 ms more
            all.put("main.consumer.max.poll.records", 4000);
        }
        return all;
    }

    private static String env(String name) {
        return System.getenv("BENCH_" + name);
    }
}
