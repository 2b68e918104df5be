// Lists of masks in COCO's and CLEVR-Ref+'s texts, a whole list in one call.
#include "masks/rle_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "masks/rle.h"
#include "masks/run_overlap.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

using masks::RunView;
using RunArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
using OffsetArray = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

struct Size {
  int64_t height = 0, width = 0;

  bool operator==(const Size&) const = default;
  std::string words() const { return std::to_string(height) + " x " + std::to_string(width); }
};

// Hands a vector's memory to Python.
template <class T>
py::array_t<T> as_array(std::vector<T>&& values) {
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  std::vector<T>& at = *held;
  const py::capsule owner(held.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(at.size()), at.data(), owner);
}

std::string_view text_of(py::handle object) {
  Py_ssize_t size = 0;
  if (PyUnicode_Check(object.ptr())) {
    const char* text = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (text == nullptr) PyErr_Clear();
    if (text == nullptr) throw std::invalid_argument("the text of a mask is not valid Unicode");
    return {text, static_cast<size_t>(size)};
  }
  char* text = nullptr;
  if (PyBytes_AsStringAndSize(object.ptr(), &text, &size) != 0) throw py::error_already_set();
  return {text, static_cast<size_t>(size)};
}

// Keys are made once and never freed: the interpreter may be gone when a static object would be.
PyObject* size_key() {
  static PyObject* const key = PyUnicode_InternFromString("size");
  return key;
}
PyObject* counts_key() {
  static PyObject* const key = PyUnicode_InternFromString("counts");
  return key;
}

bool is_text(py::handle object) {
  return PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr());
}

// An integer that Python and NumPy agree on; anything else is refused.
int64_t integer(py::handle object, const char* what) {
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  int overflow = 0;
  const int64_t value = index ? PyLong_AsLongLongAndOverflow(index.ptr(), &overflow) : int64_t{0};
  if (!index) PyErr_Clear();
  if (!index) throw py::type_error(std::string(what) + " must be integers");
  if (overflow != 0) throw std::invalid_argument(std::string(what) + " go beyond 64 bits");
  return value;
}

// One entry of a list: {"size": [height, width], "counts": text, or a list of run lengths}.
class Rle {
 public:
  explicit Rle(py::handle entry) {
    if (!PyDict_Check(entry.ptr())) throw py::type_error("a mask must be a dict");
    const py::handle size(PyDict_GetItemWithError(entry.ptr(), size_key()));
    counts_ =
        py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(entry.ptr(), counts_key()));
    if (!size || !counts_) throw std::invalid_argument("a mask must have a size and counts");
    const auto pair = py::reinterpret_steal<py::object>(PySequence_Fast(size.ptr(), ""));
    if (!pair) PyErr_Clear();
    if (!pair || PySequence_Fast_GET_SIZE(pair.ptr()) != 2) {
      throw std::invalid_argument("the size of a mask must be [height, width]");
    }
    size_.height = integer(PySequence_Fast_GET_ITEM(pair.ptr(), 0), "the numbers of a size");
    size_.width = integer(PySequence_Fast_GET_ITEM(pair.ptr(), 1), "the numbers of a size");
    pixels_ = masks::pixel_count(size_.height, size_.width);
  }

  const Size& size() const { return size_; }

  template <class Take>
  void scan(Take&& take) const {
    if (is_text(counts_)) return masks::scan_coco(text_of(counts_), pixels_, take);
    if (!PyList_Check(counts_.ptr())) {
      throw py::type_error("the counts of a mask must be bytes, str or a list of run lengths");
    }
    int64_t sum = 0;
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(counts_.ptr()); ++k) {
      // Held, because what turns it into a number may be Python code that changes the list.
      const auto number = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(counts_.ptr(), k));
      const int64_t run = integer(number, "run lengths");
      masks::detail::check_run(run, sum, pixels_);
      sum += run;
      take(run);
    }
    masks::detail::check_sum(sum, pixels_);
  }

 private:
  py::object counts_;
  Size size_;
  int64_t pixels_ = 0;
};

// Calls `read(k, entry)` for every entry of a list; errors name the entry.
template <class Read>
void for_each(const py::list& list, const char* name, Read&& read) {
  for (size_t k = 0; k < list.size(); ++k) {
    const auto where = [&] { return std::string(name) + "[" + std::to_string(k) + "]: "; };
    try {
      read(k, py::handle(PyList_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(k))));
    } catch (const std::invalid_argument& error) {
      throw py::value_error(where() + error.what());
    } catch (const py::type_error& error) { throw py::type_error(where() + error.what()); }
  }
}

struct RunList {
  std::vector<int32_t> runs;
  std::vector<int64_t> offsets{0};

  void end_mask() { offsets.push_back(static_cast<int64_t>(runs.size())); }
};

