// How JSON text is scanned and decoded, byte by byte and eight bytes at a time; nothing here knows
// about errors.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace pyvqa::json {

inline constexpr uint64_t kOnes = 0x0101010101010101u;
inline constexpr uint64_t kTops = 0x8080808080808080u;

inline uint64_t load8(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

inline uint32_t hex4(const char* at) {
  uint32_t value = 0;
  for (int k = 0; k < 4; ++k) value = value << 4 | static_cast<uint32_t>(hex_digit(at[k]));
  return value;
}

// The first quote, backslash or control character from `at` on. Eight bytes at a time: a byte's
// top bit in `stops` is set if it is one of them; bits above the lowest may be false alarms
// (borrows), which is why only the lowest is believed.
inline const char* string_stop(const char* at, const char* end) {
  while (end - at >= 8) {
    const uint64_t word = load8(at);
    const uint64_t quote = word ^ (kOnes * '"');
    const uint64_t slash = word ^ (kOnes * '\\');
    const uint64_t stops = (((quote - kOnes) & ~quote) | ((slash - kOnes) & ~slash) |
                            ((word - kOnes * 0x20) & ~word)) &
                           kTops;
    if (stops == 0) {
      at += 8;
      continue;
    }
    if constexpr (std::endian::native == std::endian::little) {
      return at + (std::countr_zero(stops) >> 3);
    }
    break;
  }
  while (at < end && *at != '"' && *at != '\\' && static_cast<unsigned char>(*at) >= 0x20) ++at;
  return at;
}

// Bytes of the UTF-8 character at `at`, 0 if it is none (RFC 3629: no surrogates, shortest form).
inline int utf8_length(const char* at, const char* end) {
  const auto byte = [&](int k) { return static_cast<unsigned char>(at[k]); };
  const auto tail = [&](int k, unsigned low = 0x80, unsigned high = 0xBF) {
    return at + k < end && byte(k) >= low && byte(k) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;
    return tail(1, low, high) && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
    return tail(1, low, high) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

inline const char* first_invalid_utf8(const char* at, const char* end) {
  while (at < end) {
    while (end - at >= 32 &&
           ((load8(at) | load8(at + 8) | load8(at + 16) | load8(at + 24)) & kTops) == 0) {
      at += 32;
    }
    if (at == end) return nullptr;
    const int length = utf8_length(at, end);
    if (length == 0) return at;
    at += length;
  }
  return nullptr;
}

inline void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

inline char plain_escape(char c) {
  switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c;  // quote, backslash, slash
  }
}

// Whether a number that no double holds is too small rather than too large: where its first
// digit stands, seen from the decimal point.
inline bool underflows(const char* at, const char* end) {
  int64_t magnitude = 0;
  bool significant = false;
  if (*at == '-') ++at;
  for (; at < end && is_digit(*at); ++at) {
    significant |= *at != '0';
    magnitude += significant;
  }
  if (at < end && *at == '.') {
    for (++at; at < end && is_digit(*at) && !significant; ++at) {
      significant = *at != '0';
      magnitude -= !significant;
    }
    while (at < end && is_digit(*at)) ++at;
  }
  int64_t exponent = 0;
  if (at < end) {
    ++at;  // e or E
    const bool negative = *at == '-';
    if (*at == '+' || *at == '-') ++at;
    for (; at < end && exponent < (int64_t{1} << 50); ++at) exponent = exponent * 10 + (*at - '0');
    if (negative) exponent = -exponent;
  }
  return magnitude + exponent < 0;
}

}  // namespace pyvqa::json
