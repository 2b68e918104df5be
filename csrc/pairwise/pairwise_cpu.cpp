#include <algorithm>
#include <cstring>

#include "common/isa.h"
#include "pairwise/pairwise_check.h"

namespace pyvqa {
namespace {

// What a thread keeps of features of pairs: half of a second-level cache, the other half is for
// weights. Backward rows come with their gradients.
constexpr int64_t kPanelBytes = int64_t{1} << 19;
constexpr int64_t kRowsBytes = int64_t{768} << 10;
constexpr int64_t kMostTaskRegions = 16;

// Whether the avx512 kernels may multiply pairs of bfloat16, which that set does not ask for.
bool has_bfloat16_pairs() {
#if defined(__x86_64__)
  return active_isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

PairPrecision precision_of(bool wide, bool bfloat16) {
  if (wide) return PairPrecision::f64;
  if (!bfloat16) return PairPrecision::f32;
  return has_bfloat16_pairs() ? PairPrecision::pairs : PairPrecision::rounded;
}

Tensor bytes_like(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count}, ScalarType::Byte);
}

// The regions of each image that take part.
struct Members {
  std::vector<int32_t> regions;
  std::vector<int64_t> start;  // of each image, and the end

  explicit Members(const ForwardTensors& t) {
    const bool* mask = t.mask.has_value() ? t.mask->const_data_ptr<bool>() : nullptr;
    // Without a mask all images share one list.
    const int64_t lists = mask == nullptr ? 1 : t.batch;
    for (int64_t image = 0; image < lists; ++image) {
      start.push_back(static_cast<int64_t>(regions.size()));
      for (int64_t j = 0; j < t.sizes.regions; ++j)
        if (mask == nullptr || mask[image * t.sizes.regions + j])
          regions.push_back(static_cast<int32_t>(j));
    }
    start.push_back(static_cast<int64_t>(regions.size()));
  }

  ForwardTask of_image(int64_t image) const {
    const size_t list = start.size() == 2 ? 0 : static_cast<size_t>(image);
    return {image, regions.data() + start[list],
            static_cast<int32_t>(start[list + 1] - start[list]), 0, 0};
  }
};

// Fixed by the sizes alone: about as many regions as their pairs fit into a panel.
std::vector<ForwardTask> make_tasks(const ForwardTensors& t, const Members& members,
                                    int64_t pairs) {
  std::vector<ForwardTask> tasks;
  for (int64_t image = 0; image < t.batch; ++image) {
    ForwardTask task = members.of_image(image);
    if (task.member_count == 0) continue;
    const int64_t fit = std::clamp<int64_t>(pairs / task.member_count, 1, kMostTaskRegions);
    const int64_t count = (task.member_count + fit - 1) / fit;
    for (int64_t n = 0; n < count; ++n) {  // evenly
      task.first = static_cast<int32_t>(task.member_count * n / count);
      task.count = static_cast<int32_t>(task.member_count * (n + 1) / count) - task.first;
      tasks.push_back(task);
    }
  }
  return tasks;
}

void clear_masked(const ForwardTensors& t) {
  const bool* mask = t.mask->const_data_ptr<bool>();
  const int64_t outputs = t.sizes.outputs;
  const size_t bytes = static_cast<size_t>(outputs) * t.out.element_size();
  char* out = static_cast<char*>(t.out.data_ptr());
  int32_t* argmax = t.argmax.mutable_data_ptr<int32_t>();
  for (int64_t at = 0; at < t.batch * t.sizes.regions; ++at) {
    if (mask[at]) continue;
    std::memset(out + static_cast<size_t>(at) * bytes, 0, bytes);
    std::fill_n(argmax + at * outputs, outputs, -1);
  }
}

Tensor pack(const ForwardTensors& t, PairPrecision precision) {
  const Tensor packed =
      bytes_like(t.weight, PV_DISPATCH(pairwise_packed_bytes)(t.sizes, precision));
  const PackJob job{t.weight.data_ptr(), packed.data_ptr(), t.sizes, precision};
  const int64_t blocks = PV_DISPATCH(pairwise_weight_blocks)(t.sizes, precision);
  torch::stable::parallel_for(0, blocks, 8, [&](int64_t begin, int64_t end) {
    PV_DISPATCH(pairwise_pack)(job, begin, end);
  });
  return packed;
}

std::tuple<Tensor, Tensor> pairwise_max_cpu(const Tensor& left, const Tensor& right,
                                            const Tensor& weight, const std::optional<Tensor>& bias,
                                            const std::optional<Tensor>& mask,
                                            const std::vector<int64_t>& sizes,
                                            const std::vector<int64_t>& ranks,
                                            const std::vector<int64_t>& groups, bool bfloat16) {
  const ForwardTensors t(left, right, weight, bias, mask, sizes, ranks, groups, bfloat16);
  if (t.is_empty()) return {t.out, t.argmax};
  if (t.mask.has_value()) clear_masked(t);
  const PairPrecision precision = precision_of(t.wide, bfloat16);
  const Tensor packed = pack(t, precision);
  const int64_t row_bytes = (t.sizes.features + 1) * static_cast<int64_t>(t.out.element_size());
  const int64_t pairs = std::max<int64_t>(1, kPanelBytes / row_bytes);
  const Members members(t);
  const std::vector<ForwardTask> tasks = make_tasks(t, members, pairs);
  const ForwardJob job{t.layout.get(),
                       t.left.data_ptr(),
                       t.right.data_ptr(),
                       packed.data_ptr(),
                       t.bias.has_value() ? t.bias->data_ptr() : nullptr,
                       t.out.data_ptr(),
                       t.argmax.mutable_data_ptr<int32_t>(),
                       t.sizes,
                       precision,
                       std::min(pairs, t.sizes.regions)};
  int32_t most = 0;
  for (const ForwardTask& task : tasks) most = std::max(most, task.count);
  const int64_t work_bytes =
      PV_DISPATCH(pairwise_panel_bytes)(t.sizes, precision, most, job.rows, t.layout->group_count);
  torch::stable::parallel_for(
      0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
        std::vector<double> work(static_cast<size_t>(work_bytes) / sizeof(double) + 1);
        for (int64_t k = begin; k < end; ++k)
          PV_DISPATCH(pairwise_forward)(job, tasks[static_cast<size_t>(k)], work.data());
      });
  return {t.out, t.argmax};
}

