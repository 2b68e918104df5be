// Run-length codecs and the occlusion test, on texts and on masks. The kernels on bits must give
// what the plain codec gives byte by byte.
#include "fuzz.h"

#include <string>

#include "masks/masks_kernel.h"
#include "masks/occlusion.h"
#include "masks/planes.h"
#include "masks/rle.h"
#include "masks/run_overlap.h"

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

using Words = std::vector<uint64_t>;

int32_t* room_in(void* owner, int64_t count) {
  auto& runs = *static_cast<std::vector<int32_t>*>(owner);
  runs.resize(static_cast<size_t>(count));
  return runs.data();
}

void require_runs(const std::vector<int32_t>& found, const masks::Runs& expected) {
  require(masks::Runs(found.begin(), found.end()) == expected, "bits give the runs of bytes");
}

// Runs that need not be the shortest, to bytes, to bits, and back from both.
void check_kernels(const masks::Runs& runs, const std::vector<uint8_t>& mask, int64_t height,
                   int64_t width, bool by_rows) {
  const std::vector<int32_t> given(runs.begin(), runs.end());
  const int64_t offsets[2] = {0, static_cast<int64_t>(given.size())};
  const masks::RunLists lists{given.data(), offsets, offsets[1], 1, height, width, by_rows};
  Words scratch(static_cast<size_t>(masks::Scratch::words(height, width)));
  Words bits(static_cast<size_t>(masks::Scratch::row_words(height, width)), ~uint64_t{0});
  std::vector<uint8_t> bytes(mask.size(), 7);
  int32_t painted[masks::kExtentFields], found[masks::kExtentFields];
  masks::bytes_of_runs_base(lists, bytes.data(), scratch.data(), 0, 1);
  require(bytes == mask, "runs give the bytes of the plain codec");
  masks::bits_of_runs_base(lists, bits.data(), painted, scratch.data(), 0, 1);
  const masks::BitMasks packed{bits.data(), 1, height, width};
  masks::unpack_masks_base(packed, bytes.data(), 0, 1);
  require(bytes == mask, "bits give the bytes of the plain codec");
  masks::mask_extents_base(packed, found, 0, 1);
  for (int k = 0; k < masks::kExtentFields; ++k) {
    require(painted[k] == found[k], "runs and bits have the same extent");
  }
  const masks::Runs shortest = by_rows ? masks::runs_of_rows(mask.data(), height * width)
                                       : masks::runs_of_columns(mask.data(), height, width);
  std::vector<int32_t> again;
  const masks::RunSink sink{&room_in, &again};
  masks::runs_of_bits_base(packed, by_rows, scratch.data(), sink, 0);
  require_runs(again, shortest);
  const masks::DenseMasks dense{mask.data(), 1, height, width, height * width, width, 1};
  masks::runs_of_dense_base(dense, by_rows, scratch.data(), sink, 0);
  require_runs(again, shortest);
}

// Two texts of one size: what they share, by runs and by pixels.
void check_merge(const masks::Runs& first, const masks::Runs& second) {
  const std::vector<int32_t> a(first.begin(), first.end()), b(second.begin(), second.end());
  const masks::RunView view_a{a.data(), static_cast<int64_t>(a.size())};
  const masks::RunView view_b{b.data(), static_cast<int64_t>(b.size())};
  const auto area = [](const std::vector<int32_t>& runs) {
    return masks::area(masks::Runs(runs.begin(), runs.end()));
  };
  const int64_t common = area(masks::merge(view_a, view_b, true));
  require(common == masks::common_ones(view_a, view_b), "the intersection is what is common");
  require(area(masks::merge(view_a, view_b, false)) + common == area(a) + area(b),
          "union and intersection count every one");
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
  if (!mask.empty()) check_kernels(runs, mask, height, width, false);
  check_merge(runs, runs);
  check_merge(runs, masks::runs_of_columns(mask.data(), width, height));  // other pixels
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
  if (!mask.empty()) check_kernels(runs, mask, height, width, true);
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
  const int64_t height = in.below(140), width = in.below(140);
  switch (in.below(3)) {
    case 0: check_coco(in.text(size), height, width); break;
    case 1: check_rows(in.text(size), height, width); break;
    default: check_occlusion(in);
  }
  return 0;
}
