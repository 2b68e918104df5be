#include "coco_eval/coco_eval_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "coco_eval/coco_eval.h"
#include "native/numpy_views.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// ---- masks

int64_t dimension(py::handle value) {
  if (!PyLong_Check(value.ptr())) throw std::invalid_argument("its size must be [height, width]");
  const int64_t number = PyLong_AsLongLong(value.ptr());
  if (number == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    throw std::invalid_argument("its size is beyond 64 bits");
  }
  return number;
}

std::pair<int64_t, int64_t> size_of(py::handle size) {
  if (!py::isinstance<py::sequence>(size) || py::len(size) != 2) {
    throw std::invalid_argument("its size must be [height, width]");
  }
  const auto pair = py::reinterpret_borrow<py::sequence>(size);
  const int64_t height = dimension(py::object(pair[0])), width = dimension(py::object(pair[1]));
  masks::pixel_count(height, width);
  return {height, width};
}

masks::Runs run_list(const py::list& counts, int64_t pixels) {
  masks::Runs runs;
  int64_t sum = 0;
  for (const py::handle count : counts) {
    if (!PyLong_Check(count.ptr())) {
      throw std::invalid_argument("its run lengths must be whole numbers");
    }
    int overflow = 0;
    const int64_t run = PyLong_AsLongLongAndOverflow(count.ptr(), &overflow);
    masks::detail::push(runs, sum, overflow != 0 ? INT64_MAX : run, pixels);
  }
  masks::detail::check_sum(sum, pixels);
  return runs;
}

std::string_view text_of(py::handle counts) {
  Py_ssize_t size = 0;
  if (PyBytes_Check(counts.ptr())) {
    return {PyBytes_AS_STRING(counts.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(counts.ptr()))};
  }
  const char* text =
      PyUnicode_Check(counts.ptr()) ? PyUnicode_AsUTF8AndSize(counts.ptr(), &size) : nullptr;
  if (text == nullptr) {
    PyErr_Clear();
    throw std::invalid_argument("its counts must be a string or a list of run lengths");
  }
  return {text, static_cast<size_t>(size)};
}

void add_rle(coco::MaskSet& set, const py::dict& rle) {
  const PyObject* size = PyDict_GetItemString(rle.ptr(), "size");
  PyObject* counts = PyDict_GetItemString(rle.ptr(), "counts");
  if (size == nullptr || counts == nullptr) {
    throw std::invalid_argument("it needs \"size\" and \"counts\"");
  }
  const auto [height, width] = size_of(py::handle(const_cast<PyObject*>(size)));
  const int64_t pixels = masks::pixel_count(height, width);
  if (PyList_Check(counts)) {
    set.add(run_list(py::reinterpret_borrow<py::list>(counts), pixels), height, width);
  } else {
    set.add(masks::read_coco(text_of(counts), pixels), height, width);
  }
}

std::vector<double> point_list(py::handle polygon) {
  if (!py::isinstance<py::sequence>(polygon) || PyUnicode_Check(polygon.ptr())) {
    throw std::invalid_argument("a polygon must be a list of numbers");
  }
  std::vector<double> points;
  for (const py::handle value : py::reinterpret_borrow<py::sequence>(polygon)) {
    points.push_back(PyFloat_AsDouble(value.ptr()));
    if (PyErr_Occurred()) {
      PyErr_Clear();
      throw std::invalid_argument("a polygon must be a list of numbers");
    }
  }
  return points;
}

void add_polygons(coco::MaskSet& set, const py::list& polygons, int64_t height, int64_t width) {
  std::vector<coco::Span> spans;
  if (polygons.empty()) throw std::invalid_argument("it has no polygon");
  for (const py::handle polygon : polygons) {
    coco::fill_polygon(point_list(polygon), height, width, spans);
  }
  set.add(spans, height, width);
}

