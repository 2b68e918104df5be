// Masks as spans, and matching and curves on any numbers.
#include "coco_eval/coco_eval.h"

#include "fuzz.h"

namespace {

namespace coco = pyvqa::coco;
using pyvqa::fuzz::Bytes;
using pyvqa::fuzz::require;

std::vector<uint8_t> painted(const coco::MaskSet& set, int64_t mask) {
  const coco::Frame& frame = set.frame(mask);
  std::vector<uint8_t> pixels(static_cast<size_t>(frame.height * frame.width));
  for (const coco::Span* span = set.begin(mask); span != set.end(mask); ++span) {
    require(span->begin < span->end && span->end <= pixels.size(), "spans lie in the picture");
    require(span + 1 == set.end(mask) || span->end < span[1].begin, "spans are apart");
    for (uint32_t p = span->begin; p < span->end; ++p) pixels[p] = 1;
  }
  return pixels;
}

void add_polygons(Bytes& in, coco::MaskSet& set, int64_t height, int64_t width) {
  std::vector<coco::Span> spans;
  for (int64_t left = in.below(3); left >= 0; --left) {
    std::vector<double> points;
    for (int64_t k = in.below(9); k >= 0; --k) {
      points.push_back(in.flip() ? static_cast<double>(in.below(250)) / 4 - 9
                                 : in.value<int16_t>() / 90.);
      points.push_back(static_cast<double>(in.below(250)) / 8 - 5);
    }
    try {
      coco::fill_polygon(points, height, width, spans);
    } catch (const std::invalid_argument&) { continue; }
  }
  set.add(spans, height, width);
}

void add_runs(Bytes& in, coco::MaskSet& set, int64_t height, int64_t width) {
  pyvqa::masks::Runs runs;
  int64_t left = height * width;
  while (left > 0) {
    const int64_t run = std::min(left, in.below(1 + left % 256));
    runs.push_back(static_cast<uint32_t>(in.empty() ? left : run));
    left -= runs.back();
  }
  set.add(runs, height, width);
}

coco::MaskSet some_masks(Bytes& in, int64_t count) {
  coco::MaskSet set;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t height = in.below(20), width = in.below(20);
    in.flip() ? add_polygons(in, set, height, width) : add_runs(in, set, height, width);
  }
  return set;
}

void check_overlap(const coco::MaskSet& set, int64_t a, int64_t b) {
  const std::vector<uint8_t> first = painted(set, a), second = painted(set, b);
  int64_t both = 0, ones = 0;
  for (size_t p = 0; p < first.size(); ++p) {
    ones += first[p];
    both += p < second.size() && first[p] && second[p];
  }
  require(set.frame(a).area == ones, "the area counts the ones");
  require(coco::shared_pixels(set.begin(a), set.end(a), set.begin(b), set.end(b)) == both,
          "shared pixels are those of both");
  const double iou = coco::mask_overlap(set, a, set, b, false);
  require(iou == -1 || (iou >= 0 && iou <= 1), "an overlap is a share");
  const bool same_size =
      first.size() == second.size() && set.frame(a).height == set.frame(b).height;
  require(!same_size || (iou > 0) == (both > 0), "and positive where pixels are shared");
}

struct Side {
  std::vector<int64_t> image, category, id;
  std::vector<double> area, boxes, score;
  std::vector<uint8_t> crowd;
  coco::MaskSet masks;

  Side(Bytes& in, int64_t count) : masks(some_masks(in, count)) {
    const auto number = [&]() -> double {
      return in.flip() ? static_cast<double>(in.below(40)) : in.value<double>();
    };
    for (int64_t k = 0; k < count; ++k) {
      image.push_back(in.below(4));
      category.push_back(in.below(4));
      id.push_back(in.flip() ? k + 1 : in.value<int64_t>());
      area.push_back(number());
      score.push_back(number());
      crowd.push_back(in.below(4) == 0);
      for (int c = 0; c < 4; ++c) boxes.push_back(number());
    }
  }

  void fill(coco::Objects& objects, bool by_masks) const {
    objects.count = static_cast<int64_t>(image.size());
    objects.image = image.data();
    objects.category = category.data();
    objects.id = id.data();
    objects.area = area.data();
    if (by_masks) {
      objects.masks = &masks;
    } else {
      objects.boxes = boxes.data();
    }
  }
};

void check_curves(const coco::Matches& matches, Bytes& in) {
  std::vector<double> recalls;
  std::vector<int64_t> limits;
  for (int64_t k = in.below(5); k > 0; --k) recalls.push_back(in.value<double>());
  for (int64_t k = in.below(3); k > 0; --k) limits.push_back(in.below(6));
  recalls.push_back(0.5);
  const size_t cells =
      static_cast<size_t>(matches.thresholds * matches.sections * matches.areas) * limits.size();
  std::vector<double> precision(cells * recalls.size(), -1), scores(precision), recall(cells, -1);
  coco::accumulate(matches, recalls, limits, {precision.data(), scores.data(), recall.data()});
  for (const double p : precision) require(p == -1 || (p >= 0 && p <= 1), "precision is a share");
  for (const double r : recall) require(r == -1 || r >= 0, "recall is no less than zero");
}

void check_matching(Bytes& in) {
  const bool by_masks = in.flip();
  const Side given(in, in.below(9)), found(in, in.below(9));
  coco::Truths truths;
  coco::Detections detections;
  given.fill(truths, by_masks);
  found.fill(detections, by_masks);
  truths.crowd = given.crowd.data();
  detections.score = found.score.data();
  coco::Settings settings{{0.5, in.value<double>()}, {0, 1e10, 3, 30}, in.below(6), in.flip()};
  if (settings.iou_thresholds[1] != settings.iou_thresholds[1]) settings.iou_thresholds[1] = 0;
  const int64_t listed[] = {2, 0, 1};
  const coco::Positions images(listed, in.below(4)), categories(listed, in.below(4));
  const coco::Matches matches = coco::evaluate(truths, detections, images, categories, settings);
  const size_t looked_at = matches.detection.size();
  require(looked_at <= found.image.size() && matches.rank.size() == looked_at &&
              matches.outcome.size() == looked_at * 4 &&
              matches.section_begin.back() == static_cast<int64_t>(looked_at),
          "every detection has its outcomes");
  check_curves(matches, in);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  if (in.flip()) {
    const coco::MaskSet set = some_masks(in, 2);
    check_overlap(set, 0, 1);
    check_overlap(set, 1, 0);
  } else {
    check_matching(in);
  }
  return 0;
}
