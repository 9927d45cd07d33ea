import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;

/** A record of the source topic, read by Jackson's streaming parser. */
record Sample(String sequence, long step, long timestampMs, float[] features) {
    static final JsonFactory JSON = new JsonFactory();

    static Sample read(String topic, byte[] value) {
        try (JsonParser parser = JSON.createParser(value)) {
            String sequence = "";
            long step = 0;
            long timestampMs = 0;
            float[] features = new float[5];
            parser.nextToken();
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String name = parser.currentName();
                parser.nextToken();
                switch (name) {
                    case "sequence" -> sequence = parser.getText();
                    case "step" -> step = parser.getLongValue();
                    case "timestamp_ms" -> timestampMs = parser.getLongValue();
                    case "signal" -> features[0] = parser.getFloatValue();
                    case "condition_vector" -> {
                        for (int f = 1; parser.nextToken() != JsonToken.END_ARRAY; f++) {
                            features[f] = parser.getFloatValue();
                        }
                    }
                    default -> parser.skipChildren();
                }
            }
            return new Sample(sequence, step, timestampMs, features);
        } catch (IOException error) {
            throw new UncheckedIOException(topic, error);
        }
    }
}
