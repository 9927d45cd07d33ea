// Names that are nearly those of optional fields, as `Step`, `seq`, `timestampMs`: the sample is taken without what they
// hold, so they are counted and told.
#pragma once

#include <cstddef>
#include <cstring>

namespace caststream {

enum Field : unsigned { SEQUENCE = 1, STEP = 2, TIMESTAMP = 4, END = 8, UNKNOWN = 0 };  // 1 << `CommonField`

struct NearName {
    const char* text;
    size_t size;
    Field field;

    template <size_t N>
    constexpr NearName(const char (&name)[N], Field of) : text(name), size(N - 1), field(of) {}
};

// In small letters, without `_`, `-`, `.` and blanks.
constexpr NearName NEAR_NAMES[] = {
    {"sequence", SEQUENCE},      {"seq", SEQUENCE},          {"sequenceid", SEQUENCE},    {"seqid", SEQUENCE},
    {"sequencename", SEQUENCE},  {"seqname", SEQUENCE},      {"step", STEP},              {"stepno", STEP},
    {"stepnr", STEP},            {"stepnumber", STEP},       {"stepindex", STEP},         {"stepid", STEP},
    {"seqno", STEP},             {"seqnr", STEP},            {"sequencenumber", STEP},    {"sequenceno", STEP},
    {"timestamp", TIMESTAMP},    {"timestampms", TIMESTAMP}, {"timestampmillis", TIMESTAMP},
    {"time", TIMESTAMP},         {"timems", TIMESTAMP},      {"ts", TIMESTAMP},           {"tsms", TIMESTAMP},
    {"eventtime", TIMESTAMP},    {"eventtimems", TIMESTAMP}, {"epochms", TIMESTAMP},      {"unixms", TIMESTAMP},
    {"datetime", TIMESTAMP},     {"end", END},               {"isend", END},              {"ended", END},
    {"endofsequence", END},      {"islast", END},            {"isfinal", END},
};

// The field whose name it nearly is, or UNKNOWN.
inline Field near_field(const char* name, size_t size) {
    constexpr size_t LONGEST = 20;
    if (size < 2 || size > LONGEST) return UNKNOWN;
    switch (name[0] | 0x20) {
        case 's': case 't': case 'e': case 'i': case 'u': case 'd': break;
        default: return UNKNOWN;
    }
    char folded[LONGEST];
    size_t kept = 0;
    for (size_t i = 0; i < size; ++i) {
        char c = name[i];
        if (c == '_' || c == '-' || c == '.' || c == ' ') continue;
        folded[kept++] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }
    for (const NearName& near : NEAR_NAMES) {
        if (near.size == kept && std::memcmp(near.text, folded, kept) == 0) return near.field;
    }
    return UNKNOWN;
}

// Of one record: the name written last for each field that none of the right name stands for.
struct NearMisses {
    static constexpr int FIELDS = 4;  // SEQUENCE, STEP, TIMESTAMP, END
    unsigned fields = 0;
    const char* names[FIELDS];
    size_t sizes[FIELDS];

    static int place(unsigned field) { return field == SEQUENCE ? 0 : field == STEP ? 1 : field == TIMESTAMP ? 2 : 3; }

    // Not inlined: plain samples have no such name, and their loop is to stay small.
    __attribute__((noinline, cold)) void meet(const char* name, size_t size) {
        Field field = near_field(name, size);
        if (field == UNKNOWN) return;
        fields |= field;
        names[place(field)] = name;
        sizes[place(field)] = size;
    }
};

inline Field optional_field(const char* name, size_t size) {
    switch (size) {
        case 3: return std::memcmp(name, "end", 3) == 0 ? END : UNKNOWN;
        case 4: return std::memcmp(name, "step", 4) == 0 ? STEP : UNKNOWN;
        case 8: return std::memcmp(name, "sequence", 8) == 0 ? SEQUENCE : UNKNOWN;
        case 12: return std::memcmp(name, "timestamp_ms", 12) == 0 ? TIMESTAMP : UNKNOWN;
        default: return UNKNOWN;
    }
}

// The end of a string of JSON whose first quote has been read, which is the place of its last one.
inline const char* string_end(const char* at, const char* end) {
    while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
    return at < end ? at : end;
}

inline const char* after_space(const char* at, const char* end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
    return at;
}

inline bool is_name(const char* last_quote, const char* end) {
    if (last_quote == end) return false;
    const char* after = after_space(last_quote + 1, end);
    return after < end && *after == ':';
}

// Whether anything in a JSON object may be such a name. At any depth: brackets need not be counted, which makes it fast.
inline bool may_have_near_misses(const char* at, const char* end) {
    while ((at = static_cast<const char*>(std::memchr(at, '"', end - at)))) {
        const char* name = at + 1;
        at = string_end(name, end);
        if (at == end) return false;
        size_t size = at - name;
        if (near_field(name, size) != UNKNOWN && optional_field(name, size) == UNKNOWN && is_name(at, end)) return true;
        ++at;
    }
    return false;
}

// Walks over a JSON object that has been decoded before, so it is well formed.
inline NearMisses near_misses_json(const char* at, size_t size) {
    NearMisses found;
    const char* end = at + size;
    if (!may_have_near_misses(at, end)) return found;
    unsigned seen = 0;
    int depth = 0;
    for (; at < end; ++at) {
        if (*at == '{' || *at == '[') ++depth;
        if (*at == '}' || *at == ']') --depth;
        if (*at != '"') continue;
        const char* name = at + 1;
        at = string_end(name, end);
        if (depth != 1 || !is_name(at, end)) continue;
        Field field = optional_field(name, at - name);
        if (field == UNKNOWN) {
            found.meet(name, at - name);
            continue;
        }
        const char* after = after_space(after_space(at + 1, end) + 1, end);
        if (after < end && *after != 'n') seen |= field;  // null is absent
    }
    found.fields &= ~seen;
    return found;
}

}  // namespace caststream
