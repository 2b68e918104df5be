#include "native/readers_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <string>

#include "masks/masks_module.h"
#include "native/json.h"
#include "native/numpy_views.h"
#include "native/question_reader.h"
#include "native/scene_reader.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

std::string_view text_of(const py::buffer_info& buffer) {
  if (buffer.itemsize != 1 || buffer.ndim != 1 || (buffer.size > 1 && buffer.strides[0] != 1)) {
    throw py::value_error("the text of a file must be bytes, one after the other");
  }
  return {static_cast<const char*>(buffer.ptr), static_cast<size_t>(buffer.size)};
}

// Runs a reader without Python's lock; its error becomes a ValueError that says where.
template <class Read>
auto read_text(const py::buffer& data, Read read) {
  const py::buffer_info buffer = data.request();
  const std::string_view text = text_of(buffer);
  try {
    py::gil_scoped_release unlocked;
    return read(text);
  } catch (const json::JsonError& error) {
    throw py::value_error(std::string(error.what()) + ", " + json::location(text, error.offset()));
  }
}

void require(bool condition, const char* message) {
  if (!condition) throw py::value_error(message);
}

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using Optional = std::optional<Array<T>>;

template <class T>
bool has_shape(const Array<T>& array, py::ssize_t rows, py::ssize_t columns = 0) {
  if (columns == 0) return array.ndim() == 1 && array.shape(0) == rows;
  return array.ndim() == 2 && array.shape(0) == rows && array.shape(1) == columns;
}

// Copies the values after checking that each lies in [0, limit).
template <class To, class From>
std::vector<To> checked(const Array<From>& array, From limit, const char* message) {
  std::vector<To> out;
  out.reserve(static_cast<size_t>(array.size()));
  for (py::ssize_t k = 0; k < array.size(); ++k) {
    const From value = array.data()[k];
    require(value >= 0 && value < limit, message);
    out.push_back(static_cast<To>(value));
  }
  return out;
}

std::vector<double> finite(const Array<double>& array, const char* message) {
  for (py::ssize_t k = 0; k < array.size(); ++k) require(std::isfinite(array.data()[k]), message);
  return {array.data(), array.data() + array.size()};
}

void set_relations(SceneTable& table, const Array<int64_t>& offsets, const Array<int64_t>& items) {
  const size_t objects = table.codes.size() / kAttributes;
  require(has_shape(offsets, static_cast<py::ssize_t>(objects * kRelations + 1)),
          "relation_offsets must be [4 * objects + 1]");
  require(items.ndim() == 1, "relation_items must be one-dimensional");
  const int64_t* at = offsets.data();
  require(at[0] == 0 && at[objects * kRelations] == items.size(),
          "relation_offsets must run from 0 to the number of relation_items");
  for (size_t k = 0; k < objects * kRelations; ++k) {
    require(at[k] <= at[k + 1], "relation_offsets must not decrease");
  }
  table.relation_offsets.assign(at, at + objects * kRelations + 1);
  int64_t item = 0;
  size_t object = 0;
  for (const int32_t count : table.counts) {
    object += static_cast<size_t>(count);
    for (; item < at[object * kRelations]; ++item) {
      const int64_t id = items.data()[item];
      require(id >= 0 && id < count, "relation_items name an object that its scene does not have");
      table.relation_items.push_back(static_cast<int32_t>(id));
    }
  }
}

void set_strings(SceneTable& table, std::vector<std::string> strings) {
  for (size_t k = 0; k < strings.size(); ++k) {
    for (const char* known : kStrings) {
      require(strings[k] != known, "strings must not repeat the strings every table knows");
    }
    for (size_t other = 0; other < k; ++other) {
      require(strings[k] != strings[other], "strings must differ");
    }
  }
  table.strings = std::move(strings);
}

void set_visibility(SceneTable& table, const Optional<uint8_t>& objects,
                    const Optional<uint8_t>& scenes) {
  require(objects.has_value() == scenes.has_value(),
          "visibility and scene_visibility belong together");
  if (!objects) {
    table.scene_visibility.assign(table.counts.size(), SceneVisibility::unknown);
    return;
  }
  require(has_shape(*objects, static_cast<py::ssize_t>(table.codes.size() / kAttributes)),
          "visibility must be [objects]");
  require(has_shape(*scenes, static_cast<py::ssize_t>(table.counts.size())),
          "scene_visibility must be [scenes]");
  table.visibility = checked<Visibility, uint8_t>(*objects, 3, "visibility must be 0, 1 or 2");
  table.scene_visibility =
      checked<SceneVisibility, uint8_t>(*scenes, 3, "scene_visibility must be 0, 1 or 2");
}

