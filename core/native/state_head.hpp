// The fixed part of a stored state, as it lies in the table: little-endian, without padding.
#pragma once

#include <cstdint>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "states are stored little-endian, and are copied as they lie in memory: this machine is big-endian"
#endif

namespace caststream {

struct __attribute__((packed)) StateHead {
    uint8_t version, flags, sequence_bytes, previous_bytes;
    int64_t offset, append_ms, step, timestamp_ms;
    char model[12];
    float sample[5];
};

static_assert(sizeof(StateHead) == 68, "the table's format is fixed");

}  // namespace caststream
