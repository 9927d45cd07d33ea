// What a record's header `content-type` says of its value: the rule of core/wire/media_types.py. What is not surely one of
// the two formats is left to it.
#pragma once

#include <cstddef>
#include <cstring>

namespace caststream {

enum MediaType : int { JSON_VALUE = 0, MSGPACK_VALUE = 1, OTHER_VALUE = 2 };

inline bool is_around(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '"' || c == '\''; }

inline bool ends_with(const char* text, size_t size, const char* end) {
    size_t wanted = std::strlen(end);
    return size >= wanted && std::memcmp(text + size - wanted, end, wanted) == 0;
}

inline bool is_one_of(const char* text, size_t size, const char* const* names, int count) {
    for (int i = 0; i < count; ++i) {
        if (std::strlen(names[i]) == size && std::memcmp(names[i], text, size) == 0) return true;
    }
    return false;
}

inline MediaType media_type(const char* text, size_t size) {
    static const char* const JSON_NAMES[] = {"application/json", "text/json", "application/x-json"};
    static const char* const MSGPACK_NAMES[] = {"application/msgpack", "application/x-msgpack",
                                                "application/vnd.msgpack"};
    constexpr size_t LONGEST = 64;
    if (const void* parameters = std::memchr(text, ';', size)) size = static_cast<const char*>(parameters) - text;
    while (size > 0 && is_around(*text)) ++text, --size;
    while (size > 0 && is_around(text[size - 1])) --size;
    if (size == 0 || size > LONGEST) return OTHER_VALUE;
    char name[LONGEST];
    for (size_t i = 0; i < size; ++i) name[i] = text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i];
    if (is_one_of(name, size, JSON_NAMES, 3)) return JSON_VALUE;
    if (is_one_of(name, size, MSGPACK_NAMES, 3)) return MSGPACK_VALUE;
    if (!std::memchr(name, '/', size)) return OTHER_VALUE;
    if (ends_with(name, size, "+json")) return JSON_VALUE;
    return ends_with(name, size, "+msgpack") ? MSGPACK_VALUE : OTHER_VALUE;
}

}  // namespace caststream