void add_mask(coco::MaskSet& set, py::handle mask, const std::optional<Array<int64_t>>& sizes) {
  if (py::isinstance<py::dict>(mask)) return add_rle(set, py::reinterpret_borrow<py::dict>(mask));
  if (!py::isinstance<py::list>(mask)) {
    throw std::invalid_argument("it must be a dictionary of size and counts, or polygons");
  }
  if (!sizes) throw std::invalid_argument("polygons need the size of their picture");
  const py::ssize_t k = set.size();
  masks::pixel_count(sizes->at(k, 0), sizes->at(k, 1));
  add_polygons(set, py::reinterpret_borrow<py::list>(mask), sizes->at(k, 0), sizes->at(k, 1));
}

std::unique_ptr<coco::MaskSet> read_masks(const py::sequence& list,
                                          const std::optional<Array<int64_t>>& sizes) {
  if (sizes && (sizes->ndim() != 2 || sizes->shape(1) != 2 ||
                sizes->shape(0) != static_cast<py::ssize_t>(list.size()))) {
    throw py::value_error("coco_eval: sizes must be [N, 2], height and width of each mask");
  }
  auto set = std::make_unique<coco::MaskSet>();
  for (const py::handle mask : list) {
    try {
      add_mask(*set, mask, sizes);
    } catch (const std::invalid_argument& error) {
      throw py::value_error("coco_eval: mask " + std::to_string(set->size()) + ": " + error.what());
    }
  }
  return set;
}

Array<double> mask_areas(const coco::MaskSet& set) {
  Array<double> areas(set.size());
  for (int64_t k = 0; k < set.size(); ++k) {
    areas.mutable_at(k) = static_cast<double>(set.frame(k).area);
  }
  return areas;
}

Array<double> mask_boxes(const coco::MaskSet& set) {
  Array<double> boxes({set.size(), int64_t{4}});
  for (int64_t k = 0; k < set.size(); ++k) {
    for (int c = 0; c < 4; ++c) boxes.mutable_at(k, c) = set.frame(k).box[c];
  }
  return boxes;
}

// ---- matching

void check_size(py::ssize_t size, int64_t count, const char* side, const char* name) {
  if (size == count) return;
  throw py::value_error("coco_eval: " + std::string(side) + " has " + std::to_string(count) +
                        " images, but " + std::to_string(size) + " of " + name);
}

// Boxes [N, 4] or a MaskSet.
void set_shapes(coco::Objects& objects, py::handle shapes, const char* side) {
  if (py::isinstance<coco::MaskSet>(shapes)) {
    objects.masks = shapes.cast<const coco::MaskSet*>();
    return check_size(objects.masks->size(), objects.count, side, "masks");
  }
  // Looked at as it is: a converted copy would not outlive this function.
  if (!py::isinstance<Array<double>>(shapes)) {
    throw py::type_error("coco_eval: boxes of " + std::string(side) + " must be float64");
  }
  const auto boxes = py::reinterpret_borrow<Array<double>>(shapes);
  if (boxes.ndim() != 2 || boxes.shape(1) != 4) {
    throw py::value_error("coco_eval: boxes of " + std::string(side) + " must be [N, 4]");
  }
  check_size(boxes.shape(0), objects.count, side, "boxes");
  objects.boxes = boxes.data();
}

void set_objects(coco::Objects& objects, const Array<int64_t>& image,
                 const Array<int64_t>& category, const Array<int64_t>& id,
                 const Array<double>& area, const char* side) {
  objects.count = image.size();
  check_size(category.size(), objects.count, side, "category");
  check_size(id.size(), objects.count, side, "id");
  check_size(area.size(), objects.count, side, "area");
  objects.image = image.data();
  objects.category = category.data();
  objects.id = id.data();
  objects.area = area.data();
}

