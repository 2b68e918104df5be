// The gradient of the maps: every pixel gathers from the bins that it is part of, region after
// region in one order, whatever the number of threads. No two threads write to one pixel.
#include "common/isa.h"
#include "roi_align/plan.h"
#include "roi_align/windows.h"
#include "roi_align/zero_pages.h"

namespace pyvqa {
namespace {

constexpr int64_t kWorkBytes = int64_t{1} << 19;  // a thread's buffer: half of an L2 cache
constexpr int64_t kPlanes = 8;                    // planes that a group of regions is added to
constexpr int64_t kPlaneGroup = 512;              // regions of such a group
constexpr int64_t kChannelUnit = 16;              // channels of a cache line
constexpr int64_t kBufferUnits = 2;               // of those are summed in a buffer

// Some channels of some rows of one map, and the regions on it.
struct GradientTask {
  const RegionPlace* places;
  int64_t count;
  int64_t channel, channels, row, rows;
};

template <class A>
class Scatter {
 public:
  Scatter(const RoiJob& job, const Tensor& pooled)
      : job_(job), storage_(storage_of(pooled)), element_size_(pooled.element_size()) {}

  void run(const GradientTask& task) {
    task_ = task;
    level_ = &job_.levels[task.places[0].map / job_.images];
    image_ = task.places[0].map % job_.images;
    by_channels_ = level_->channel == 1 && job_.channels > 1;
    const bool in_place = writes_in_place(*level_, storage_);
    bool touched = in_place;
    if (in_place) {
      target_ = map_window(*level_, element_size_, image_, task.channel);
    } else {
      target_ = buffer_window();
    }
    const int64_t group = by_channels_ ? kGroup : kPlaneGroup;
    for (int64_t k = 0; k < task.count; k += group) {
      make_plans(task.places + k, std::min(group, task.count - k));
      if (plans_.empty()) continue;
      if (!touched) buffer_.assign(task.rows * task.channels * level_->width, A(0));
      if (!touched) target_.data = buffer_.data();
      touched = true;
      add_group();
    }
    if (touched && !in_place) flush();
  }

  // Whether gradients are summed where they are stored: not 16-bit ones, which would be rounded
  // after every region, and only in layouts that the kernels write.
  static bool writes_in_place(const RoiLevel& level, Storage storage) {
    const bool wide = storage == Storage::f32 || storage == Storage::f64;
    return wide && (level.channel == 1 || level.column == 1);
  }

 private:
  Window buffer_window() const {
    const int64_t width = level_->width;
    if (by_channels_) return {nullptr, 1, width * task_.channels, task_.channels};
    return {nullptr, task_.rows * width, width, 1};
  }

  void make_plans(const RegionPlace* places, int64_t count) {
    arena_.clear();
    plans_.clear();
    for (int64_t i = 0; i < count; ++i) {
      Region<A> region;
      if (!make_region(job_, places[i].roi, region)) continue;
      int32_t top, bottom;
      if (!reach_of_axis(region.y, top, bottom)) continue;
      if (bottom < task_.row || top >= task_.row + task_.rows) continue;
      RegionPlan plan{places[i].roi, region.image, region.level, arena_.bins_of_pixels(region.y),
                      arena_.bins_of_pixels(region.x)};
      const bool meets = !plan.is_empty() && plan.rows.last >= task_.row &&
                         plan.rows.first < task_.row + task_.rows;
      if (!meets) continue;
      if (!by_channels_ && active_isa() == Isa::avx512) arena_.add_lanes(plan.columns, 0);
      plans_.push_back(plan);
    }
  }

  void add_group() {
    const int64_t step = by_channels_ ? task_.channels : std::min(kPlanes, task_.channels);
    for (int64_t c = 0; c < task_.channels; c += step)
      for (const RegionPlan& plan : plans_) add(plan, c, std::min(step, task_.channels - c));
  }

  void add(const RegionPlan& plan, int64_t channel, int64_t channels) {
    const int64_t first = std::max(task_.row, int64_t{plan.rows.first});
    const int64_t end = std::min(task_.row + task_.rows, int64_t{plan.rows.last} + 1);
    Table<A> rows = arena_.table(plan.rows);
    rows.begin += first - plan.rows.first;
    rows.size = static_cast<int32_t>(end - first);
    const Table<A> columns = arena_.table(plan.columns);
    Resample r{};
    r.from = cells(plan, channel, channels);
    r.to = shifted(target_, sizeof(A),
                   channel * target_.channel + (first - target_row()) * target_.row +
                       plan.columns.first * target_.column);
    r.rows = &rows;
    r.columns = &columns;
    r.column_lanes = arena_.lane_table(plan.columns);
    r.column_span = job_.bins_wide;
    r.channels = channels;
    r.storage = sizeof(A) == sizeof(double) ? Storage::f64 : Storage::f32;
    if (by_channels_) {
      PV_DISPATCH(roi_backward_channels)(r);
    } else {
      const size_t line = (columns.size + 15) / 16 * 16;
      if (work_.size() < line * job_.bins_high) work_.resize(line * job_.bins_high);
      r.work = work_.data();
      PV_DISPATCH(roi_backward_planes)(r);
    }
  }