py::tuple read_rles(const py::list& rles) {
  RunList out;
  Size size;
  for_each(rles, "rles", [&](size_t k, py::handle entry) {
    const Rle rle(entry);
    if (k == 0) size = rle.size();
    if (!(rle.size() == size)) {
      throw std::invalid_argument("a mask of " + rle.size().words() + " among masks of " +
                                  size.words());
    }
    rle.scan([&](int64_t run) { out.runs.push_back(static_cast<int32_t>(run)); });
    out.end_mask();
  });
  return py::make_tuple(as_array(std::move(out.runs)), as_array(std::move(out.offsets)),
                        size.height, size.width);
}

py::array_t<int64_t> rle_areas(const py::list& rles) {
  py::array_t<int64_t> areas(static_cast<py::ssize_t>(rles.size()));
  int64_t* out = areas.mutable_data();
  for_each(rles, "rles", [&](size_t k, py::handle entry) {
    int64_t sums[2] = {0, 0};
    unsigned parity = 0;
    Rle(entry).scan([&](int64_t run) {
      sums[parity] += run;
      parity ^= 1;
    });
    out[k] = sums[1];
  });
  return areas;
}

py::array_t<double> rle_boxes(const py::list& rles) {
  py::array_t<double> boxes({static_cast<py::ssize_t>(rles.size()), py::ssize_t{4}});
  double* out = boxes.mutable_data();
  for_each(rles, "rles", [&](size_t, py::handle entry) {
    const Rle rle(entry);
    masks::ColumnBounds bounds(rle.size().height);
    rle.scan([&](int64_t run) { bounds.add(run); });
    const masks::Box box = bounds.box();
    for (const int64_t number : {box.x, box.y, box.width, box.height}) {
      *out++ = static_cast<double>(number);
    }
  });
  return boxes;
}

// Runs and offsets as arrays, which must fit together.
std::vector<RunView> views_of(const RunArray& runs, const OffsetArray& offsets) {
  if (runs.ndim() != 1 || offsets.ndim() != 1 || offsets.size() < 1) {
    throw py::value_error("runs and offsets must be vectors");
  }
  std::vector<RunView> views;
  for (py::ssize_t n = 0; n + 1 < offsets.size(); ++n) {
    const int64_t begin = offsets.at(n), end = offsets.at(n + 1);
    if (begin < 0 || end < begin || end > runs.size()) {
      throw py::value_error("offsets must rise and stay within the runs");
    }
    views.push_back({runs.data() + begin, end - begin});
  }
  return views;
}

py::dict rle_dict(int64_t height, int64_t width, std::string_view counts) {
  py::list size(2);
  size[0] = height;
  size[1] = width;
  py::dict rle;
  rle[py::handle(size_key())] = size;
  rle[py::handle(counts_key())] = py::bytes(counts.data(), counts.size());
  return rle;
}

py::list write_rles(const RunArray& runs, const OffsetArray& offsets, int64_t height,
                    int64_t width) {
  const std::vector<RunView> views = views_of(runs, offsets);
  py::list rles(views.size());
  std::string text;
  for (size_t n = 0; n < views.size(); ++n) {
    masks::write_coco_into(views[n].runs, static_cast<size_t>(views[n].count), text);
    rles[n] = rle_dict(height, width, text);
  }
  return rles;
}

py::tuple read_row_texts(const py::list& texts, int64_t height, int64_t width) {
  const int64_t pixels = masks::pixel_count(height, width);
  RunList out;
  for_each(texts, "texts", [&](size_t, py::handle text) {
    if (!is_text(text)) throw py::type_error("row runs must be str or bytes");
    const masks::Runs runs = masks::read_rows(text_of(text), pixels);
    out.runs.insert(out.runs.end(), runs.begin(), runs.end());
    out.end_mask();
  });
  return py::make_tuple(as_array(std::move(out.runs)), as_array(std::move(out.offsets)));
}

py::list write_row_texts(const RunArray& runs, const OffsetArray& offsets) {
  const std::vector<RunView> views = views_of(runs, offsets);
  py::list texts(views.size());
  for (size_t n = 0; n < views.size(); ++n) {
    texts[n] = py::str(masks::write_rows(views[n].runs, static_cast<size_t>(views[n].count)));
  }
  return texts;
}

py::dict merge_rles(const py::list& rles, bool intersect) {
  if (rles.empty()) throw py::value_error("there are no masks to merge");
  const py::tuple read = read_rles(rles);
  const auto runs = read[0].cast<RunArray>();
  const std::vector<RunView> views = views_of(runs, read[1].cast<OffsetArray>());
  std::vector<int32_t> merged = masks::merge(views[0], views[0], intersect);
  for (size_t n = 1; n < views.size(); ++n) {
    const RunView so_far{merged.data(), static_cast<int64_t>(merged.size())};
    merged = masks::merge(so_far, views[n], intersect);
  }
  std::string text;
  masks::write_coco_into(merged.data(), merged.size(), text);
  return rle_dict(read[2].cast<int64_t>(), read[3].cast<int64_t>(), text);
}

