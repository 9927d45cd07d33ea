// Reads the parts of a JSON object as most producers write them; what is odd is refused.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>

#include "plain_text.hpp"

namespace caststream {

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
        return error == std::errc() && last == at;
    }

    bool boolean(bool& value) {
        skip_space();
        value = peek() == 't';
        return value ? word("true") : word("false");
    }

    bool open_array(int32_t) { return take('['); }

    bool after_item(bool is_last) { return take(is_last ? ']' : ','); }
};

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

inline bool name_of_sequence(JsonCursor& cursor, const char*& text, size_t& size) {
    cursor.skip_space();
    return cursor.peek() == '"' ? cursor.string(text, size) : cursor.digits_as_text(text, size);
}

}  // namespace caststream
