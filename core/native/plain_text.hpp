// What both formats' readers need to know of texts and whole numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace caststream {

constexpr int64_t MAX_INTEGER = (int64_t(1) << 53) - 1;

inline bool is_ascii(const char* text, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        if (static_cast<unsigned char>(text[i]) >= 0x80) return false;
    }
    return true;
}

}  // namespace caststream
