// Writes one output record after its head, which names stream and sequence and is kept with the stream.
#pragma once

#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "float_text.hpp"

namespace caststream {

enum NumberKind : int32_t { FLOAT32_NUMBER, FLOAT64_NUMBER, WHOLE_NUMBER, TEXT_NUMBER, DISTANCE, AWAITED };

// One number of an output: the bytes that stand before it (names, brackets), and how it is written.
struct OutputNumber {
    std::string before;
    NumberKind kind;
    std::vector<std::string> texts;  // encoded; the number of a TEXT_NUMBER is the place of one of them
};

// The outputs of a task in one of the formats.
struct OutputShape {
    std::vector<OutputNumber> numbers;
    std::string after;       // the last number
    int32_t outputs = 0;     // names at the top of the record
    size_t room = 0;         // bytes that all of it takes at most
    std::string model;       // the fingerprint
};

// What an output of a window says besides.
struct WindowPart {
    int64_t start;  // whole numbers among the outputs are steps that count from here
    int64_t length;
    bool is_final;
    const char* reason;  // up to 31 characters; empty: on the wire only where the outputs are null
};

struct OutputRecord {
    int64_t step;
    int64_t timestamp_ms;
    int64_t gap;  // on the wire only when > 0
    const double* numbers;
    const WindowPart* window = nullptr;
};

// What an output needs besides its head and its outputs: names of fields, five numbers, a reason and the fingerprint.
constexpr size_t OUTPUT_ROOM = 320;
constexpr size_t NUMBER_ROOM = 32;
constexpr int32_t FIELDS_OF_ALL = 5;  // stream, sequence, step, timestamp_ms, model
constexpr int32_t FIELDS_OF_WINDOWS = 3;  // start, length, final

inline char* put(char* out, const char* bytes, size_t size) {
    std::memcpy(out, bytes, size);
    return out + size;
}

inline char* put(char* out, const char* text) { return put(out, text, std::strlen(text)); }

inline char* put(char* out, const std::string& bytes) { return put(out, bytes.data(), bytes.size()); }

inline char* put(char* out, int64_t number) { return std::to_chars(out, out + 24, number).ptr; }

// Null for what the kind has no number or text for.
inline bool is_null(const OutputNumber& number, double value) {
    if (number.kind == TEXT_NUMBER) return !(value >= 0 && value < static_cast<double>(number.texts.size()));
    if (number.kind == WHOLE_NUMBER) return !(value > -9e18 && value < 9e18);
    if (number.kind == DISTANCE && value < 0) return true;  // there is none yet
    if (number.kind == AWAITED && static_cast<float>(value) == -FLT_MAX) return true;  // nor here
    return !std::isfinite(number.kind == FLOAT64_NUMBER ? value : static_cast<float>(value));
}

inline char* put_number_json(char* out, const OutputNumber& number, double value, int64_t start) {
    if (is_null(number, value)) return put(out, "null");
    switch (number.kind) {
        case FLOAT32_NUMBER:
        case DISTANCE:
        case AWAITED: return put_text(out, static_cast<float>(value));
        case FLOAT64_NUMBER: return put_text(out, value);
        case WHOLE_NUMBER: return put(out, start + static_cast<int64_t>(value));
        default: return put(out, number.texts[static_cast<size_t>(value)]);
    }
}

inline char* write_json(char* out, const char* head, size_t head_bytes, const OutputShape& shape,
                        const OutputRecord& record) {
    out = put(out, head, head_bytes);
    out = put(out, record.step);
    if (record.window) {
        out = put(out, ",\"start\":");
        out = put(out, record.window->start);
        out = put(out, ",\"length\":");
        out = put(out, record.window->length);
    }
    out = put(out, ",\"timestamp_ms\":");
    out = put(out, record.timestamp_ms);
    for (size_t i = 0; i < shape.numbers.size(); ++i) {
        out = put(out, shape.numbers[i].before);
        out = put_number_json(out, shape.numbers[i], record.numbers[i], record.window ? record.window->start : 0);
    }
    out = put(out, shape.after);
    if (record.window) out = put(out, record.window->is_final ? ",\"final\":true" : ",\"final\":false");
    out = put(out, ",\"model\":\"");
    out = put(out, shape.model);
    out = put(out, "\"");
    if (record.window && *record.window->reason) {
        out = put(out, ",\"reason\":\"");
        out = put(out, record.window->reason);
        out = put(out, "\"");
    }
    if (record.gap > 0) {
        out = put(out, ",\"gap\":");
        out = put(out, record.gap);
    }
    return put(out, "}");
}

inline char* put_big_endian(char* out, uint64_t bits, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) *out++ = static_cast<char>(bits >> (8 * i));
    return out;
}

