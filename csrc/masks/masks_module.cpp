#include "masks/masks_module.h"

#include <pybind11/numpy.h>

#include <string_view>

#include "masks/occlusion.h"
#include "masks/rle.h"
#include "masks/rle_module.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

using Mask = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

void check_mask(const py::array& mask, py::ssize_t dims) {
  const char kind = mask.dtype().kind();
  if (mask.ndim() != dims || mask.itemsize() != 1 || (kind != 'b' && kind != 'u')) {
    throw py::value_error(dims == 2 ? "a mask must be bool or uint8 [H, W]"
                                    : "masks must be bool or uint8 [N, H, W]");
  }
  masks::pixel_count(mask.shape(dims - 2), mask.shape(dims - 1));
}

Mask rle_decode_rows(std::string_view text, int64_t height, int64_t width) {
  const masks::Runs runs = masks::read_rows(text, masks::pixel_count(height, width));
  Mask mask({height, width});
  masks::paint_rows(runs, mask.mutable_data());
  return mask;
}

py::str rle_encode_rows(const py::array& array) {
  check_mask(array, 2);
  const Mask mask = Mask::ensure(array);
  return py::str(masks::write_rows(masks::runs_of_rows(mask.data(), mask.size())));
}

Mask coco_rle_decode(std::string_view text, int64_t height, int64_t width) {
  const masks::Runs runs = masks::read_coco(text, masks::pixel_count(height, width));
  Mask mask({height, width});
  masks::paint_columns(runs, height, width, mask.mutable_data());
  return mask;
}

py::bytes coco_rle_encode(const py::array& array) {
  check_mask(array, 2);
  const Mask mask = Mask::ensure(array);
  const masks::Runs runs = masks::runs_of_columns(mask.data(), mask.shape(0), mask.shape(1));
  return py::bytes(masks::write_coco(runs));
}

py::tuple coco_rle_measure(std::string_view text, int64_t height, int64_t width) {
  const masks::Runs runs = masks::read_coco(text, masks::pixel_count(height, width));
  const masks::Box box = masks::bounds_of_columns(runs, height);
  return py::make_tuple(masks::area(runs), py::make_tuple(box.x, box.y, box.width, box.height));
}

py::tuple occlusion(const py::array& array, const py::array_t<int64_t, py::array::c_style>& boxes,
                    const py::array_t<double, py::array::c_style>& depth) {
  check_mask(array, 3);
  const Mask mask = Mask::ensure(array);
  const py::ssize_t count = mask.shape(0), pixels = mask.shape(1) * mask.shape(2);
  if (boxes.ndim() != 2 || boxes.shape(0) != count || boxes.shape(1) != 4) {
    throw py::value_error("boxes must be [N, 4]: x, y, width, height");
  }
  if (depth.ndim() != 1 || depth.shape(0) != count) throw py::value_error("depth must be [N]");
  std::vector<masks::Span> spans;
  std::vector<int64_t> offsets{0};
  std::vector<masks::Box> box_list;
  for (py::ssize_t o = 0; o < count; ++o) {
    const masks::Runs runs = masks::runs_of_rows(mask.data() + o * pixels, pixels);
    masks::append_row_spans(runs, mask.shape(2), spans);
    offsets.push_back(static_cast<int64_t>(spans.size()));
    for (int k = 0; k < 4; ++k) {
      if (boxes.at(o, k) < -INT32_MAX || boxes.at(o, k) > INT32_MAX) {
        throw py::value_error("a box is beyond 32 bits");
      }
    }
    box_list.push_back({boxes.at(o, 0), boxes.at(o, 1), boxes.at(o, 2), boxes.at(o, 3)});
  }
  py::array_t<uint8_t> classes(count);
  const SceneVisibility scene =
      masks::occlusion(spans.data(), offsets.data(), box_list.data(), depth.data(), count,
                       reinterpret_cast<Visibility*>(classes.mutable_data()));
  return py::make_tuple(static_cast<int>(scene), classes);
}

}  // namespace

void bind_masks(py::module_& m) {
  m.def("rle_decode_rows", &rle_decode_rows, py::arg("runs"), py::arg("height"), py::arg("width"),
        "CLEVR-Ref+ text \"n0,n1,...\" over rows -> uint8 [H, W].");
  m.def("rle_encode_rows", &rle_encode_rows, py::arg("mask"),
        "bool or uint8 [H, W] -> CLEVR-Ref+ text.");
  m.def("coco_rle_decode", &coco_rle_decode, py::arg("counts"), py::arg("height"), py::arg("width"),
        "COCO's compressed counts (str or bytes) -> uint8 [H, W].");
  m.def("coco_rle_encode", &coco_rle_encode, py::arg("mask"),
        "bool or uint8 [H, W] -> COCO's compressed counts.");
  m.def("coco_rle_measure", &coco_rle_measure, py::arg("counts"), py::arg("height"),
        py::arg("width"), "COCO's compressed counts -> (area, (x, y, width, height)).");
  m.def("occlusion", &occlusion, py::arg("masks"), py::arg("boxes"), py::arg("depth"),
        "Visible masks [N, H, W], whole boxes int [N, 4], depth [N] -> (class of the scene: 1 "
        "usable, 2 invalid; uint8 [N]: 1 fully, 2 partially visible).");
  bind_rle_lists(m);
}

}  // namespace pyvqa
