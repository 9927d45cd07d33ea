// The fixed parts of a stored window, as they lie in the table: little-endian, without padding.
#pragma once

#include <cstdint>

#include "state_head.hpp"

namespace caststream {

constexpr uint8_t SEGMENT_VERSION = 1;

// Before the steps and the samples of a segment.
struct __attribute__((packed)) SegmentStart {
    uint8_t version, unused[3];
    uint32_t samples;
};

// Before the numbers of the segments that a window needs, int64 each; it stands behind a state's head.
struct __attribute__((packed)) WindowBody {
    int64_t count;
    uint32_t segments;
};

static_assert(sizeof(SegmentStart) == 8, "the table's format is fixed");
static_assert(sizeof(WindowBody) == 12, "the table's format is fixed");

}  // namespace caststream
