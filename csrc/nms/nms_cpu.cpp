#include <memory>
#include <vector>

#include "common/isa.h"
#include "nms/nms_check.h"
#include "nms/nms_kernel.h"
#include "nms/sort.h"

namespace pyvqa {
namespace {

constexpr int64_t kGrain = 2048;     // boxes worth a thread of their own
constexpr int64_t kGridFrom = 1024;  // up to here a look at all kept boxes is faster
static_assert(kGridFrom <= kNmsMostEarly);

// Which boxes stay, by rank. One block of memory: the sorts and then the kernel work in its end.
class Suppression {
 public:
  Suppression(const NmsTensors& tensors, double threshold, bool inclusive, bool equal)
      : count_(tensors.count), grouped_(tensors.idxs.has_value()) {
    const int64_t number = tensors.wide ? sizeof(double) : sizeof(float);
    const int64_t work = larger(kNmsNumbersPerBox * number, int64_t{2 * sizeof(uint64_t)});
    const int64_t ranks = grouped_ ? int64_t{sizeof(int32_t)} : 0;
    const int64_t each = work + int64_t{sizeof(int32_t)} + ranks + 1;
    memory_.reset(new char[static_cast<size_t>(each * count_)]);
    work_ = memory_.get();
    order_ = reinterpret_cast<int32_t*>(work_ + work * count_);
    ranks_ = grouped_ ? order_ + count_ : nullptr;
    stays_ = reinterpret_cast<uint8_t*>(order_ + (grouped_ ? 2 : 1) * count_);
    sort(tensors);
    const Rule<float> narrow = rule_of<float>(threshold, inclusive, equal);
    const Rule<double> wide = rule_of<double>(threshold, inclusive, equal);
    const void* rule = tensors.wide ? static_cast<const void*>(&wide) : &narrow;
    run({tensors.boxes.const_data_ptr(), order_, ranks_, group_end_.data(), rule, tensors.wide,
         kGridFrom, stays_, work_, nullptr});
  }

  int64_t kept() const {
    int64_t sum = 0;
    for (int64_t r = 0; r < count_; ++r) sum += stays_[r];
    return sum;
  }

  // The `kept` boxes that stay, in order of their scores or of their indices.
  void write(int64_t* keep, int64_t kept, bool input_order) {
    if (input_order) return write_in_input_order(keep, kept);
    for (int64_t r = 0, k = 0; k < kept; ++r) {
      keep[k] = order_[r];
      k += stays_[r];
    }
  }

 private:
  int64_t count_;
  bool grouped_;
  std::unique_ptr<char[]> memory_;
  char* work_;
  int32_t* order_;
  int32_t* ranks_;
  uint8_t* stays_;
  std::vector<int32_t> group_end_;

  uint64_t* pairs() const { return reinterpret_cast<uint64_t*>(work_); }

  void sort(const NmsTensors& tensors) {
    tensors.for_score_type([&]<class T>(const T*) {
      const T* scores = tensors.scores.const_data_ptr<T>();
      copy_positions(sort_scores(scores), order_);
    });
    if (grouped_) group(tensors.idxs->const_data_ptr<int64_t>());
    else group_end_.assign(1, static_cast<int32_t>(count_));
  }

  uint64_t* sort_scores(const float* scores) const {
    uint64_t* const all = pairs();
    for (int64_t i = 0; i < count_; ++i) all[i] = pair_of(rank_key(scores[i]), i);
    return sort_pairs(all, all + count_, count_);
  }
  uint64_t* sort_scores(const double* scores) const {
    return sort_wide([scores](int64_t i) { return rank_key(scores[i]); }, pairs(), pairs() + count_,
                     count_);
  }

  void copy_positions(const uint64_t* sorted, int32_t* to) const {
    for (int64_t i = 0; i < count_; ++i) to[i] = position_of(sorted[i]);
  }

