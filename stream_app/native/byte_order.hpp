// Numbers in Kafka's byte order, big-endian, at any address.
#pragma once

#include <type_traits>

namespace caststream {

template <typename T>
inline T load(const char* at) {
    std::make_unsigned_t<T> bits = 0;
    for (unsigned i = 0; i < sizeof(T); ++i) bits = bits << 8 | static_cast<unsigned char>(at[i]);
    return static_cast<T>(bits);
}

template <typename T>
inline void store(char* at, T number) {
    auto bits = static_cast<std::make_unsigned_t<T>>(number);
    for (unsigned i = 0; i < sizeof(T); ++i) at[i] = static_cast<char>(bits >> 8 * (sizeof(T) - 1 - i));
}

// Returns where the next number goes.
template <typename T>
inline char* put(char* at, T number) {
    store(at, number);
    return at + sizeof(T);
}

}  // namespace caststream