SceneTable make_scene_table(const Array<int64_t>& counts, const Array<int64_t>& codes,
                            const Array<double>& position, const Optional<double>& pixel,
                            const Optional<int64_t>& relation_offsets,
                            const Optional<int64_t>& relation_items,
                            const Optional<uint8_t>& visibility,
                            const Optional<uint8_t>& scene_visibility,
                            std::vector<std::string> strings, const Optional<int64_t>& image_index,
                            std::optional<std::vector<std::string>> image_filename) {
  SceneTable table;
  require(counts.ndim() == 1, "counts must be one-dimensional");
  table.counts = checked<int32_t, int64_t>(counts, INT32_MAX, "counts must not be negative");
  const py::ssize_t scenes = counts.size();
  py::ssize_t objects = 0;
  for (const int32_t count : table.counts) objects += count;
  set_strings(table, std::move(strings));
  require(has_shape(codes, objects, kAttributes), "codes must be [objects, 4]");
  const auto known = static_cast<int64_t>(kKnownStrings + table.strings.size());
  table.codes = checked<uint16_t, int64_t>(codes, std::min<int64_t>(known, UINT16_MAX + 1),
                                           "codes name a string that the table does not have");
  require(has_shape(position, objects, 3), "position must be [objects, 3]");
  table.position = finite(position, "position must be finite");
  uint8_t fields = 0;
  if (pixel) {
    require(has_shape(*pixel, objects, 3), "pixel must be [objects, 3]");
    table.pixel = finite(*pixel, "pixel must be finite");
    fields |= kHasPixel;
  }
  require(relation_offsets.has_value() == relation_items.has_value(),
          "relation_offsets and relation_items belong together");
  if (relation_offsets) {
    set_relations(table, *relation_offsets, *relation_items);
    fields |= kHasRelations;
  }
  set_visibility(table, visibility, scene_visibility);
  if (visibility) fields |= kHasMasks;
  table.fields.assign(table.counts.size(), fields);
  if (image_index) {
    require(has_shape(*image_index, scenes), "image_index must be [scenes]");
    table.image_index =
        checked<int64_t, int64_t>(*image_index, INT64_MAX, "image_index must not be negative");
  } else {
    for (py::ssize_t k = 0; k < scenes; ++k) table.image_index.push_back(k);
  }
  table.image_filename = image_filename ? std::move(*image_filename)
                                        : std::vector<std::string>(static_cast<size_t>(scenes));
  require(table.image_filename.size() == table.counts.size(),
          "image_filename must have one entry per scene");
  return table;
}

// A list with the name of every code, each name one Python string; None for -1.
py::list names_by_code(const Names& names, const std::vector<int32_t>& codes) {
  std::vector<py::object> texts;
  texts.reserve(names.size());
  for (const std::string& name : names) texts.push_back(py::str(name));
  py::list out(codes.size());
  for (size_t k = 0; k < codes.size(); ++k) {
    out[k] = codes[k] < 0 ? py::object(py::none()) : texts[codes[k]];
  }
  return out;
}

py::list questions_of(const QuestionTable& table) {
  py::list out(table.image_index.size());
  for (size_t k = 0; k < table.image_index.size(); ++k) {
    const int64_t begin = table.text_offsets[k];
    out[k] =
        py::str(table.text.data() + begin, static_cast<size_t>(table.text_offsets[k + 1] - begin));
  }
  return out;
}

// A read-only property that shows a vector of the table as an array.
template <class Table, class T>
void bind_array(py::class_<Table>& type, const char* name, std::vector<T> Table::* member,
                const char* doc, py::ssize_t columns = 0) {
  type.def_property_readonly(
      name,
      [member, columns](const py::object& self) {
        return numpy_view(self, self.cast<Table&>().*member, columns);
      },
      doc);
}