  // In place, rows are counted from the top of the map, in the buffer from the task's first.
  int64_t target_row() const { return writes_in_place(*level_, storage_) ? 0 : task_.row; }

  // The gradient of a region's cells in the order and the type that the kernel reads.
  Window cells(const RegionPlan& plan, int64_t channel, int64_t channels) {
    const Window stored = cell_window(job_.cells, element_size_, plan.roi, task_.channel + channel);
    const bool fits = by_channels_ ? stored.channel == 1 : stored.column == 1;
    if (fits && element_size_ == sizeof(A)) return stored;
    const int64_t count = int64_t{job_.bins_high} * job_.bins_wide;
    cells_.resize(count * channels);
    Transfer t{stored, {}, channels, job_.bins_high, job_.bins_wide, storage_};
    t.wide = by_channels_ ? Window{cells_.data(), 1, job_.bins_wide * channels, channels}
                          : Window{cells_.data(), count, job_.bins_wide, 1};
    PV_DISPATCH(roi_widen)(t);
    return t.wide;
  }

  void flush() {
    Transfer t{map_window(*level_, element_size_, image_, task_.channel),
               target_,
               task_.channels,
               task_.rows,
               level_->width,
               storage_};
    t.stored = shifted(t.stored, element_size_, task_.row * level_->row);
    PV_DISPATCH(roi_add)(t);
  }

  const RoiJob& job_;
  const Storage storage_;
  const size_t element_size_;
  GradientTask task_{};
  const RoiLevel* level_ = nullptr;
  int64_t image_ = 0;
  bool by_channels_ = false;
  Window target_{};
  PlanArena<A> arena_;
  std::vector<RegionPlan> plans_;
  std::vector<A> buffer_, cells_, work_;
};

// Cuts one map into tasks: its channels among the threads and, where a buffer is summed in, so that
// it stays in the cache.
template <class A>
void add_tasks(std::vector<GradientTask>& tasks, const RoiJob& job, Storage storage,
               const RegionPlace* places, int64_t count) {
  const RoiLevel& level = job.levels[places[0].map / job.images];
  const int64_t units = (job.channels + kChannelUnit - 1) / kChannelUnit;
  const bool in_place = Scatter<A>::writes_in_place(level, storage);
  const int64_t maps = job.images * job.level_count;
  const int64_t wanted = (pieces_for_threads(units * maps) + maps - 1) / maps;
  const int64_t pieces =
      in_place ? std::min(units, wanted) : (units + kBufferUnits - 1) / kBufferUnits;
  const int64_t channels = (units + pieces - 1) / pieces * kChannelUnit;
  const int64_t row_bytes =
      std::max(int64_t{1}, level.width * std::min(channels, job.channels) * int64_t{sizeof(A)});
  const int64_t rows = in_place ? level.height : std::max(int64_t{1}, kWorkBytes / row_bytes);
  for (int64_t c = 0; c < job.channels; c += channels)
    for (int64_t row = 0; row < level.height; row += rows)
      tasks.push_back({places, count, c, std::min(channels, job.channels - c), row,
                       std::min(rows, level.height - row)});
}

template <class A>
void scatter(const RoiTensors& t) {
  const std::vector<RegionPlace> order = order_of_work<A>(t.job);
  const Storage storage = storage_of(t.cells);
  std::vector<GradientTask> tasks;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && order[end].map == order[begin].map) ++end;
    if (order[begin].map >= 0)
      add_tasks<A>(tasks, t.job, storage, order.data() + begin, end - begin);
  }
  torch::stable::parallel_for(0, tasks.size(), 1, [&](int64_t begin, int64_t end) {
    Scatter<A> scatter(t.job, t.cells);
    for (int64_t i = begin; i < end; ++i) scatter.run(tasks[i]);
  });
}

void add_gradient(const RoiTensors& t) {
  if (t.is_empty()) return;
  if (t.cells.scalar_type() == ScalarType::Double) {
    scatter<double>(t);
  } else {
    scatter<float>(t);
  }
}

std::vector<Tensor> roi_align_backward_cpu(const Tensor& pooled, const Tensor& rois,
                                           const std::optional<Tensor>& levels,
                                           const std::vector<double>& scales,
                                           const std::vector<int64_t>& sizes,
                                           int64_t sampling_ratio, bool aligned,
                                           bool channels_last) {
  std::vector<Tensor> grads = empty_gradients(pooled, sizes, channels_last);
  const RoiTensors t =
      prepare_gradient(grads, pooled, rois, levels, scales, {sampling_ratio, aligned});
  for (const Tensor& grad : grads)
    fill_with_zeros(grad.data_ptr(), grad.numel() * grad.element_size());
  add_gradient(t);
  return grads;
}

void roi_align_add_gradient_cpu(const std::vector<Tensor>& grads, const Tensor& pooled,
                                const Tensor& rois, const std::optional<Tensor>& levels,
                                const std::vector<double>& scales, int64_t sampling_ratio,
                                bool aligned) {
  add_gradient(prepare_gradient(grads, pooled, rois, levels, scales, {sampling_ratio, aligned}));
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("roi_align_backward", TORCH_BOX(&pyvqa::roi_align_backward_cpu));
  m.impl("roi_align_backward_", TORCH_BOX(&pyvqa::roi_align_add_gradient_cpu));
}
