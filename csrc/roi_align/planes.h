// Resampling plane by plane, where the pixels of a row lie side by side: one direction is summed
// over whole rows, the other within a row. Only for files that are compiled once per instruction
// set.
#pragma once

#include "roi_align/packs.h"
#include "roi_align/roi_align_kernel.h"

#if defined(PV_ISA_avx512)
#include "roi_align/lanes.h"
#endif

namespace pyvqa {
namespace {

template <class A>
PV_HD void clear(A* at, int32_t count) {
  for (int32_t x = 0; x < count; ++x) at[x] = 0;
}

template <class T, class A>
PV_HD void add_row(const T* from, int64_t stride, A weight, int32_t count, A* sum) {
  if (stride == 1) {
    for (int32_t x = 0; x < count; ++x) sum[x] += weight * widen(from[x]);
  } else {
    for (int32_t x = 0; x < count; ++x) sum[x] += weight * widen(from[x * stride]);
  }
}

// sum over the entries of place j of their weights times line[index - first].
template <class A>
PV_HD A mixed(const Table<A>& table, int32_t j, const A* line, int32_t first) {
  A sum = 0;
  for (int32_t e = table.begin[j]; e < table.begin[j + 1]; ++e)
    sum += table.entries[e].weight * line[table.entries[e].index - first];
  return sum;
}

// Rows first: a bin's rows become one line, and its columns are mixed out of that.
template <class T>
void forward_planes(const Resample& r) {
  using A = typename Wide<T>::type;
  const Table<A>& rows = *static_cast<const Table<A>*>(r.rows);
  const Table<A>& columns = *static_cast<const Table<A>*>(r.columns);
#if defined(PV_ISA_avx512)
  if constexpr (sizeof(A) == sizeof(float))
    if (lanes_suit(r)) return forward_lanes<T>(r);
#endif
  A* line = static_cast<A*>(r.work);
  for (int64_t c = 0; c < r.channels; ++c) {
    const T* plane =
        static_cast<const T*>(r.from.data) + c * r.from.channel + r.first_column * r.from.column;
    for (int32_t i = 0; i < rows.size; ++i) {
      clear(line, r.column_span);
      for (int32_t e = rows.begin[i]; e < rows.begin[i + 1]; ++e)
        add_row(plane + rows.entries[e].index * r.from.row, r.from.column, rows.entries[e].weight,
                r.column_span, line);
      T* to = static_cast<T*>(r.to.data) + c * r.to.channel + i * r.to.row;
      const bool empty = rows.begin[i] == rows.begin[i + 1];
      for (int32_t j = 0; j < columns.size; ++j)
        narrow(empty ? A(0) : mixed(columns, j, line, r.first_column), to[j * r.to.column]);
    }
  }
}

// Columns first: the few rows of bins are stretched to the width of the window, then added to its
// rows.
template <class A>
void backward_planes(const Resample& r) {
  const Table<A>& rows = *static_cast<const Table<A>*>(r.rows);
  const Table<A>& columns = *static_cast<const Table<A>*>(r.columns);
  A* lines = static_cast<A*>(r.work);
  int32_t first = INT32_MAX, last = -1;
  for (int32_t e = rows.begin[0]; e < rows.begin[rows.size]; ++e) {
    first = rows.entries[e].index < first ? rows.entries[e].index : first;
    last = rows.entries[e].index > last ? rows.entries[e].index : last;
  }
  if (last < first) return;
#if defined(PV_ISA_avx512)
  if constexpr (sizeof(A) == sizeof(float))
    if (lanes_suit(r)) return backward_lanes(r, first, last);
#endif
  for (int64_t c = 0; c < r.channels; ++c) {
    const A* plane = static_cast<const A*>(r.from.data) + c * r.from.channel;
    for (int32_t a = first; a <= last; ++a)
      for (int32_t j = 0; j < columns.size; ++j)
        lines[int64_t{a - first} * columns.size + j] = mixed(columns, j, plane + a * r.from.row, 0);
    for (int32_t i = 0; i < rows.size; ++i) {
      A* to = static_cast<A*>(r.to.data) + c * r.to.channel + i * r.to.row;
      for (int32_t e = rows.begin[i]; e < rows.begin[i + 1]; ++e)
        add_row(lines + int64_t{rows.entries[e].index - first} * columns.size, 1,
                rows.entries[e].weight, columns.size, to);
    }
  }
}

}  // namespace
}  // namespace pyvqa
