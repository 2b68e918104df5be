// The gradient of some regions, one whole job at a time. Only for files that are compiled once per
// instruction set.
//
// Only pairs that won an output have a gradient: of the regions j at most one for each output. A
// job's pairs are computed anew into rows, region after region; what adds up over regions is added
// in their order, whatever the threads.
#pragma once

#include "pairwise/features.h"
#include "pairwise/pairwise_kernel.h"

namespace pyvqa {
namespace {

constexpr int64_t kOutputsAtOnce = 16;  // rows of weights that stay in the cache

template <class T>
struct Backward {
  const BackwardJob& job;
  const PairSizes& sizes;

  explicit Backward(const BackwardJob& of) : job(of), sizes(of.sizes) {}

  // The region of the job that is number `n`, among those of all images.
  int64_t region(int64_t n) const { return job.first + n; }
  int64_t image_start(int64_t n) const { return region(n) / sizes.regions * sizes.regions; }
  const T* left(int64_t at) const { return static_cast<const T*>(job.left) + at * sizes.factors; }
  const T* right(int64_t at) const { return static_cast<const T*>(job.right) + at * sizes.factors; }
  T grad(int64_t n, int64_t d) const {
    return static_cast<const T*>(job.grad)[region(n) * sizes.outputs + d];
  }
  // The row of the winner of output d, or -1.
  int32_t row_of(int64_t n, int64_t d) const {
    const int32_t winner = job.argmax[region(n) * sizes.outputs + d];
    return winner < 0 || winner >= sizes.regions ? -1 : job.place[n * sizes.regions + winner];
  }
  T* row(void* rows, int64_t n, int64_t r) const {
    return static_cast<T*>(rows) + (n * job.rows + r) * job.stride;
  }
  T* inverses(int64_t n, int64_t r) const {
    return static_cast<T*>(job.inverses) + (n * job.rows + r) * job.layout->group_count;
  }
};

// Gives every winner of region n that has a gradient a row, in rising order.
template <class T>
void list_winners(const Backward<T>& of, int64_t n) {
  const BackwardJob& job = of.job;
  int32_t* place = job.place + n * of.sizes.regions;
  for (int64_t j = 0; j < of.sizes.regions; ++j) place[j] = -1;
  for (int64_t d = 0; d < of.sizes.outputs; ++d) {
    const int32_t winner = job.argmax[of.region(n) * of.sizes.outputs + d];
    if (winner >= 0 && winner < of.sizes.regions && of.grad(n, d) != T(0)) place[winner] = 0;
  }
  int32_t count = 0;
  for (int64_t j = 0; j < of.sizes.regions; ++j) {
    if (place[j] < 0) continue;
    job.winners[n * job.rows + count] = static_cast<int32_t>(j);
    place[j] = count++;
  }
  job.winner_count[n] = count;
}

template <class T>
void compute_rows(const Backward<T>& of, int64_t n) {
  const BackwardJob& job = of.job;
  for (int32_t r = 0; r < job.winner_count[n]; ++r) {
    const int64_t other = of.image_start(n) + job.winners[n * job.rows + r];
    pair_features(*job.layout, of.left(of.region(n)), of.right(other), of.row(job.features, n, r),
                  of.inverses(n, r));
    T* slopes = of.row(job.slopes, n, r);
    for (int64_t k = 0; k < job.stride; ++k) slopes[k] = T(0);
  }
}

// From the gradient of features to that of the left factors.
template <class T>
void finish_rows(const Backward<T>& of, int64_t n) {
  const BackwardJob& job = of.job;
  T* to = static_cast<T*>(job.left_grad) + of.region(n) * of.sizes.factors;
  for (int64_t f = 0; f < of.sizes.factors; ++f) to[f] = T(0);
  for (int32_t r = 0; r < job.winner_count[n]; ++r) {
    const int64_t other = of.image_start(n) + job.winners[n * job.rows + r];
    T* slopes = of.row(job.slopes, n, r);
    undo_roots(*job.layout, of.row(job.features, n, r), of.inverses(n, r), slopes);
    add_factor_slopes(*job.layout, slopes, of.right(other), to);
  }
}

template <class T>
void region_slopes(const BackwardJob& job, int64_t begin, int64_t end) {
  const Backward<T> of(job);
  const int64_t features = of.sizes.features, outputs = of.sizes.outputs;
  for (int64_t n = begin; n < end; ++n) {
    list_winners(of, n);
    compute_rows(of, n);
  }
  for (int64_t block = 0; block < outputs; block += kOutputsAtOnce) {
    const int64_t last = block + kOutputsAtOnce < outputs ? block + kOutputsAtOnce : outputs;
    for (int64_t n = begin; n < end; ++n)
      for (int64_t d = block; d < last; ++d) {
        const T grad = of.grad(n, d);
        const int32_t r = grad == T(0) ? -1 : of.row_of(n, d);
        if (r >= 0)
          add_scaled(of.row(job.slopes, n, r), grad,
                     static_cast<const T*>(job.weight) + d * features, features);
      }
  }
  for (int64_t n = begin; n < end; ++n) finish_rows(of, n);
}

template <class T>
void weight_slopes(const BackwardJob& job, int64_t begin, int64_t end) {
  const Backward<T> of(job);
  const int64_t features = of.sizes.features;
  for (int64_t d = begin; d < end; ++d) {
    T* to = static_cast<T*>(job.weight_grad) + d * features;
    for (int64_t n = 0; n < job.count; ++n) {
      const T grad = of.grad(n, d);
      const int32_t r = grad == T(0) ? -1 : of.row_of(n, d);
      if (r >= 0) add_scaled(to, grad, of.row(job.features, n, r), features);
    }
  }
}

// Unit u is region u % N of the image that is number u / N of those the job touches.
template <class T>
void right_slopes(const BackwardJob& job, int64_t begin, int64_t end) {
  const Backward<T> of(job);
  const int64_t regions = of.sizes.regions;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t image = job.first / regions + unit / regions, j = unit % regions;
    const int64_t start = image * regions - job.first, stop = start + regions;
    T* to = static_cast<T*>(job.right_grad) + (image * regions + j) * of.sizes.factors;
    for (int64_t n = start < 0 ? 0 : start; n < (stop < job.count ? stop : job.count); ++n) {
      const int32_t r = job.place[n * regions + j];
      if (r >= 0)
        add_factor_slopes(*job.layout, of.row(job.slopes, n, r), of.left(of.region(n)), to);
    }
  }
}

}  // namespace
}  // namespace pyvqa
