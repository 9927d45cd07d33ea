import ai.onnxruntime.OrtException;
import java.util.List;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** One record, one call of the model, one write of the state: a stateful processor as the documentation shows it. */
final class StepEach implements Processor<String, Sample, String, Prediction> {
    private final Lstm model;
    private ProcessorContext<String, Prediction> context;
    private KeyValueStore<String, byte[]> states;

    StepEach(Lstm model) {
        this.model = model;
    }

    @Override
    public void init(ProcessorContext<String, Prediction> context) {
        this.context = context;
        states = context.getStateStore(Main.STATES);
    }

    @Override
    public void process(Record<String, Sample> record) {
        byte[] known = states.get(record.key());
        byte[][] state = {known == null ? model.zeros() : known};
        try {
            float value = model.step(List.of(record.value()), state)[0];
            states.put(record.key(), state[0]);
            context.forward(record.withValue(new Prediction(record.key(), record.value(), value)));
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }
}
