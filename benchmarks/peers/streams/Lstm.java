import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Map;

/**
 * The signal LSTM by ONNX Runtime: B streams move on by one step in one call.
 *
 * <p>A state is h, then c, as float32 of L layers and H units each. All tensors lie in memory that is made once and
 * that ONNX Runtime reads and writes directly.
 */
final class Lstm {
    private static final int FEATURES = 5;
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final int layers;
    private final int hidden;
    private final ByteBuffer x;
    private final ByteBuffer y;
    private final ByteBuffer[] before = new ByteBuffer[2]; // h, c: (L, B, H) each
    private final ByteBuffer[] after = new ByteBuffer[2];
    private Map<String, OnnxTensor> inputs = Map.of();
    private Map<String, OnnxTensor> outputs = Map.of();
    private int batch;

    /** @param most the largest B */
    Lstm(String path, int most) throws OrtException {
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
            session = environment.createSession(path, options);
        }
        long[] shape = ((TensorInfo) session.getInputInfo().get("h0").getInfo()).getShape();
        layers = (int) shape[0];
        hidden = (int) shape[2];
        x = floats(most * FEATURES);
        y = floats(most);
        for (int part = 0; part < 2; part++) {
            before[part] = floats(most * layers * hidden);
            after[part] = floats(most * layers * hidden);
        }
    }

    /** The state of a stream that has not been seen yet. */
    byte[] zeros() {
        return new byte[2 * part()];
    }

    /**
     * One step of B different streams.
     *
     * @param states moved on in place; each is replaced by a new array
     * @return the predictions
     */
    float[] step(List<Sample> samples, byte[][] states) throws OrtException {
        shape(samples.size());
        for (int b = 0; b < batch; b++) {
            float[] features = samples.get(b).features();
            for (int f = 0; f < FEATURES; f++) {
                x.putFloat(Float.BYTES * (b * FEATURES + f), features[f]);
            }
            for (int row = 0; row < 2 * layers; row++) {
                before[row / layers].put(place(row % layers, b), states[b], row * row(), row());
            }
        }
        session.run(inputs, outputs).close();
        float[] predictions = new float[batch];
        for (int b = 0; b < batch; b++) {
            predictions[b] = y.getFloat(Float.BYTES * b);
            states[b] = new byte[2 * part()];
            for (int row = 0; row < 2 * layers; row++) {
                after[row / layers].get(place(row % layers, b), states[b], row * row(), row());
            }
        }
        return predictions;
    }

    /** Tensors of B rows over the same memory. */
    private void shape(int size) throws OrtException {
        if (size == batch) {
            return;
        }
        inputs.values().forEach(OnnxTensor::close);
        outputs.values().forEach(OnnxTensor::close);
        long[] of = {layers, size, hidden};
        inputs = Map.of("x", tensor(x, size, 1, FEATURES), "h0", tensor(before[0], of), "c0", tensor(before[1], of));
        outputs = Map.of("y", tensor(y, size, 1), "hn", tensor(after[0], of), "cn", tensor(after[1], of));
        batch = size;
    }

    private OnnxTensor tensor(ByteBuffer memory, long... shape) throws OrtException {
        int count = 1;
        for (long length : shape) {
            count *= (int) length;
        }
        ByteBuffer part = memory.slice(0, Float.BYTES * count).order(ByteOrder.nativeOrder());
        return OnnxTensor.createTensor(environment, part.asFloatBuffer(), shape);
    }

    private int place(int layer, int b) {
        return (layer * batch + b) * row();
    }

    /** Bytes of one layer of h or c. */
    private int row() {
        return Float.BYTES * hidden;
    }

    /** Bytes of h or c. */
    private int part() {
        return layers * row();
    }

    private static ByteBuffer floats(int count) {
        return ByteBuffer.allocateDirect(Float.BYTES * count).order(ByteOrder.nativeOrder());
    }
}
