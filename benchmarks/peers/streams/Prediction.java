import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/** A record of the output topic, written by Jackson's streaming generator. */
record Prediction(String stream, Sample sample, float value) {
    private static final String MODEL = System.getenv("BENCH_MODEL_NAME");

    static byte[] write(String topic, Prediction prediction) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(192);
        try (JsonGenerator json = Sample.JSON.createGenerator(bytes)) {
            json.writeStartObject();
            json.writeStringField("stream", prediction.stream);
            json.writeStringField("sequence", prediction.sample.sequence());
            json.writeNumberField("step", prediction.sample.step());
            json.writeNumberField("timestamp_ms", prediction.sample.timestampMs());
            json.writeNumberField("prediction", prediction.value);
            json.writeStringField("model", MODEL);
            json.writeEndObject();
        } catch (IOException error) {
            throw new UncheckedIOException(topic, error);
        }
        return bytes.toByteArray();
    }
}
