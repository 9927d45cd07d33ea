// Reads one signal sample where it is written as most producers write it. Everything else, good or bad, is left to the
// full decoder: `false` says nothing about the record but that it is not plain.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>

#include "near_names.hpp"

namespace caststream {

constexpr double MAX_VALUE = 1e6;
constexpr int64_t MAX_INTEGER = (int64_t(1) << 53) - 1;
constexpr int MAX_SEQUENCE_BYTES = 255;
constexpr int64_t MIN_TIME_MS = 946684800000, MAX_TIME_MS = 4102444800000;  // the years 2000 to 2100

struct Sample {
    double values[5];
    const char* sequence = "";
    int32_t sequence_bytes = 0;
    int64_t step = -1;  // -1: not given
    int64_t timestamp_ms = 0;
    bool has_timestamp = false;
    NearMisses near;
};

inline Field field_of(const char* name, size_t size) {
    switch (size) {
        case 4: return std::memcmp(name, "step", 4) == 0 ? STEP : UNKNOWN;
        case 6: return std::memcmp(name, "signal", 6) == 0 ? SIGNAL : UNKNOWN;
        case 8: return std::memcmp(name, "sequence", 8) == 0 ? SEQUENCE : UNKNOWN;
        case 12: return std::memcmp(name, "timestamp_ms", 12) == 0 ? TIMESTAMP : UNKNOWN;
        case 16: return std::memcmp(name, "condition_vector", 16) == 0 ? CONDITION : UNKNOWN;
        default: return UNKNOWN;
    }
}

// A cursor that never reads past the end: every look at a character is `peek`, which is 0 there.
struct JsonCursor {
    const char* at;
    const char* end;

    char peek() const { return at < end ? *at : '\0'; }

    void skip_space() {
        while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
    }

    bool take(char wanted) {
        skip_space();
        if (peek() != wanted) return false;
        ++at;
        return true;
    }

    // A string of printable ASCII without escapes: its bytes are its text. UTF-8 in names of sequences is compared by
    // the caller with text that is known to be valid.
    bool string(const char*& text, size_t& size) {
        if (!take('"')) return false;
        text = at;
        while (at < end && *at != '"') {
            if (*at == '\\' || static_cast<unsigned char>(*at) < 0x20) return false;
            ++at;
        }
        if (at == end) return false;
        size = at - text;
        ++at;
        return true;
    }

    bool integer(int64_t& number) {
        skip_space();
        bool negative = peek() == '-';
        if (negative) ++at;
        const char* first = at;
        uint64_t sum = 0;
        while (at < end && *at >= '0' && *at <= '9' && at - first < 17) sum = sum * 10 + (*at++ - '0');
        if (at == first || (*first == '0' && at - first > 1)) return false;
        char next = peek();
        if ((next >= '0' && next <= '9') || next == '.' || next == 'e' || next == 'E') return false;
        if (sum > static_cast<uint64_t>(MAX_INTEGER)) return false;
        number = negative ? -static_cast<int64_t>(sum) : static_cast<int64_t>(sum);
        return true;
    }

    // A whole number where a text is wanted: its digits are its text.
    __attribute__((noinline, cold)) bool digits_as_text(const char*& text, size_t& size) {
        skip_space();
        text = at;
        if (!digits()) return false;
        size = at - text;
        char next = peek();
        return size < 19 && (*text != '0' || size == 1) && next != '.' && next != 'e' && next != 'E';
    }

