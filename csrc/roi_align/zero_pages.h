// Large zeroed results without the cost of writing them: the system's fresh pages are zeros.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyvqa {
namespace {

#if defined(__linux__)
// The large pages that lie wholly inside a piece of memory; none where it is too small to matter.
struct LargePages {
  static constexpr uintptr_t kSize = uintptr_t{1} << 21;
  uintptr_t begin, end;

  LargePages(const void* memory, size_t bytes)
      : begin((reinterpret_cast<uintptr_t>(memory) + kSize - 1) / kSize * kSize),
        end((reinterpret_cast<uintptr_t>(memory) + bytes) / kSize * kSize) {}

  bool are_few() const { return end < begin + 2 * kSize; }
  void* memory() const { return reinterpret_cast<void*>(begin); }
  size_t bytes() const { return end - begin; }
};
#endif

// Private memory that is given back reads as zeros afterwards, and only the pages that are used
// come back. Bytes set beforehand show whether it is such memory.
inline bool zero_by_pages(void* memory, size_t bytes) {
#if defined(__linux__)
  const LargePages pages(memory, bytes);
  if (pages.are_few()) return false;
  auto* first = reinterpret_cast<volatile char*>(pages.begin);
  auto* last = reinterpret_cast<volatile char*>(pages.end - 1);
  *first = 1;
  *last = 1;
  if (madvise(pages.memory(), pages.bytes(), MADV_DONTNEED) != 0) return false;
  if (*first != 0 || *last != 0) return false;
  const uintptr_t start = reinterpret_cast<uintptr_t>(memory);
  memset(memory, 0, pages.begin - start);
  memset(reinterpret_cast<void*>(pages.end), 0, start + bytes - pages.end);
  return true;
#else
  (void)memory;
  (void)bytes;
  return false;
#endif
}

inline void fill_with_zeros(void* memory, size_t bytes) {
  will_fill(memory, bytes);
  if (bytes > 0 && !zero_by_pages(memory, bytes)) memset(memory, 0, bytes);
}

}  // namespace
}  // namespace pyvqa
