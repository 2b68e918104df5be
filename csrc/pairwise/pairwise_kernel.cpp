// Compiled once per instruction set.
#include "pairwise/pairwise_kernel.h"

#include "common/isa.h"
#include "pairwise/backward.h"
#include "pairwise/forward.h"

namespace pyvqa {
namespace {

// Calls f with how weights and features of a precision add up.
template <class F>
PV_HD auto for_terms(PairPrecision precision, const F& f) {
#if defined(PV_ISA_avx512)
  if (precision == PairPrecision::pairs) return f(BFloat16Pairs{});
#endif
  if (precision == PairPrecision::f64) return f(Numbers<double>{});
  return f(Numbers<float>{});
}

}  // namespace

int64_t PV_ISA_NAME(pairwise_weight_blocks)(const PairSizes& sizes, PairPrecision precision) {
  return for_terms(precision, [&]<class Terms>(Terms) { return weight_blocks<Terms>(sizes); });
}

int64_t PV_ISA_NAME(pairwise_packed_bytes)(const PairSizes& sizes, PairPrecision precision) {
  return for_terms(precision, [&]<class Terms>(Terms) {
    return weight_blocks<Terms>(sizes) * block_words<Terms>(sizes) *
           static_cast<int64_t>(sizeof(typename Terms::Word));
  });
}

int64_t PV_ISA_NAME(pairwise_panel_bytes)(const PairSizes& sizes, PairPrecision precision,
                                          int64_t nodes, int64_t rows, int64_t groups) {
  return for_terms(precision, [&]<class Terms>(Terms) {
    return panel_bytes<Terms>(sizes, nodes, rows, groups);
  });
}

void PV_ISA_NAME(pairwise_pack)(const PackJob& job, int64_t begin, int64_t end) {
  for_terms(job.precision, [&]<class Terms>(Terms) { pack_weights<Terms>(job, begin, end); });
}

void PV_ISA_NAME(pairwise_forward)(const ForwardJob& job, const ForwardTask& task, void* work) {
  for_terms(job.precision, [&]<class Terms>(Terms) { largest_outputs<Terms>(job, task, work); });
}

void PV_ISA_NAME(pairwise_slopes)(const BackwardJob& job, int64_t begin, int64_t end) {
  if (job.wide) return region_slopes<double>(job, begin, end);
  return region_slopes<float>(job, begin, end);
}

void PV_ISA_NAME(pairwise_weight_slopes)(const BackwardJob& job, int64_t begin, int64_t end) {
  if (job.wide) return weight_slopes<double>(job, begin, end);
  return weight_slopes<float>(job, begin, end);
}

void PV_ISA_NAME(pairwise_right_slopes)(const BackwardJob& job, int64_t begin, int64_t end) {
  if (job.wide) return right_slopes<double>(job, begin, end);
  return right_slopes<float>(job, begin, end);
}

}  // namespace pyvqa
