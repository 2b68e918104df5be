// Run-length codecs and the occlusion test, on texts and on masks.
#include "fuzz.h"

#include <string>

#include "masks/occlusion.h"
#include "masks/rle.h"

namespace {

namespace masks = pyvqa::masks;
using pyvqa::fuzz::Bytes;
using pyvqa::fuzz::require;

int64_t count_ones(const std::vector<uint8_t>& mask) {
  int64_t ones = 0;
  for (const uint8_t pixel : mask) ones += pixel;
  return ones;
}

void check_box(const masks::Box& box, const std::vector<uint8_t>& mask, int64_t width) {
  masks::Box exact{INT64_MAX, INT64_MAX, -1, -1};  // width, height hold the last column, row
  for (size_t k = 0; k < mask.size(); ++k) {
    if (!mask[k]) continue;
    const int64_t x = static_cast<int64_t>(k) % width, y = static_cast<int64_t>(k) / width;
    exact = {std::min(exact.x, x), std::min(exact.y, y), std::max(exact.width, x),
             std::max(exact.height, y)};
  }
  if (exact.width < 0) exact = {0, 0, -1, -1};
  require(box.x == exact.x && box.y == exact.y && box.width == exact.width - exact.x + 1 &&
              box.height == exact.height - exact.y + 1,
          "the box is the smallest");
}

void check_coco(std::string_view text, int64_t height, int64_t width) {
  masks::Runs runs;
  try {
    runs = masks::read_coco(text, height * width);
  } catch (const std::invalid_argument&) { return; }
  std::vector<uint8_t> mask(static_cast<size_t>(height * width));
  masks::paint_columns(runs, height, width, mask.data());
  require(count_ones(mask) == masks::area(runs), "the area counts the ones");
  if (height > 0) check_box(masks::bounds_of_columns(runs, height), mask, width);
  const masks::Runs again = masks::runs_of_columns(mask.data(), height, width);
  require(masks::read_coco(masks::write_coco(again), height * width) == again,
          "COCO text survives");
  require(masks::read_coco(masks::write_coco(runs), height * width) == runs,
          "COCO text survives with runs of zero");
}

void check_rows(std::string_view text, int64_t height, int64_t width) {
  masks::Runs runs;
  try {
    runs = masks::read_rows(text, height * width);
  } catch (const std::invalid_argument&) { return; }
  std::vector<uint8_t> mask(static_cast<size_t>(height * width));
  masks::paint_rows(runs, mask.data());
  const masks::Runs again = masks::runs_of_rows(mask.data(), height * width);
  require(masks::read_rows(masks::write_rows(again), height * width) == again, "row text survives");
  std::vector<masks::Span> spans;
  if (width > 0) masks::append_row_spans(runs, width, spans);
  int64_t ones = 0;
  for (const masks::Span& span : spans) {
    require(span.row >= 0 && span.row < height && span.begin >= 0 && span.begin < span.end &&
                span.end <= width,
            "spans lie in the image");
    ones += span.end - span.begin;
  }
  require(ones == count_ones(mask), "spans cover the ones");
}

void check_occlusion(Bytes& in) {
  const int64_t count = in.below(6), height = 1 + in.below(9), width = 1 + in.below(9);
  std::vector<masks::Span> spans;
  std::vector<int64_t> offsets{0};
  std::vector<masks::Box> boxes;
  std::vector<double> depth;
  for (int64_t o = 0; o < count; ++o) {
    std::vector<uint8_t> mask(static_cast<size_t>(height * width));
    for (uint8_t& pixel : mask) pixel = in.flip();
    masks::append_row_spans(masks::runs_of_rows(mask.data(), height * width), width, spans);
    offsets.push_back(static_cast<int64_t>(spans.size()));
    const auto number = [&]() -> int64_t {
      return in.flip() ? in.value<int32_t>() | 1 : in.below(9);
    };
    boxes.push_back({number(), number(), number(), number()});
    depth.push_back(static_cast<double>(in.below(4)));
  }
  std::vector<pyvqa::Visibility> classes(static_cast<size_t>(count), pyvqa::Visibility::unknown);
  const pyvqa::SceneVisibility scene = masks::occlusion(spans.data(), offsets.data(), boxes.data(),
                                                        depth.data(), count, classes.data());
  require(scene != pyvqa::SceneVisibility::unknown, "a scene with masks has a class");
  for (const auto c : classes) require(c != pyvqa::Visibility::unknown, "so has every object");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  const int64_t height = in.below(20), width = in.below(20);
  switch (in.below(3)) {
    case 0: check_coco(in.text(size), height, width); break;
    case 1: check_rows(in.text(size), height, width); break;
    default: check_occlusion(in);
  }
  return 0;
}