masks::RunMasks run_masks(const RunArray& runs, const OffsetArray& offsets, int64_t height) {
  masks::RunMasks out;
  out.views = views_of(runs, offsets);
  for (const RunView& view : out.views) {
    masks::ColumnBounds bounds(height);
    int64_t area = 0;
    for (int64_t k = 0; k < view.count; ++k) {
      bounds.add(view.runs[k]);
      if (k % 2 == 1) area += view.runs[k];
    }
    const masks::Box b = bounds.box();
    out.extents.push_back({static_cast<int32_t>(b.x), static_cast<int32_t>(b.y),
                           static_cast<int32_t>(b.x + b.width),
                           static_cast<int32_t>(b.y + b.height), static_cast<int32_t>(area)});
  }
  return out;
}

// Whether packing the masks and comparing bits would take longer than walking along the runs. The
// costs are nanoseconds as measured on one processor; both ways give the same numbers.
bool runs_are_faster(const masks::RunMasks& a, const masks::RunMasks& b, int64_t runs,
                     int64_t pixels) {
  constexpr double kCalls = 30000, kWord = 0.15, kPackedRun = 6, kWalkedRun = 2.5;
  const auto count = static_cast<double>(a.views.size() + b.views.size());
  const double packing = kCalls + kWord * count * static_cast<double>(pixels) / 64 +
                         kPackedRun * static_cast<double>(runs);
  return kWalkedRun * static_cast<double>(masks::runs_to_walk(a, b)) < packing;
}

py::object iou_of_runs(const RunArray& a_runs, const OffsetArray& a_offsets, const RunArray& b_runs,
                       const OffsetArray& b_offsets, int64_t height, int64_t width,
                       const std::optional<py::array_t<bool>>& crowd, bool iomin) {
  const int64_t pixels = masks::pixel_count(height, width);
  const masks::RunMasks a = run_masks(a_runs, a_offsets, height);
  const masks::RunMasks b = run_masks(b_runs, b_offsets, height);
  if (crowd && (crowd->ndim() != 1 || crowd->size() != static_cast<py::ssize_t>(b.views.size()))) {
    throw py::value_error("mask_iou: iscrowd must be bool or uint8 [" +
                          std::to_string(b.views.size()) + "]");
  }
  if (!runs_are_faster(a, b, a_runs.size() + b_runs.size(), pixels)) return py::none();
  std::vector<uint8_t> flags(crowd ? b.views.size() : 0);
  for (size_t j = 0; j < flags.size(); ++j) flags[j] = crowd->at(static_cast<py::ssize_t>(j));
  py::array_t<double> out(
      {static_cast<py::ssize_t>(a.views.size()), static_cast<py::ssize_t>(b.views.size())});
  masks::overlap_by_runs(a, b, crowd ? flags.data() : nullptr, iomin, out.mutable_data());
  return out;
}

}  // namespace

void bind_rle_lists(py::module_& m) {
  m.def("read_rles", &read_rles, py::arg("rles"),
        "COCO masks of one size -> (runs int32, offsets int64 [N + 1], height, width).");
  m.def("write_rles", &write_rles, py::arg("runs"), py::arg("offsets"), py::arg("height"),
        py::arg("width"), "Column runs -> list of {size, counts} with compressed counts.");
  m.def("rle_areas", &rle_areas, py::arg("rles"), "COCO masks -> int64 [N].");
  m.def("rle_boxes", &rle_boxes, py::arg("rles"),
        "COCO masks -> float64 [N, 4]: x, y, width, height.");
  m.def("merge_rles", &merge_rles, py::arg("rles"), py::arg("intersect"),
        "COCO masks of one size -> their union or intersection.");
  m.def("read_row_texts", &read_row_texts, py::arg("texts"), py::arg("height"), py::arg("width"),
        "CLEVR-Ref+ texts -> (runs int32, offsets int64 [N + 1]).");
  m.def("write_row_texts", &write_row_texts, py::arg("runs"), py::arg("offsets"),
        "Row runs -> list of CLEVR-Ref+ texts.");
  m.def("iou_of_runs", &iou_of_runs, py::arg("a_runs"), py::arg("a_offsets"), py::arg("b_runs"),
        py::arg("b_offsets"), py::arg("height"), py::arg("width"), py::arg("crowd"),
        py::arg("iomin"),
        "Overlaps float64 [N, M] of column runs, or None where packing the masks is faster.");
}

}  // namespace pyvqa
