// The fields of a task's samples, and the names under which records have them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace caststream {

// A field of the task: where its numbers stand in the block of a sample, and what they may be.
struct FieldRule {
    int32_t start;     // of the numbers that a record brings
    int32_t length;    // 0: one number, not an array
    int32_t overlap;   // numbers of the sample before that stand in front of its own
    double low, high;  // both are allowed
    bool needed;       // else its numbers stay as they were in the record before
};

// What a name stands for: a field of the task by its number, or one of the fields that every task has.
constexpr int32_t UNKNOWN_NAME = -1;
enum CommonField : int32_t { SEQUENCE_FIELD, STEP_FIELD, TIMESTAMP_FIELD, END_FIELD, COMMON_FIELDS };

inline uint64_t load(const char* at, size_t bytes) {
    uint64_t bits = 0;
    std::memcpy(&bits, at, bytes);
    return bits;
}

// Without a call for the lengths that names have.
inline bool same_bytes(const char* a, const char* b, size_t size) {
    if (size > 16) return std::memcmp(a, b, size) == 0;
    if (size >= 8) return load(a, 8) == load(b, 8) && load(a + size - 8, 8) == load(b + size - 8, 8);
    if (size >= 4) return load(a, 4) == load(b, 4) && load(a + size - 4, 4) == load(b + size - 4, 4);
    for (size_t i = 0; i < size; ++i) {
        if (a[i] != b[i]) return false;
    }
    return true;
}

struct FieldName {
    std::string text;
    int32_t target;
};

class FieldList {
  public:
    std::vector<FieldRule> rules;
    std::vector<FieldName> names;
    int32_t needed = 0;     // fields without which a sample cannot be used
    int32_t width = 0;      // numbers in the block of a sample
    bool overlaps = false;  // numbers of the sample before stand in front of a field's own
    bool booleans = false;  // true and false are 1 and 0
    bool has_end = false;

    // Put the fields that every task has behind those of the task, and make the names ready to be found.
    void finish(bool with_end) {
        has_end = with_end;
        const char* common[] = {"sequence", "step", "timestamp_ms", "end"};
        for (int32_t field = 0; field < (with_end ? COMMON_FIELDS : END_FIELD); ++field) {
            names.push_back({common[field], targets() - COMMON_FIELDS + field});
        }
        size_t size = 4;
        while (size < 2 * names.size()) size *= 2;
        places.assign(size, -1);
        for (size_t i = 0; i < names.size(); ++i) {
            size_t place = place_of(names[i].text.data(), names[i].text.size());
            while (places[place] >= 0) place = (place + 1) & (size - 1);
            places[place] = static_cast<int32_t>(i);
        }
    }

    // Bytes of the longest MessagePack value that is looked at: room for every number, and for fields of the producer's own.
    size_t most_msgpack_bytes() const { return (size_t(1) << 14) + 10 * static_cast<size_t>(width); }

    // By number: the fields of the task, then those that every task has.
    int32_t targets() const { return static_cast<int32_t>(rules.size()) + COMMON_FIELDS; }

    // The number of a name, or -1.
    int32_t find(const char* name, size_t size) const {
        for (size_t place = place_of(name, size); places[place] >= 0; place = (place + 1) & (places.size() - 1)) {
            if (is_name(places[place], name, size)) return places[place];
        }
        return -1;
    }

    bool is_name(int32_t number, const char* name, size_t size) const {
        const std::string& text = names[number].text;
        return text.size() == size && same_bytes(text.data(), name, size);
    }

  private:
    std::vector<int32_t> places;  // a hash table of numbers of names, at most half full

    size_t place_of(const char* name, size_t size) const {
        constexpr uint64_t MIXER = 0x9E3779B97F4A7C15;
        uint64_t mixed = size;
        for (; size >= 8; name += 8, size -= 8) mixed = (mixed ^ load(name, 8)) * MIXER;
        for (; size > 0; ++name, --size) mixed = (mixed ^ static_cast<unsigned char>(*name)) * MIXER;
        return (mixed >> 32) & (places.size() - 1);
    }
};

}  // namespace caststream
