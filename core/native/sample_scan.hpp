// Reads one sample where it is written as most producers write it. Everything else, good or bad, is left to the full
// decoder: `false` says nothing about the record but that it is not plain.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "field_list.hpp"
#include "json_cursor.hpp"
#include "msgpack_cursor.hpp"
#include "near_names.hpp"

namespace caststream {

constexpr int MAX_SEQUENCE_BYTES = 255;
constexpr int64_t MIN_TIME_MS = 946684800000, MAX_TIME_MS = 4102444800000;  // the years 2000 to 2100

// What a record brings. One of them is used for many records in turn, so that none needs memory of its own.
struct Sample {
    std::vector<double> values;  // the block of the task's fields; what the record lacks stands at some old value
    const char* sequence;
    int32_t sequence_bytes;
    int64_t step;  // -1: not given
    int64_t timestamp_ms;
    bool has_timestamp;
    bool end;
    int32_t lacking;  // of the fields that may be: see `FieldRule::needed`
    NearMisses near;

    void prepare(const FieldList& fields) {
        values.assign(fields.width, 0.0);
        seen.assign(fields.targets(), 0);
        follower.resize(fields.names.size() + 1);
        for (size_t i = 0; i < follower.size(); ++i) follower[i] = i < fields.names.size() ? static_cast<int32_t>(i) : 0;
    }

    void begin() {
        sequence = "";
        sequence_bytes = 0;
        step = -1;
        has_timestamp = end = false;
        near.fields = 0;
        needed = lacking = common = 0;
        last_name = -1;
        if (++record == 0) {
            std::fill(seen.begin(), seen.end(), 0);
            record = 1;
        }
    }

    // What a name stands for. Most records name their fields in one order, so the name that followed the last one in
    // the record before is tried first.
    int32_t target_of(const FieldList& fields, const char* name, size_t size) {
        int32_t& likely = follower[last_name + 1];
        if (!fields.is_name(likely, name, size)) {
            int32_t found = fields.find(name, size);
            if (found < 0) return UNKNOWN_NAME;
            likely = found;
        }
        last_name = likely;
        return fields.names[likely].target;
    }

    bool is_new(int32_t target) {
        if (has(target)) return false;
        seen[target] = record;
        return true;
    }

    bool has(int32_t target) const { return seen[target] == record; }

    void take_field(const FieldRule& rule) { ++(rule.needed ? needed : lacking); }

    void take_common(int32_t field) { common |= 1u << field; }

    // Whether all is there that must be. A field that comes under another name has no near miss.
    bool finish(const FieldList& fields) {
        lacking = static_cast<int32_t>(fields.rules.size()) - fields.needed - lacking;
        near.fields &= ~(common | (fields.has_end ? 0u : unsigned(END)));
        return needed == fields.needed;
    }

