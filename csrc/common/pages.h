// Fresh memory that is about to be written whole.
//
// The system hands out pages at their first touch, 4 KB at a time, which for large results takes
// longer than computing them. Where it has larger pages on request, ask.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyvqa {
namespace {

// Asks for large pages in the part of [data, data + bytes) that consists of whole ones. Only
// advice: nothing is read or written, and a refusal changes nothing.
inline void will_fill([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{1} << 21;
  if (bytes < 2 * kPage) return;
  const uintptr_t start = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (start + kPage - 1) & ~(kPage - 1), last = (start + bytes) & ~(kPage - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace
}  // namespace pyvqa
