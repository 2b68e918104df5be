// Python's face of program compilation and scene packing.
#include "programs/programs_module.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "execute/pack.h"
#include "programs/compile.h"

namespace py = pybind11;

namespace pyvqa {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

Language language_named(const std::string& name) {
  if (name == "clevr") return Language::clevr;
  if (name == "clevr-ref") return Language::clevr_ref;
  throw std::invalid_argument("unknown language '" + name + "'; known: clevr, clevr-ref");
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& v) {
  return py::array_t<T>(static_cast<py::ssize_t>(v.size()), v.data());
}

// The instruction word of each token; `<END>` ends a program, anything unknown is skipped, as the
// two-register machine does with the special tokens.
py::array_t<int64_t> instruction_table(const std::string& language,
                                       const std::vector<std::string>& tokens) {
  const Language l = language_named(language);
  std::vector<int64_t> words;
  for (const std::string& token : tokens) {
    if (token == "<END>") words.push_back(Instruction{.op = Op::end}.word());
    else words.push_back(instruction(l, token).value_or(Instruction{}).word());
  }
  return to_array(words);
}

bool knows(const std::string& language, const std::string& function) {
  return instruction(language_named(language), function).has_value();
}

void check_nodes(const Array<int64_t>& program_offsets, const Array<int32_t>& node_functions,
                 const Array<int64_t>& input_offsets, const Array<int32_t>& inputs) {
  const auto monotone = [](const Array<int64_t>& a, int64_t total) {
    if (a.ndim() != 1 || a.size() < 1 || a.at(0) != 0 || a.at(a.size() - 1) != total) return false;
    for (py::ssize_t i = 1; i < a.size(); ++i)
      if (a.at(i) < a.at(i - 1)) return false;
    return true;
  };
  if (!monotone(program_offsets, node_functions.size()) ||
      !monotone(input_offsets, inputs.size()) || input_offsets.size() != node_functions.size() + 1)
    throw std::invalid_argument(
        "program arrays do not fit together: offsets must ascend from 0 to the array's size");
}

py::tuple compile_programs(const std::string& language, const std::vector<std::string>& functions,
                           const Array<int64_t>& program_offsets,
                           const Array<int32_t>& node_functions,
                           const Array<int64_t>& input_offsets, const Array<int32_t>& inputs) {
  check_nodes(program_offsets, node_functions, input_offsets, inputs);
  const ProgramNodes nodes{program_offsets.data(), program_offsets.size() - 1,
                           node_functions.data(),  input_offsets.data(),
                           inputs.data(),          node_functions.size()};
  const Language l = language_named(language);
  CompiledPrograms out;
  {
    py::gil_scoped_release release;
    out = ProgramCompiler(l, functions, nodes).compile();
  }
  return py::make_tuple(to_array(out.rows).reshape({static_cast<py::ssize_t>(nodes.programs),
                                                    static_cast<py::ssize_t>(out.length)}),
                        to_array(out.table));
}

py::tuple pack_scenes(const SceneTable& table, const std::string& relations) {
  if (relations != "positions" && relations != "stored")
    throw std::invalid_argument("relations must be 'positions' or 'stored'");
  const bool stored = relations == "stored";
  int64_t most = 0;
  for (const int32_t n : table.counts) most = std::max<int64_t>(most, n);
  const int width = words_per_set(most);
  PackedScenes packed;
  {
    py::gil_scoped_release release;
    packed = ScenePacker(table, width, stored ? RelationSource::stored : RelationSource::positions)
                 .pack();
  }
  return py::make_tuple(to_array(packed.words), to_array(packed.offsets), width);
}

}  // namespace

void bind_programs(py::module_& m) {
  m.attr("KNOWN_STRINGS") = std::vector<std::string>(kStrings, kStrings + kKnownStrings);
  m.def("instruction_table", &instruction_table, py::arg("language"), py::arg("tokens"));
  m.def("knows_function", &knows, py::arg("language"), py::arg("function"));
  m.def("compile_programs", &compile_programs, py::arg("language"), py::arg("functions"),
        py::arg("program_offsets"), py::arg("node_functions"), py::arg("input_offsets"),
        py::arg("inputs"));
  m.def("pack_scenes", &pack_scenes, py::arg("table"), py::arg("relations"));
}

}  // namespace pyvqa
