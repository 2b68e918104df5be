// Compiled once per instruction set.
#include "roi_align/roi_align_kernel.h"

#include "common/isa.h"
#include "roi_align/channels.h"
#include "roi_align/planes.h"

namespace pyvqa {
namespace {

template <class T>
void widen_window(const Transfer& t) {
  using A = typename Wide<T>::type;
  for (int64_t c = 0; c < t.channels; ++c)
    for (int64_t y = 0; y < t.rows; ++y)
      for (int64_t x = 0; x < t.columns; ++x)
        static_cast<A*>(
            t.wide.data)[c * t.wide.channel + y * t.wide.row + x * t.wide.column] =
            widen(static_cast<const T*>(
                t.stored.data)[c * t.stored.channel + y * t.stored.row + x * t.stored.column]);
}

template <class T>
void add_window(const Transfer& t) {
  using A = typename Wide<T>::type;
  for (int64_t c = 0; c < t.channels; ++c)
    for (int64_t y = 0; y < t.rows; ++y)
      for (int64_t x = 0; x < t.columns; ++x) {
        T& to = static_cast<T*>(
            t.stored.data)[c * t.stored.channel + y * t.stored.row + x * t.stored.column];
        narrow(widen(to) + static_cast<const A*>(t.wide.data)[c * t.wide.channel +
                                                              y * t.wide.row + x * t.wide.column],
               to);
      }
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
