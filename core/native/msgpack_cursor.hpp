// Reads the parts of a MessagePack map as most producers write them; what is odd is refused.
#pragma once

#include <cstdint>
#include <cstring>

#include "plain_text.hpp"

namespace caststream {

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
        return true;
    }

    bool boolean(bool& value) {
        if (!has(1) || (*at != 0xC2 && *at != 0xC3)) return false;
        value = *at++ == 0xC3;
        return true;
    }

    // The length of a map or an array, written in up to two bytes after the tag or, below 16, in the tag itself.
    bool length(unsigned char short_tag, unsigned char long_tag, int32_t& items) {
        if (!has(1)) return false;
        unsigned char tag = *at++;
        if ((tag & 0xF0) == short_tag) {
            items = tag & 0x0F;
            return true;
        }
        if (tag != long_tag || !has(2)) return false;
        items = at[0] << 8 | at[1];
        at += 2;
        return true;
    }

    bool open_map(int32_t& items) { return length(0x80, 0xDE, items); }

    bool open_array(int32_t wanted) {
        int32_t items;
        return length(0x90, 0xDC, items) && items == wanted;
    }

    bool after_item(bool) { return true; }
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

}  // namespace caststream
