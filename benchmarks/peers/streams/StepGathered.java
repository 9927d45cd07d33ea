import ai.onnxruntime.OrtException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Records wait in memory until there are enough or some milliseconds have passed; then one call of the model steps all
 * streams that have one, and again while any has more.
 */
final class StepGathered implements Processor<String, Sample, String, Prediction> {
    static final int MOST = 1000;
    private static final Duration PAUSE = Duration.ofMillis(10);
    private final Lstm model;
    private ProcessorContext<String, Prediction> context;
    private KeyValueStore<String, byte[]> states;
    private List<Record<String, Sample>> waiting = new ArrayList<>();

    StepGathered(Lstm model) {
        this.model = model;
    }

    @Override
    public void init(ProcessorContext<String, Prediction> context) {
        this.context = context;
        states = context.getStateStore(Main.STATES);
        context.schedule(PAUSE, PunctuationType.WALL_CLOCK_TIME, now -> drain());
    }

    @Override
    public void process(Record<String, Sample> record) {
        waiting.add(record);
        if (waiting.size() >= MOST) {
            drain();
        }
    }

    @Override
    public void close() {
        drain();
    }

    private void drain() {
        while (!waiting.isEmpty()) {
            Map<String, Record<String, Sample>> first = new LinkedHashMap<>();
            List<Record<String, Sample>> later = new ArrayList<>();
            for (Record<String, Sample> record : waiting) {
                if (first.putIfAbsent(record.key(), record) != null) {
                    later.add(record);
                }
            }
            step(List.copyOf(first.values()));
            waiting = later;
        }
    }

    private void step(List<Record<String, Sample>> records) {
        List<Sample> samples = new ArrayList<>(records.size());
        byte[][] moved = new byte[records.size()][];
        for (int b = 0; b < moved.length; b++) {
            samples.add(records.get(b).value());
            byte[] known = states.get(records.get(b).key());
            moved[b] = known == null ? model.zeros() : known;
        }
        float[] values;
        try {
            values = model.step(samples, moved);
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
        for (int b = 0; b < moved.length; b++) {
            Record<String, Sample> record = records.get(b);
            states.put(record.key(), moved[b]);
            context.forward(record.withValue(new Prediction(record.key(), record.value(), values[b])));
        }
    }
}
