// Numbers as JSON text: the shortest that gives the same number again, never without a "." or an "e", so that a reader
// that tells whole numbers from others takes it for what it is.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>

namespace caststream {

inline char* put_text(char* out, float value) {
    char* end = std::to_chars(out, out + 32, value).ptr;
    for (char* at = out; at < end; ++at) {
        if (*at == '.' || *at == 'e') return end;
    }
    std::memcpy(end, ".0", 2);
    return end + 2;
}

// As msgspec writes a double: with an exponent below 1e-5 and from 1e16 on.
inline char* put_text(char* out, double value) {
    char shortest[40];  // d.ddde-123
    char* end = std::to_chars(shortest, shortest + sizeof(shortest), value, std::chars_format::scientific).ptr;
    char* mark = static_cast<char*>(std::memchr(shortest, 'e', end - shortest));
    int exponent = 0;
    std::from_chars(mark[1] == '+' ? mark + 2 : mark + 1, end, exponent);
    const char* at = shortest;
    if (*at == '-') *out++ = *at++;
    if (exponent < -5 || exponent >= 16) {
        out = static_cast<char*>(std::memcpy(out, at, mark - at)) + (mark - at);
        *out++ = 'e';
        return std::to_chars(out, out + 8, exponent).ptr;
    }
    char digits[24];
    int count = 0;
    for (; at < mark; ++at) {
        if (*at != '.') digits[count++] = *at;
    }
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        for (int i = -1; i > exponent; --i) *out++ = '0';
    }
    for (int i = 0; i < count || i <= exponent; ++i) {
        *out++ = i < count ? digits[i] : '0';
        if (i == exponent) *out++ = '.';
    }
    if (out[-1] == '.') *out++ = '0';
    return out;
}

}  // namespace caststream