void bind_scene_table(py::module_& m) {
  using T = SceneTable;
  py::class_<T> type(m, "SceneTable", "Scenes as flat arrays, one after the other.");
  bind_array(type, "counts", &T::counts, "int32 [S]: objects in each scene.");
  bind_array(type, "fields", &T::fields,
             "uint8 [S]: bits of what the scene came with: 1 pixel, 2 relations, 4 masks.");
  bind_array(type, "image_index", &T::image_index, "int64 [S].");
  bind_array(type, "scene_visibility", &T::scene_visibility,
             "uint8 [S]: 0 unknown, 1 usable, 2 invalid.");
  bind_array(type, "codes", &T::codes, "uint16 [O, 4]: color, material, shape, size.", kAttributes);
  bind_array(type, "position", &T::position, "float64 [O, 3]: along right, along front, height.",
             3);
  bind_array(type, "pixel", &T::pixel, "float64 [O, 3]: x, y, depth; empty without them.", 3);
  bind_array(type, "visibility", &T::visibility,
             "uint8 [O]: 0 unknown, 1 fully, 2 partially; empty without masks.");
  bind_array(type, "relation_offsets", &T::relation_offsets,
             "int64 [4 * O + 1]: left, right, behind, front of each object; empty without them.");
  bind_array(type, "relation_items", &T::relation_items, "int32: object ids in their scene.");
  type.def_property_readonly("image_filename", [](const T& t) { return t.image_filename; });
  type.def_property_readonly(
      "strings", [](const T& t) { return t.strings; },
      "Attribute strings beyond CLEVR's; code = 17 + position.");
}

void bind_question_table(py::module_& m) {
  using T = QuestionTable;
  py::class_<T> type(m, "QuestionTable", "Questions or expressions as flat arrays.");
  type.def_property_readonly("kind",
                             [](const T& t) { return t.refexps ? "refexps" : "questions"; });
  type.def("__len__", [](const T& t) { return t.image_index.size(); });
  bind_array(type, "image_index", &T::image_index, "int64 [Q].");
  bind_array(type, "question_index", &T::question_index,
             "int64 [Q]: question_index or refexp_index, else the position.");
  bind_array(type, "family_index", &T::family_index, "int32 [Q]: -1 without one.");
  bind_array(type, "program_offsets", &T::program_offsets, "int64 [Q + 1] into the nodes.");
  bind_array(type, "node_functions", &T::node_functions, "int32 [N] into `functions`.");
  bind_array(type, "input_offsets", &T::input_offsets, "int64 [N + 1] into `inputs`.");
  bind_array(type, "inputs", &T::inputs, "int32: earlier nodes of the same program.");
  bind_array(type, "has_outputs", &T::has_outputs,
             "uint8 [Q]: the file gives the objects an expression refers to.");
  bind_array(type, "output_offsets", &T::output_offsets, "int64 [Q + 1] into `outputs`.");
  bind_array(type, "outputs", &T::outputs, "int32: objects referred to, in file order.");
  type.def_property_readonly("questions", &questions_of, "Texts; a new list at every access.");
  type.def_property_readonly(
      "answers", [](const T& t) { return names_by_code(t.answers, t.answer); },
      "Answers as text or None; a new list at every access.");
  type.def_property_readonly("image_filename", [](const T& t) {
    return names_by_code(t.image_filenames, t.image_filename);
  });
  type.def_property_readonly("template_filename", [](const T& t) {
    return names_by_code(t.template_filenames, t.template_filename);
  });
  type.def_property_readonly(
      "functions", [](const T& t) { return t.functions; },
      "Function strings, name or name[value,value], by first appearance.");
}

}  // namespace

void bind_readers(py::module_& m) {
  bind_scene_table(m);
  bind_question_table(m);
  m.def(
      "read_scenes",
      [](const py::buffer& data, bool masks) {
        return read_text(data, [masks](std::string_view text) { return read_scenes(text, masks); });
      },
      py::arg("data"), py::arg("masks") = false,
      "Read the bytes of a scene file; `masks` asks for occlusion classes. ValueError says where.");
  m.def(
      "read_questions", [](const py::buffer& data) { return read_text(data, read_questions); },
      py::arg("data"), "Read the bytes of a question or expression file. ValueError says where.");
  m.def("scene_table", &make_scene_table, py::arg("counts"), py::arg("codes"), py::arg("position"),
        py::arg("pixel") = py::none(), py::arg("relation_offsets") = py::none(),
        py::arg("relation_items") = py::none(), py::arg("visibility") = py::none(),
        py::arg("scene_visibility") = py::none(), py::arg("strings") = std::vector<std::string>(),
        py::arg("image_index") = py::none(), py::arg("image_filename") = py::none(),
        "Make a scene table from arrays laid out as its properties are.");
  bind_masks(m);
}

}  // namespace pyvqa
