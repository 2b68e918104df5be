// Compiled once per instruction set.
#include "roi_align/roi_align_kernel.h"

#include "common/isa.h"
#include "roi_align/channels.h"
#include "roi_align/planes.h"

namespace pyvqa {
namespace {

// Calls run(place in wide, place in stored, stride in stored, count) for all runs of values that
// lie together in `wide`. Channels come a few at a time: so many rows of `stored` stay in the
// cache.
template <class F>
PV_HD void for_each_run(const Transfer& t, const F& run) {
  const Window &w = t.wide, &s = t.stored;
  if (w.channel != 1 || w.column == 1) {
    for (int64_t c = 0; c < t.channels; ++c)
      for (int64_t y = 0; y < t.rows; ++y)
        run(c * w.channel + y * w.row, c * s.channel + y * s.row, s.column, t.columns);
    return;
  }
  const int64_t block = s.channel == 1 ? t.channels : 32;
  for (int64_t c = 0; c < t.channels; c += block)
    for (int64_t y = 0; y < t.rows; ++y)
      for (int64_t x = 0; x < t.columns; ++x)
        run(c + y * w.row + x * w.column, c * s.channel + y * s.row + x * s.column, s.channel,
            t.channels - c < block ? t.channels - c : block);
}

template <class T>
void widen_window(const Transfer& t) {
  using A = typename Wide<T>::type;
  for_each_run(t, [&](int64_t wide, int64_t stored, int64_t stride, int64_t count) {
    A* to = static_cast<A*>(t.wide.data) + wide;
    const T* from = static_cast<const T*>(t.stored.data) + stored;
    if (stride == 1) {
      for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i * stride]);
    }
  });
}

template <class T>
void add_window(const Transfer& t) {
  using A = typename Wide<T>::type;
  for_each_run(t, [&](int64_t wide, int64_t stored, int64_t stride, int64_t count) {
    const A* from = static_cast<const A*>(t.wide.data) + wide;
    T* to = static_cast<T*>(t.stored.data) + stored;
    if (stride == 1) {
      for (int64_t i = 0; i < count; ++i) narrow(widen(to[i]) + from[i], to[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) narrow(widen(to[i * stride]) + from[i], to[i * stride]);
    }
  });
}

}  // namespace

void PV_ISA_NAME(roi_forward_channels)(const Resample& r) {
  switch (r.storage) {
    case Storage::f32: return write_channels<float>(r);
    case Storage::f64: return write_channels<double>(r);
    case Storage::bf16: return write_channels<BFloat16>(r);
    default: return write_channels<Half>(r);
  }
}

void PV_ISA_NAME(roi_forward_planes)(const Resample& r) {
  switch (r.storage) {
    case Storage::f32: return forward_planes<float>(r);
    case Storage::f64: return forward_planes<double>(r);
    case Storage::bf16: return forward_planes<BFloat16>(r);
    default: return forward_planes<Half>(r);
  }
}

void PV_ISA_NAME(roi_backward_channels)(const Resample& r) {
  if (r.storage == Storage::f64) return add_channels<double>(r);
  return add_channels<float>(r);
}

void PV_ISA_NAME(roi_backward_planes)(const Resample& r) {
  if (r.storage == Storage::f64) return backward_planes<double>(r);
  return backward_planes<float>(r);
}

void PV_ISA_NAME(roi_widen)(const Transfer& t) {
  switch (t.storage) {
    case Storage::f32: return widen_window<float>(t);
    case Storage::f64: return widen_window<double>(t);
    case Storage::bf16: return widen_window<BFloat16>(t);
    default: return widen_window<Half>(t);
  }
}

void PV_ISA_NAME(roi_add)(const Transfer& t) {
  switch (t.storage) {
    case Storage::f32: return add_window<float>(t);
    case Storage::f64: return add_window<double>(t);
    case Storage::bf16: return add_window<BFloat16>(t);
    default: return add_window<Half>(t);
  }
}

}  // namespace pyvqa
