// Python's face of the built-in world: scene placement and template expansion.
#include "world/world_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "execute/execute.h"
#include "world/generator.h"
#include "world/placement.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

using namespace world;

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
py::array_t<T> to_array(const std::vector<T>& v, std::vector<py::ssize_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<py::ssize_t>(v.size())};
  return py::array_t<T>(shape, v.data());
}

Condition condition_named(const std::string& name) {
  if (name == "any") return Condition::any;
  if (name == "a") return Condition::a;
  if (name == "b") return Condition::b;
  throw std::invalid_argument("unknown condition '" + name + "'; known: any, a, b");
}

py::dict place_scenes(uint64_t seed, const Array<uint64_t>& indices,
                      const Array<uint32_t>& attempts, int least, int most,
                      const std::string& condition) {
  if (indices.ndim() != 1 || attempts.ndim() != 1 || indices.size() != attempts.size())
    throw std::invalid_argument(
        "indices and attempts must be arrays of one dimension and equal size");
  if (least < 0 || most < least || most > 10)
    throw std::invalid_argument("0 <= least <= most <= 10 objects fit a scene");
  const PlacementSettings settings{least, most, condition_named(condition)};
  Placement out;
  {
    py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < indices.size(); ++i)
      place_scene(seed, indices.data()[i], attempts.data()[i], settings, out);
  }
  const auto scenes = static_cast<py::ssize_t>(out.counts.size()),
             objects = static_cast<py::ssize_t>(out.rotation.size());
  py::dict made;
  made["counts"] = to_array(out.counts);
  made["camera_jitter"] = to_array(out.jitter, {scenes, 3});
  made["lamp_jitter"] = to_array(out.lamp_jitter, {scenes, 3, 3});
  made["grain"] = to_array(out.grain);
  made["codes"] = to_array(out.codes, {objects, kAttributes});
  made["coordinates"] = to_array(out.coordinates, {objects, 3});
  made["rotation"] = to_array(out.rotation);
  return made;
}

// (texts, [(name, type)], [(type, inputs, params)], [(type, first, second)])
using Node = std::tuple<std::string, std::vector<int>, std::vector<int>>;
using Source =
    std::tuple<std::vector<std::string>, std::vector<std::pair<std::string, std::string>>,
               std::vector<Node>, std::vector<std::tuple<std::string, int, int>>>;

std::unique_ptr<Generator> make_generator(
    const std::vector<std::string>& functions, const std::vector<Source>& templates,
    const std::map<std::string, std::vector<std::string>>& synonyms, bool expressions,
    int per_scene, int block, double trivial, int64_t max_visits, int nothing) {
  std::vector<TemplateSource> sources;
  for (const auto& [texts, params, nodes, constraints] : templates) {
    TemplateSource source{texts, params, {}, constraints};
    for (const auto& [type, inputs, used] : nodes) source.nodes.push_back({type, inputs, used});
    sources.push_back(std::move(source));
  }
  return std::make_unique<Generator>(
      functions, sources, synonyms,
      GeneratorSettings{{.expressions = expressions, .trivial = trivial, .max_visits = max_visits},
                        per_scene,
                        block,
                        nothing});
}

void check_scenes(const Array<int64_t>& words, const Array<int64_t>& offsets) {
  if (words.ndim() != 1 || offsets.ndim() != 1 || offsets.size() < 1)
    throw std::invalid_argument("words and offsets must be arrays of one dimension");
  const int64_t scenes = offsets.size() - 1;
  Job job{};
  job.words = reinterpret_cast<const uint64_t*>(words.data());
  job.offsets = offsets.data();
  job.scenes = scenes;
  job.word_count = words.size();
  for (int64_t s = 0; s < scenes; ++s)
    if (!scene_fits<1>(job, s))
      throw std::invalid_argument("scene " + std::to_string(s) +
                                  " is not packed with one word per set (64 objects at most)");
}

py::dict generate(const Generator& generator, const Array<int64_t>& words,
                  const Array<int64_t>& offsets, uint64_t first, uint64_t seed) {
  check_scenes(words, offsets);
  Batch batch;
  {
    py::gil_scoped_release release;
    batch = generator.generate(reinterpret_cast<const uint64_t*>(words.data()), offsets.data(),
                               offsets.size() - 1, first, seed);
  }
  py::dict out;
  out["scene"] = to_array(batch.scene);
  out["family"] = to_array(batch.family);
  out["answer"] = to_array(batch.answer);
  out["text"] = batch.text;
  out["offsets"] = to_array(batch.offsets);
  out["function"] = to_array(batch.function);
  out["inputs"] = to_array(batch.inputs, {static_cast<py::ssize_t>(batch.function.size()), 2});
  out["objects"] = to_array(batch.objects);
  out["prefix_offsets"] = to_array(batch.prefix_offsets);
  out["prefix"] = to_array(batch.prefix);
  return out;
}

}  // namespace

void bind_world(py::module_& m) {
  m.def("place_scenes", &place_scenes, py::arg("seed"), py::arg("indices"), py::arg("attempts"),
        py::arg("least"), py::arg("most"), py::arg("condition"));
  py::class_<Generator>(m, "QuestionGenerator")
      .def(py::init(&make_generator), py::arg("functions"), py::arg("templates"),
           py::arg("synonyms"), py::kw_only(), py::arg("expressions"), py::arg("per_scene"),
           py::arg("block"), py::arg("trivial"), py::arg("max_visits"), py::arg("nothing"))
      .def("generate", &generate, py::arg("words"), py::arg("offsets"), py::arg("first"),
           py::arg("seed"));
}

}  // namespace pyvqa
