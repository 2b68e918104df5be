// Counter-based randomness (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", 2011). A draw depends on (seed, stream, index, part) and its position alone, so any image
// of a data set can be made by itself, by any worker, on any platform.
#pragma once

#include <array>
#include <cstdint>

namespace pyvqa::world {

// What a sequence of draws is for: one purpose never disturbs another.
enum class Stream : uint32_t {
  layout = 1,
  objects = 2,
  questions = 3,
  wording = 4,
  light = 5,
  nothing = 6,
  nothing_wording = 7
};

class Random {
 public:
  Random(uint64_t seed, Stream stream, uint64_t index, uint32_t part = 0)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        counter_{0, part, static_cast<uint32_t>(index),
                 static_cast<uint32_t>(index >> 32) ^ static_cast<uint32_t>(stream) << 24} {}

  uint32_t bits() {
    if (used_ == 4) {
      block_ = philox();
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }

  // Uniform over 0..n-1 without bias (Lemire, "Fast random integer generation in an interval",
  // 2019).
  uint32_t below(uint32_t n) {
    uint64_t product = uint64_t{bits()} * n;
    if (static_cast<uint32_t>(product) < n) {
      const uint32_t threshold = (0u - n) % n;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{bits()} * n;
    }
    return static_cast<uint32_t>(product >> 32);
  }

  double uniform() {  // [0, 1), 53 bits
    const uint64_t high = bits() >> 5, low = bits() >> 6;
    return static_cast<double>(high << 26 | low) * 0x1p-53;
  }

  bool coin() { return (bits() >> 31) != 0; }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;

  std::array<uint32_t, 4> philox() const {
    std::array<uint32_t, 4> c = counter_;
    uint32_t k0 = key_[0], k1 = key_[1];
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
      c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    }
    return c;
  }
};

}  // namespace pyvqa::world
