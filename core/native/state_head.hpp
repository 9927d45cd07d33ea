// The fixed part of a stored state, as it lies in the table: little-endian, without padding. Nothing else in the
// product knows this layout: states.pyx writes and reads it.
#pragma once

#include <cstdint>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "states are stored little-endian, and are copied as they lie in memory: this machine is big-endian"
#endif

namespace caststream {

enum StateVersion : uint8_t { PLAIN_STATE = 1, EXTENDED_STATE = 2 };
enum StateFlags : uint8_t { CLOSED_STATE = 1, HAS_PREVIOUS_STATE = 2 };

struct __attribute__((packed)) StateHead {
    uint8_t version, flags, sequence_bytes, previous_bytes;
    int64_t offset, append_ms, step, timestamp_ms;
    char model[12];
    float sample[5];
};

// Follows on the head of an extended state, which is written where there is a gap or a step back.
struct __attribute__((packed)) StateExtension {
    int64_t gap_first, gap_end, back_step, back_ms, applied_offset;
};

static_assert(sizeof(StateHead) == 68, "the table's format is fixed");
static_assert(sizeof(StateExtension) == 40, "the table's format is fixed");

}  // namespace caststream
