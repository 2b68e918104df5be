#include <algorithm>
#include <vector>

#include "common/isa.h"
#include "paste/paste.h"
#include "paste/paste_check.h"
#include "paste/paste_kernel.h"

namespace pyvqa {
namespace {

constexpr int64_t kGrainPixels = 1 << 17;  // pixels of canvas that are worth a thread

Tensor paste_masks_cpu(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width,
                       double threshold, bool detectron, bool packed) {
  const PasteTensors t(masks, boxes, height, width, threshold, detectron, packed);
  if (t.nothing_to_do()) return t.out;
  const auto kernel = PV_DISPATCH(paste_rows);
  const int64_t grain = std::max<int64_t>(1, kGrainPixels / std::max<int64_t>(1, height * width));
  torch::stable::parallel_for(0, t.call.count, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(paste_scratch(t.call)));
    kernel(t.call, scratch.data(), begin, end);
  });
  return t.out;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("paste_masks", TORCH_BOX(&pyvqa::paste_masks_cpu));
}
