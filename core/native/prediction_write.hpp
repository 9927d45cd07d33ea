// Writes one prediction after its head, which names stream and sequence and is kept with the stream.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace caststream {

struct Prediction {
    int64_t step;
    int64_t timestamp_ms;
    int64_t gap;  // on the wire only when > 0
    float value;
};

// What a prediction needs besides its head and the fingerprint of the model: names of fields and four numbers.
constexpr size_t PREDICTION_ROOM = 192;

inline char* put(char* out, const char* text) {
    size_t size = std::strlen(text);
    std::memcpy(out, text, size);
    return out + size;
}

inline char* put(char* out, const char* bytes, size_t size) {
    std::memcpy(out, bytes, size);
    return out + size;
}

inline char* put(char* out, int64_t number) { return std::to_chars(out, out + 24, number).ptr; }

// The shortest text that gives the same float32 again; a whole number keeps a ".0", so that it stays a float.
inline char* put(char* out, float value) {
    if (!std::isfinite(value)) return put(out, "null");
    char* end = std::to_chars(out, out + 32, value).ptr;
    for (char* at = out; at < end; ++at) {
        if (*at == '.' || *at == 'e') return end;
    }
    return put(end, ".0");
}

inline char* write_json(char* out, const char* head, size_t head_bytes, const Prediction& prediction,
                        const char* model, size_t model_bytes) {
    out = put(out, head, head_bytes);
    out = put(out, prediction.step);
    out = put(out, ",\"timestamp_ms\":");
    out = put(out, prediction.timestamp_ms);
    out = put(out, ",\"prediction\":");
    out = put(out, prediction.value);
    out = put(out, ",\"model\":\"");
    out = put(out, model, model_bytes);
    out = put(out, "\"");
    if (prediction.gap > 0) {
        out = put(out, ",\"gap\":");
        out = put(out, prediction.gap);
    }
    return put(out, "}");
}

inline char* put_big_endian(char* out, uint64_t bits, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) *out++ = static_cast<char>(bits >> (8 * i));
    return out;
}

inline char* put_msgpack(char* out, int64_t number) {
    if (number >= 0 && number <= 0x7F) return put_big_endian(out, number, 1);
    *out++ = static_cast<char>(0xD3);
    return put_big_endian(out, static_cast<uint64_t>(number), 8);
}

// Nil, as null in JSON, for what is no number.
inline char* put_msgpack(char* out, float value) {
    if (!std::isfinite(value)) return put_big_endian(out, 0xC0, 1);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    *out++ = static_cast<char>(0xCA);
    return put_big_endian(out, bits, 4);
}

inline char* put_msgpack(char* out, const char* text) {
    *out++ = static_cast<char>(0xA0 | std::strlen(text));
    return put(out, text);
}

// The head begins with the map's size as it is without a gap.
inline char* write_msgpack(char* out, const char* head, size_t head_bytes, const Prediction& prediction,
                           const char* model, size_t model_bytes) {
    char* first = out;
    out = put(out, head, head_bytes);
    out = put_msgpack(out, prediction.step);
    out = put_msgpack(out, "timestamp_ms");
    out = put_msgpack(out, prediction.timestamp_ms);
    out = put_msgpack(out, "prediction");
    out = put_msgpack(out, prediction.value);
    out = put_msgpack(out, "model");
    *out++ = static_cast<char>(0xA0 | model_bytes);
    out = put(out, model, model_bytes);
    if (prediction.gap > 0) {
        ++*first;
        out = put_msgpack(out, "gap");
        out = put_msgpack(out, prediction.gap);
    }
    return out;
}

}  // namespace caststream