    // Whether nothing but NULs and space is left, as of producers that send C strings whole.
    __attribute__((noinline, cold)) bool only_nuls() {
        while (at < end && (*at == '\0' || *at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
        return at == end;
    }

    bool word(const char* wanted) {
        size_t size = std::strlen(wanted);
        if (static_cast<size_t>(end - at) < size || std::memcmp(at, wanted, size) != 0) return false;
        at += size;
        return true;
    }

    bool digits() {
        const char* first = at;
        while (at < end && *at >= '0' && *at <= '9') ++at;
        return at > first;
    }

    // JSON's grammar of a number.
    bool literal() {
        if (peek() == '-') ++at;
        const char* whole = at;
        if (!digits() || (*whole == '0' && at - whole > 1)) return false;
        if (peek() == '.') {
            ++at;
            if (!digits()) return false;
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at;
            if (peek() == '-' || peek() == '+') ++at;
            if (!digits()) return false;
        }
        return true;
    }

    // The grammar is checked before, as `from_chars` takes "inf", "01" and "1." too; it rounds correctly.
    bool number(double& value) {
        skip_space();
        const char* first = at;
        if (!literal()) return false;
        char digit = at[-1];
        if (at - first == 1 || (at - first == 2 && *first == '-' && digit == '0')) {
            value = digit - '0';  // conditions are 0 and 1, mostly; "-0" is an integer, which has no sign at zero
            return true;
        }
        auto [last, error] = std::from_chars(first, at, value);
        return error == std::errc() && last == at && value >= -MAX_VALUE && value <= MAX_VALUE;
    }
};

inline bool is_ascii(const char* text, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        if (static_cast<unsigned char>(text[i]) >= 0x80) return false;
    }
    return true;
}

// Fields of the producer's own change nothing. Only numbers, words and plain text: what is nested is left to the full
// decoder, as is text whose encoding would have to be checked.
inline bool skip(JsonCursor& cursor) {
    cursor.skip_space();
    const char* text;
    size_t size;
    switch (cursor.peek()) {
        case '"': return cursor.string(text, size) && is_ascii(text, size);
        case 't': return cursor.word("true");
        case 'f': return cursor.word("false");
        case 'n': return cursor.word("null");
        default: return cursor.literal();
    }
}

inline bool conditions(JsonCursor& cursor, double* values) {
    if (!cursor.take('[')) return false;
    for (int i = 0; i < 4; ++i) {
        if (!cursor.number(values[i]) || !cursor.take(i < 3 ? ',' : ']')) return false;
    }
    return true;
}

inline bool name_of_sequence(JsonCursor& cursor, const char*& text, size_t& size) {
    cursor.skip_space();
    return cursor.peek() == '"' ? cursor.string(text, size) : cursor.digits_as_text(text, size);
}

template <typename Cursor>
bool read_value(Cursor& cursor, Field field, Sample& sample) {
    switch (field) {
        case SIGNAL: return cursor.number(sample.values[0]);
        case CONDITION: return conditions(cursor, sample.values + 1);
        case SEQUENCE: {
            size_t size;
            if (!name_of_sequence(cursor, sample.sequence, size) || size > MAX_SEQUENCE_BYTES) return false;
            sample.sequence_bytes = static_cast<int32_t>(size);
            return true;
        }
        case STEP: return cursor.integer(sample.step) && sample.step >= 0;
        case TIMESTAMP:
            sample.has_timestamp = cursor.integer(sample.timestamp_ms);
            return sample.has_timestamp && sample.timestamp_ms >= MIN_TIME_MS && sample.timestamp_ms <= MAX_TIME_MS;
        default: return skip(cursor);
    }
}

// The value of a field whose name has been read. A field that comes twice is left to the full decoder.
template <typename Cursor>
bool read_field(Cursor& cursor, const char* name, size_t name_size, unsigned& seen, Sample& sample) {
    Field field = field_of(name, name_size);
    if (field == UNKNOWN && !is_ascii(name, name_size)) return false;
    if ((seen & field) || !read_value(cursor, field, sample)) return false;
    seen |= field;
    if (field == UNKNOWN) sample.near.meet(name, name_size);
    return true;
}

// Whether all is there that must be. A signal has no `end`, so no name is nearly that.
inline bool finish(unsigned seen, Sample& sample) {
    sample.near.fields &= ~(seen | END);
    return (seen & (SIGNAL | CONDITION)) == (SIGNAL | CONDITION);
}

inline bool scan_json(const char* text, size_t size, Sample& sample) {
    JsonCursor cursor{text, text + size};
    unsigned seen = 0;
    if (!cursor.take('{')) {
        if (size < 3 || std::memcmp(text, "\xEF\xBB\xBF", 3) != 0) return false;
        cursor.at = text + 3;  // after a byte order mark
        if (!cursor.take('{')) return false;
    }
    do {
        const char* name;
        size_t name_size;
        if (!cursor.string(name, name_size) || !cursor.take(':')) return false;
        if (!read_field(cursor, name, name_size, seen, sample)) return false;
    } while (cursor.take(','));
    if (!cursor.take('}')) return false;
    cursor.skip_space();
    return (cursor.at == cursor.end || cursor.only_nuls()) && finish(seen, sample);
}

struct MsgpackCursor {
    const unsigned char* at;
    const unsigned char* end;

    bool has(size_t bytes) const { return static_cast<size_t>(end - at) >= bytes; }