inline char* put_tagged(char* out, int tag, uint64_t bits, int bytes) {
    *out++ = static_cast<char>(tag);
    return put_big_endian(out, bits, bytes);
}

// A number that every task has: in one width, whatever its size, but for the smallest.
inline char* put_msgpack(char* out, int64_t number) {
    if (number >= 0 && number <= 0x7F) return put_big_endian(out, number, 1);
    return put_tagged(out, 0xD3, static_cast<uint64_t>(number), 8);
}

// A whole number of an output: in the fewest bytes, as msgspec writes it.
inline char* put_shortest(char* out, int64_t number) {
    uint64_t bits = static_cast<uint64_t>(number);
    if (number >= -32 && number <= 0x7F) return put_big_endian(out, bits, 1);
    if (number >= 0) {
        if (bits <= 0xFF) return put_tagged(out, 0xCC, bits, 1);
        if (bits <= 0xFFFF) return put_tagged(out, 0xCD, bits, 2);
        return bits <= 0xFFFFFFFF ? put_tagged(out, 0xCE, bits, 4) : put_tagged(out, 0xCF, bits, 8);
    }
    if (number >= INT8_MIN) return put_tagged(out, 0xD0, bits, 1);
    if (number >= INT16_MIN) return put_tagged(out, 0xD1, bits, 2);
    return number >= INT32_MIN ? put_tagged(out, 0xD2, bits, 4) : put_tagged(out, 0xD3, bits, 8);
}

inline char* put_msgpack(char* out, const char* text) {
    *out++ = static_cast<char>(0xA0 | std::strlen(text));
    return put(out, text);
}

inline char* put_map(char* out, int32_t fields) {
    return fields < 16 ? put_big_endian(out, 0x80 | fields, 1) : put_tagged(out, 0xDE, fields, 2);
}

inline char* put_number_msgpack(char* out, const OutputNumber& number, double value, int64_t start) {
    if (is_null(number, value)) return put_big_endian(out, 0xC0, 1);
    uint64_t bits;
    uint32_t half;
    float single = static_cast<float>(value);
    std::memcpy(&half, &single, 4);
    std::memcpy(&bits, &value, 8);
    switch (number.kind) {
        case FLOAT32_NUMBER:
        case DISTANCE:
        case AWAITED: return put_tagged(out, 0xCA, half, 4);
        case FLOAT64_NUMBER: return put_tagged(out, 0xCB, bits, 8);
        case WHOLE_NUMBER: return put_shortest(out, start + static_cast<int64_t>(value));
        default: return put(out, number.texts[static_cast<size_t>(value)]);
    }
}

inline char* write_msgpack(char* out, const char* head, size_t head_bytes, const OutputShape& shape,
                           const OutputRecord& record) {
    const WindowPart* window = record.window;
    int32_t more = window ? FIELDS_OF_WINDOWS + (*window->reason != 0) : 0;
    out = put_map(out, FIELDS_OF_ALL + shape.outputs + more + (record.gap > 0));
    out = put(out, head, head_bytes);
    out = window ? put_shortest(out, record.step) : put_msgpack(out, record.step);
    if (window) {
        out = put_msgpack(out, "start");
        out = put_shortest(out, window->start);
        out = put_msgpack(out, "length");
        out = put_shortest(out, window->length);
    }
    out = put_msgpack(out, "timestamp_ms");
    out = window ? put_shortest(out, record.timestamp_ms) : put_msgpack(out, record.timestamp_ms);
    for (size_t i = 0; i < shape.numbers.size(); ++i) {
        out = put(out, shape.numbers[i].before);
        out = put_number_msgpack(out, shape.numbers[i], record.numbers[i], window ? window->start : 0);
    }
    if (window) {
        out = put_msgpack(out, "final");
        *out++ = static_cast<char>(window->is_final ? 0xC3 : 0xC2);
    }
    out = put_msgpack(out, "model");
    *out++ = static_cast<char>(0xA0 | shape.model.size());
    out = put(out, shape.model);
    if (window && *window->reason) {
        out = put_msgpack(out, "reason");
        out = put_msgpack(out, window->reason);
    }
    if (record.gap > 0) {
        out = put_msgpack(out, "gap");
        out = put_msgpack(out, record.gap);
    }
    return out;
}

}  // namespace caststream