// The arrays of both sides are held by the caller while this runs.
std::unique_ptr<coco::Matches> evaluate(
    const Array<int64_t>& truth_image, const Array<int64_t>& truth_category,
    const Array<int64_t>& truth_id, const Array<double>& truth_area, const Array<bool>& crowd,
    const py::object& truth_shapes, const Array<int64_t>& image, const Array<int64_t>& category,
    const Array<int64_t>& id, const Array<double>& area, const Array<double>& score,
    const py::object& shapes, const Array<int64_t>& images, const Array<int64_t>& categories,
    std::vector<double> iou_thresholds, std::vector<double> area_ranges, int64_t max_detections,
    bool by_category) {
  coco::Truths truths;
  coco::Detections detections;
  set_objects(truths, truth_image, truth_category, truth_id, truth_area, "ground truth");
  set_objects(detections, image, category, id, area, "detections");
  check_size(crowd.size(), truths.count, "ground truth", "crowd");
  check_size(score.size(), detections.count, "detections", "score");
  set_shapes(truths, truth_shapes, "ground truth");
  set_shapes(detections, shapes, "detections");
  if ((truths.masks == nullptr) != (detections.masks == nullptr)) {
    throw py::value_error("coco_eval: ground truth and detections must both be boxes or masks");
  }
  truths.crowd = reinterpret_cast<const uint8_t*>(crowd.data());
  detections.score = score.data();
  const coco::Settings settings{std::move(iou_thresholds), std::move(area_ranges), max_detections,
                                by_category};
  const py::gil_scoped_release release;
  return std::make_unique<coco::Matches>(
      coco::evaluate(truths, detections, coco::Positions(images.data(), images.size()),
                     coco::Positions(categories.data(), categories.size()), settings));
}

py::tuple accumulate(const coco::Matches& matches, const std::vector<double>& recalls,
                     const std::vector<int64_t>& limits) {
  const int64_t t = matches.thresholds, k = matches.sections, a = matches.areas;
  const auto r = static_cast<int64_t>(recalls.size()), m = static_cast<int64_t>(limits.size());
  Array<double> precision({t, r, k, a, m}), scores({t, r, k, a, m}), recall({t, k, a, m});
  for (Array<double>* array : {&precision, &scores, &recall}) {
    std::fill_n(array->mutable_data(), array->size(), -1.0);
  }
  const coco::Curves curves{precision.mutable_data(), scores.mutable_data(), recall.mutable_data()};
  {
    const py::gil_scoped_release release;
    coco::accumulate(matches, recalls, limits, curves);
  }
  return py::make_tuple(precision, recall, scores);
}

Array<uint8_t> outcomes(const py::object& self) {
  auto& matches = self.cast<coco::Matches&>();
  const auto count = static_cast<py::ssize_t>(matches.detection.size());
  return Array<uint8_t>({count, static_cast<py::ssize_t>(matches.areas),
                         static_cast<py::ssize_t>(matches.thresholds)},
                        reinterpret_cast<const uint8_t*>(matches.outcome.data()), self);
}

}  // namespace

void bind_coco_eval(py::module_& m) {
  py::class_<coco::MaskSet>(m, "CocoMasks", "N masks, which may differ in size.")
      .def(py::init(&read_masks), py::arg("masks"), py::arg("sizes") = py::none())
      .def("__len__", &coco::MaskSet::size)
      .def_property_readonly("areas", &mask_areas, "float64 [N] pixels.")
      .def_property_readonly("boxes", &mask_boxes, "float64 [N, 4] x, y, width, height.");
  py::class_<coco::Matches>(m, "CocoMatches", "Detections matched to ground truth.")
      .def_property_readonly("detection",
                             [](const py::object& self) {
                               return numpy_view(self, self.cast<coco::Matches&>().detection);
                             })
      .def_property_readonly("outcome", &outcomes)
      .def_property_readonly("positives", [](const py::object& self) {
        auto& matches = self.cast<coco::Matches&>();
        return numpy_view(self, matches.positives, matches.areas);
      });
  m.def("coco_evaluate", &evaluate, py::arg("truth_image"), py::arg("truth_category"),
        py::arg("truth_id"), py::arg("truth_area"), py::arg("truth_crowd"), py::arg("truth_shapes"),
        py::arg("image"), py::arg("category"), py::arg("id"), py::arg("area"), py::arg("score"),
        py::arg("shapes"), py::arg("images"), py::arg("categories"), py::arg("iou_thresholds"),
        py::arg("area_ranges"), py::arg("max_detections"), py::arg("by_category"),
        "Match detections to ground truth; arrays as pyvqa.ops.coco_eval makes them.");
  m.def("coco_accumulate", &accumulate, py::arg("matches"), py::arg("recalls"), py::arg("limits"),
        "(precision [T, R, K, A, M], recall [T, K, A, M], scores [T, R, K, A, M]).");
}

}  // namespace pyvqa