    template <typename T>
    bool big_endian(T& number) {
        if (!has(sizeof(T))) return false;
        uint64_t bits = 0;
        for (size_t i = 0; i < sizeof(T); ++i) bits = bits << 8 | *at++;
        if constexpr (sizeof(T) == 4) {
            uint32_t half = static_cast<uint32_t>(bits);
            std::memcpy(&number, &half, 4);
        } else {
            std::memcpy(&number, &bits, 8);
        }
        return true;
    }

    bool string(const char*& text, size_t& size) {
        if (!has(1)) return false;
        unsigned char tag = *at++;
        if ((tag & 0xE0) == 0xA0) {
            size = tag & 0x1F;
        } else if (tag == 0xD9 && has(1)) {
            size = *at++;
        } else {
            return false;
        }
        if (!has(size)) return false;
        text = reinterpret_cast<const char*>(at);
        at += size;
        return true;
    }

    bool integer(int64_t& number) {
        if (!has(1)) return false;
        unsigned char tag = *at++;
        if (tag <= 0x7F) {
            number = tag;
            return true;
        }
        if (tag >= 0xE0) {
            number = static_cast<int8_t>(tag);
            return true;
        }
        int bytes;
        switch (tag) {
            case 0xCC: case 0xD0: bytes = 1; break;
            case 0xCD: case 0xD1: bytes = 2; break;
            case 0xCE: case 0xD2: bytes = 4; break;
            case 0xCF: case 0xD3: bytes = 8; break;
            default: return false;
        }
        if (!has(bytes)) return false;
        uint64_t bits = 0;
        for (int i = 0; i < bytes; ++i) bits = bits << 8 | *at++;
        int unused = 64 - 8 * bytes;
        if (tag >= 0xD0) {
            number = static_cast<int64_t>(bits << unused) >> unused;
        } else {
            if (bits > static_cast<uint64_t>(MAX_INTEGER)) return false;
            number = static_cast<int64_t>(bits);
        }
        return number >= -MAX_INTEGER && number <= MAX_INTEGER;
    }

    bool number(double& value) {
        if (!has(1)) return false;
        if (*at == 0xCB) {
            ++at;
            if (!big_endian(value)) return false;
        } else if (*at == 0xCA) {
            ++at;
            float single;
            if (!big_endian(single)) return false;
            value = single;
        } else {
            int64_t whole;
            if (!integer(whole)) return false;
            value = static_cast<double>(whole);
        }
        return value >= -MAX_VALUE && value <= MAX_VALUE;  // false for NaN
    }
};

inline bool skip(MsgpackCursor& cursor) {
    if (!cursor.has(1)) return false;
    const char* text;
    size_t size;
    unsigned char tag = *cursor.at;
    if (tag == 0xC0 || tag == 0xC2 || tag == 0xC3) {  // nil, false, true
        ++cursor.at;
        return true;
    }
    if ((tag & 0xE0) == 0xA0 || tag == 0xD9) return cursor.string(text, size) && is_ascii(text, size);
    size_t bytes = 0;  // of a number after its tag, whose lowest bits say how many
    if (tag >= 0xCA && tag <= 0xD3) bytes = tag < 0xCC ? 4 << (tag & 1) : 1 << (tag & 3);
    bool is_number = bytes > 0 || tag <= 0x7F || tag >= 0xE0;
    if (!is_number || !cursor.has(1 + bytes)) return false;
    cursor.at += 1 + bytes;
    return true;
}

inline bool name_of_sequence(MsgpackCursor& cursor, const char*& text, size_t& size) {
    return cursor.string(text, size);
}

inline bool conditions(MsgpackCursor& cursor, double* values) {
    if (!cursor.has(1) || *cursor.at++ != 0x94) return false;  // an array of four
    for (int i = 0; i < 4; ++i) {
        if (!cursor.number(values[i])) return false;
    }
    return true;
}

inline bool scan_msgpack(const char* bytes, size_t size, Sample& sample) {
    auto first = reinterpret_cast<const unsigned char*>(bytes);
    MsgpackCursor cursor{first, first + size};
    unsigned seen = 0;
    if (!cursor.has(1) || (*cursor.at & 0xF0) != 0x80) return false;  // a map of up to 15
    for (int left = *cursor.at++ & 0x0F; left > 0; --left) {
        const char* name;
        size_t name_size;
        if (!cursor.string(name, name_size)) return false;
        if (!read_field(cursor, name, name_size, seen, sample)) return false;
    }
    return cursor.at == cursor.end && finish(seen, sample);
}

}  // namespace caststream