  // The ranks group by group; within a group they ascend.
  void group(const int64_t* idxs) {
    int64_t least = idxs[0], most = idxs[0];
    for (int64_t i = 1; i < count_; ++i) {
      least = smaller(least, idxs[i]);
      most = larger(most, idxs[i]);
    }
    const auto key_at = [this, idxs, least](int64_t rank) {
      return static_cast<uint64_t>(idxs[order_[rank]]) - static_cast<uint64_t>(least);
    };
    uint64_t* sorted = pairs();
    const uint64_t range = static_cast<uint64_t>(most) - static_cast<uint64_t>(least);
    if (range >> 32 != 0) {
      sorted = sort_wide(key_at, sorted, sorted + count_, count_);
    } else {
      for (int64_t r = 0; r < count_; ++r) sorted[r] = pair_of(static_cast<uint32_t>(key_at(r)), r);
      sorted = sort_pairs(sorted, sorted + count_, count_);
    }
    copy_positions(sorted, ranks_);
    const auto is_end = [this, key_at](int64_t place) {
      return place == count_ || key_at(ranks_[place]) != key_at(ranks_[place - 1]);
    };
    size_t groups = 0;  // counted first: a vector that grows takes several times its size
    for (int64_t place = 1; place <= count_; ++place) groups += is_end(place);
    group_end_.reserve(groups);
    for (int64_t place = 1; place <= count_; ++place)
      if (is_end(place)) group_end_.push_back(static_cast<int32_t>(place));
  }

  void run(const NmsJob& job) const {
    const int64_t groups = static_cast<int64_t>(group_end_.size());
    const int64_t grain = larger<int64_t>(1, groups * kGrain / count_);
    const auto kernel = PV_DISPATCH(nms_groups);
    if (grain >= groups) return kernel(job, 0, groups);
    torch::stable::parallel_for(0, groups, grain,
                                [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
  }

  void write_in_input_order(int64_t* keep, int64_t kept) const {
    uint8_t* const by_index = reinterpret_cast<uint8_t*>(work_);
    for (int64_t r = 0; r < count_; ++r) by_index[order_[r]] = stays_[r];
    for (int64_t i = 0, k = 0; k < kept; ++i) {
      keep[k] = i;
      k += by_index[i];
    }
  }
};

Tensor nms_cpu(const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs,
               double iou_threshold, bool inclusive, bool suppress_equal, bool input_order) {
  const NmsTensors tensors(boxes, scores, idxs);
  if (tensors.count == 0) return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  Suppression done(tensors, iou_threshold, inclusive, suppress_equal);
  const int64_t kept = done.kept();
  const Tensor keep = torch::stable::new_empty(boxes, {kept}, ScalarType::Long);
  done.write(keep.mutable_data_ptr<int64_t>(), kept, input_order);
  return keep;
}

std::tuple<Tensor, Tensor> nms_padded_cpu(const Tensor& boxes, const Tensor& scores,
                                          const std::optional<Tensor>& idxs, double iou_threshold,
                                          bool inclusive, bool suppress_equal, bool input_order) {
  const NmsTensors tensors(boxes, scores, idxs);
  const Tensor keep = torch::stable::new_empty(boxes, {tensors.count}, ScalarType::Long);
  const Tensor count = torch::stable::new_empty(boxes, {}, ScalarType::Long);
  int64_t kept = 0;
  if (tensors.count > 0) {
    Suppression done(tensors, iou_threshold, inclusive, suppress_equal);
    kept = done.kept();
    int64_t* const at = keep.mutable_data_ptr<int64_t>();
    done.write(at, kept, input_order);
    for (int64_t k = kept; k < tensors.count; ++k) at[k] = -1;
  }
  *count.mutable_data_ptr<int64_t>() = kept;
  return {keep, count};
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("nms", TORCH_BOX(&pyvqa::nms_cpu));
  m.impl("nms_padded", TORCH_BOX(&pyvqa::nms_padded_cpu));
}
