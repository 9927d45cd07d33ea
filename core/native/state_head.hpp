// The fixed part of a stored state, as it lies in the table: little-endian, without padding. Nothing else in the
// product knows this layout: states.pyx writes and reads it.
#pragma once

#include <cstdint>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "states are stored little-endian, and are copied as they lie in memory: this machine is big-endian"
#endif

namespace caststream {

enum StateVersion : uint8_t { PLAIN_STATE = 1, EXTENDED_STATE = 2, WIDE_STATE = 3 };
enum StateFlags : uint8_t { CLOSED_STATE = 1, HAS_PREVIOUS_STATE = 2, HAS_EXTENSION_STATE = 4 };

// What every state begins with. The last sample follows: five float32 in versions 1 and 2; in version 3, for samples
// of another width or with larger numbers, how many there are (uint32) and so many float32, none where nothing needs them.
struct __attribute__((packed)) StateHead {
    uint8_t version, flags, sequence_bytes, previous_bytes;
    int64_t offset, append_ms, step, timestamp_ms;
    char model[12];
};

// Follows on the sample of a state of version 2, and of one of version 3 with that flag: there is a gap or a step back.
struct __attribute__((packed)) StateExtension {
    int64_t gap_first, gap_end, back_step, back_ms, applied_offset;
};

// Of a sample in versions 1 and 2: how many numbers, and the largest.
constexpr int PLAIN_WIDTH = 5;
constexpr float MAX_PLAIN_VALUE = 1e6f;

static_assert(sizeof(StateHead) == 48, "the table's format is fixed");
static_assert(sizeof(StateExtension) == 40, "the table's format is fixed");

}  // namespace caststream
