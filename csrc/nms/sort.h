// Stable radix sort of (key, position) pairs by 32-bit keys; larger keys are sorted in two steps.
#pragma once

#include <array>
#include <cstdint>

namespace pyvqa {
namespace {

constexpr uint64_t pair_of(uint32_t key, int64_t position) {
  return uint64_t{key} << 32 | static_cast<uint64_t>(position);
}
constexpr int32_t position_of(uint64_t pair) { return static_cast<int32_t>(pair & 0x7fffffffu); }
constexpr uint32_t key_of(uint64_t pair) { return static_cast<uint32_t>(pair >> 32); }

inline bool is_sorted(const uint64_t* pairs, int64_t count) {
  for (int64_t i = 1; i < count; ++i)
    if (key_of(pairs[i]) < key_of(pairs[i - 1])) return false;
  return true;
}

template <int kBits>
uint64_t* sort_by_digits(uint64_t* pairs, uint64_t* spare, int64_t count) {
  constexpr int kDigits = (32 + kBits - 1) / kBits;
  constexpr uint32_t kValues = 1u << kBits;
  std::array<std::array<uint32_t, kValues>, kDigits> places{};
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t key = key_of(pairs[i]);
    for (int d = 0; d < kDigits; ++d) ++places[d][key >> (d * kBits) & (kValues - 1)];
  }
  for (int d = 0; d < kDigits; ++d) {
    auto digit = [d](uint64_t pair) { return key_of(pair) >> (d * kBits) & (kValues - 1); };
    if (places[d][digit(pairs[0])] == static_cast<uint32_t>(count)) continue;  // all have the same
    uint32_t next = 0;
    for (uint32_t& place : places[d]) {
      const uint32_t many = place;
      place = next;
      next += many;
    }
    for (int64_t i = 0; i < count; ++i) spare[places[d][digit(pairs[i])]++] = pairs[i];
    uint64_t* const done = spare;
    spare = pairs;
    pairs = done;
  }
  return pairs;
}

// Sorts by key, keeping the order of equal ones; the result is in one of the two arrays.
inline uint64_t* sort_pairs(uint64_t* pairs, uint64_t* spare, int64_t count) {
  constexpr int64_t kMany = 4096;  // from here on, fewer passes pay for longer tables
  if (is_sorted(pairs, count)) return pairs;
  return count < kMany ? sort_by_digits<8>(pairs, spare, count)
                       : sort_by_digits<11>(pairs, spare, count);
}

// Sorts the positions from 0 to `count` by a 64-bit key each.
template <class Key>
uint64_t* sort_wide(const Key& key_at, uint64_t* pairs, uint64_t* spare, int64_t count) {
  for (int64_t i = 0; i < count; ++i) pairs[i] = pair_of(static_cast<uint32_t>(key_at(i)), i);
  uint64_t* sorted = sort_pairs(pairs, spare, count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t position = position_of(sorted[i]);
    sorted[i] = pair_of(static_cast<uint32_t>(key_at(position) >> 32), position);
  }
  return sort_pairs(sorted, sorted == pairs ? spare : pairs, count);
}

}  // namespace
}  // namespace pyvqa
