// What the fuzz targets share. Each target is one LLVMFuzzerTestOneInput, driven by libFuzzer or,
// where that is missing, by driver.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace pyvqa::fuzz {

// Ends the process where something that must hold does not.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Takes decisions out of the input, byte by byte; zeros once it is used up.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  uint8_t byte() { return at_ < end_ ? *at_++ : uint8_t{0}; }

  template <class T>
  T value() {
    T out{};
    uint8_t raw[sizeof(T)];
    for (uint8_t& b : raw) b = byte();
    std::memcpy(&out, raw, sizeof(T));
    return out;
  }

  // An integer in [0, limit); limit > 0.
  int64_t below(int64_t limit) {
    const uint64_t raw = limit <= 256 ? byte() : value<uint32_t>();
    return static_cast<int64_t>(raw % static_cast<uint64_t>(limit));
  }

  bool flip() { return (byte() & 1) != 0; }
  bool empty() const { return at_ == end_; }

  std::string_view text(size_t most) {
    const size_t left = static_cast<size_t>(end_ - at_);
    const size_t size = most < left ? most : left;
    const std::string_view out(reinterpret_cast<const char*>(at_), size);
    at_ += size;
    return out;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

}  // namespace pyvqa::fuzz