// Working memory of the backward, for some regions at a time.
struct Rows {
  Tensor place, winners, counts, features, slopes, inverses;

  Rows(const BackwardTensors& t, int64_t count, int64_t rows, int64_t stride) {
    const int64_t size = static_cast<int64_t>(t.left.element_size());
    place = bytes_like(t.left, count * t.sizes.regions * 4);
    winners = bytes_like(t.left, count * rows * 4);
    counts = bytes_like(t.left, count * 4);
    features = bytes_like(t.left, count * rows * stride * size);
    slopes = bytes_like(t.left, count * rows * stride * size);
    inverses = bytes_like(t.left, count * rows * t.layout->group_count * size);
  }
};

void run_backward(const BackwardTensors& t) {
  const int64_t stride =
      (t.sizes.features + kPairRowPad - 1) / kPairRowPad * kPairRowPad + kPairRowPad;
  const int64_t rows = std::min(t.sizes.regions, t.sizes.outputs);
  const int64_t row_bytes = 2 * stride * static_cast<int64_t>(t.left.element_size());
  const int64_t threads = std::max<int64_t>(1, torch::stable::get_num_threads());
  const int64_t regions = t.batch * t.sizes.regions;
  const int64_t each = std::max<int64_t>(1, kRowsBytes / (rows * row_bytes));
  const int64_t wave = std::min(regions, each * threads);
  const Rows work(t, wave, rows, stride);
  BackwardJob job{t.layout.get(),
                  t.left.data_ptr(),
                  t.right.data_ptr(),
                  t.weight.data_ptr(),
                  t.grad.data_ptr(),
                  t.argmax.const_data_ptr<int32_t>(),
                  t.left_grad.data_ptr(),
                  t.right_grad.data_ptr(),
                  t.weight_grad.data_ptr(),
                  t.sizes,
                  t.wide,
                  0,
                  0,
                  rows,
                  stride,
                  static_cast<int32_t*>(work.place.data_ptr()),
                  static_cast<int32_t*>(work.winners.data_ptr()),
                  static_cast<int32_t*>(work.counts.data_ptr()),
                  work.features.data_ptr(),
                  work.slopes.data_ptr(),
                  work.inverses.data_ptr()};
  for (int64_t first = 0; first < regions; first += wave) {
    job.first = first;
    job.count = std::min(wave, regions - first);
    torch::stable::parallel_for(
        0, job.count, std::max<int64_t>(1, each / 2),
        [&](int64_t begin, int64_t end) { PV_DISPATCH(pairwise_slopes)(job, begin, end); });
    torch::stable::parallel_for(0, t.sizes.outputs, 64, [&](int64_t begin, int64_t end) {
      PV_DISPATCH(pairwise_weight_slopes)(job, begin, end);
    });
    const int64_t images = (first + job.count - 1) / t.sizes.regions - first / t.sizes.regions + 1;
    torch::stable::parallel_for(0, images * t.sizes.regions, 8, [&](int64_t begin, int64_t end) {
      PV_DISPATCH(pairwise_right_slopes)(job, begin, end);
    });
  }
}

std::tuple<Tensor, Tensor, Tensor> pairwise_max_backward_cpu(
    const Tensor& grad, const Tensor& left, const Tensor& right, const Tensor& weight,
    const Tensor& argmax, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ranks,
    const std::vector<int64_t>& groups) {
  const BackwardTensors t(grad, left, right, weight, argmax, sizes, ranks, groups);
  if (!t.is_empty()) run_backward(t);
  return {t.left_grad, t.right_grad, t.weight_grad};
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("pairwise_max", TORCH_BOX(&pyvqa::pairwise_max_cpu));
  m.impl("pairwise_max_backward", TORCH_BOX(&pyvqa::pairwise_max_backward_cpu));
}