  private:
    std::vector<uint32_t> seen;     // by target, the last record that has it
    std::vector<int32_t> follower;  // by name, the one that came after it; the first is of the beginning
    uint32_t record = 0;
    int32_t last_name, needed;
    unsigned common;
};

// Put in what comes from the sample before, ``last``: fields that the record lacks, whose numbers are given back, and
// numbers that overlap.
inline std::vector<int32_t> fill(const FieldList& fields, const float* last, Sample& sample) {
    std::vector<int32_t> held;
    for (size_t number = 0; number < fields.rules.size(); ++number) {
        const FieldRule& rule = fields.rules[number];
        int32_t first = rule.start - rule.overlap, end = rule.start + std::max(rule.length, 1);
        double* values = sample.values.data();
        for (int32_t i = 0; i < rule.overlap; ++i) values[first + i] = last[end - rule.overlap + i];
        if (sample.has(static_cast<int32_t>(number))) continue;
        for (int32_t i = rule.start; i < end; ++i) values[i] = last[i];
        held.push_back(static_cast<int32_t>(number));
    }
    return held;
}

template <typename Cursor>
bool read_number(Cursor& cursor, const FieldList& fields, const FieldRule& rule, double& value) {
    bool word;
    if (fields.booleans && cursor.boolean(word)) {
        value = word;
    } else if (!cursor.number(value)) {
        return false;
    }
    return value >= rule.low && value <= rule.high;  // false for NaN
}

template <typename Cursor>
bool read_rule(Cursor& cursor, const FieldList& fields, const FieldRule& rule, Sample& sample) {
    double* values = sample.values.data() + rule.start;
    sample.take_field(rule);
    if (rule.length == 0) return read_number(cursor, fields, rule, *values);
    if (!cursor.open_array(rule.length)) return false;
    for (int32_t i = 0; i < rule.length; ++i) {
        if (!read_number(cursor, fields, rule, values[i]) || !cursor.after_item(i == rule.length - 1)) return false;
    }
    return true;
}

template <typename Cursor>
bool read_common(Cursor& cursor, int32_t field, Sample& sample) {
    sample.take_common(field);
    switch (field) {
        case SEQUENCE_FIELD: {
            size_t size;
            if (!name_of_sequence(cursor, sample.sequence, size) || size > MAX_SEQUENCE_BYTES) return false;
            sample.sequence_bytes = static_cast<int32_t>(size);
            return true;
        }
        case STEP_FIELD: return cursor.integer(sample.step) && sample.step >= 0;
        case TIMESTAMP_FIELD:
            sample.has_timestamp = cursor.integer(sample.timestamp_ms);
            return sample.has_timestamp && sample.timestamp_ms >= MIN_TIME_MS && sample.timestamp_ms <= MAX_TIME_MS;
        default: return cursor.boolean(sample.end);
    }
}

// The value of a field whose name has been read. A field that comes twice is left to the full decoder.
template <typename Cursor>
bool read_field(Cursor& cursor, const FieldList& fields, const char* name, size_t name_size, Sample& sample) {
    int32_t target = sample.target_of(fields, name, name_size);
    if (target == UNKNOWN_NAME) {
        if (!is_ascii(name, name_size) || !skip(cursor)) return false;
        sample.near.meet(name, name_size);
        return true;
    }
    if (!sample.is_new(target)) return false;
    int32_t common = target - static_cast<int32_t>(fields.rules.size());
    return common < 0 ? read_rule(cursor, fields, fields.rules[target], sample) : read_common(cursor, common, sample);
}

inline bool scan_json(const char* text, size_t size, const FieldList& fields, Sample& sample) {
    JsonCursor cursor{text, text + size};
    sample.begin();
    if (!cursor.take('{')) {
        if (size < 3 || std::memcmp(text, "\xEF\xBB\xBF", 3) != 0) return false;
        cursor.at = text + 3;  // after a byte order mark
        if (!cursor.take('{')) return false;
    }
    do {
        const char* name;
        size_t name_size;
        if (!cursor.string(name, name_size) || !cursor.take(':')) return false;
        if (!read_field(cursor, fields, name, name_size, sample)) return false;
    } while (cursor.take(','));
    if (!cursor.take('}')) return false;
    cursor.skip_space();
    return (cursor.at == cursor.end || cursor.only_nuls()) && sample.finish(fields);
}

inline bool scan_msgpack(const char* bytes, size_t size, const FieldList& fields, Sample& sample) {
    auto first = reinterpret_cast<const unsigned char*>(bytes);
    MsgpackCursor cursor{first, first + size};
    sample.begin();
    int32_t left;
    if (size > fields.most_msgpack_bytes() || !cursor.open_map(left)) return false;
    for (; left > 0; --left) {
        const char* name;
        size_t name_size;
        if (!cursor.string(name, name_size)) return false;
        if (!read_field(cursor, fields, name, name_size, sample)) return false;
    }
    return cursor.at == cursor.end && sample.finish(fields);
}

}  // namespace caststream
