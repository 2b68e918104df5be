// The question reader: a table that comes out is whole, and its programs compile or are refused.
#include "fuzz.h"

#include <algorithm>
#include <string>

#include "native/json.h"
#include "native/question_reader.h"
#include "programs/compile.h"

namespace {

using pyvqa::Names;
using pyvqa::QuestionTable;
using pyvqa::fuzz::require;

void check_offsets(const std::vector<int64_t>& offsets, size_t rows, size_t items) {
  require(offsets.size() == rows + 1, "one offset per row and one more");
  require(offsets.front() == 0 && offsets.back() == static_cast<int64_t>(items),
          "offsets run from 0 to the number of items");
  for (size_t k = 0; k < rows; ++k) require(offsets[k] <= offsets[k + 1], "offsets ascend");
}

void check_codes(const std::vector<int32_t>& codes, const Names& names, size_t rows, int lowest) {
  require(codes.size() == rows, "one code per row");
  for (const int32_t code : codes) {
    require(code >= lowest && code < static_cast<int64_t>(names.size()), "codes name strings");
  }
}

void check(const QuestionTable& table) {
  const size_t rows = table.image_index.size(), nodes = table.node_functions.size();
  require(table.question_index.size() == rows && table.family_index.size() == rows &&
              table.has_outputs.size() == rows,
          "one entry per question");
  check_codes(table.image_filename, table.image_filenames, rows, -1);
  check_codes(table.template_filename, table.template_filenames, rows, -1);
  check_codes(table.answer, table.answers, rows, -1);
  check_codes(table.node_functions, table.functions, nodes, 0);
  check_offsets(table.text_offsets, rows, table.text.size());
  check_offsets(table.program_offsets, rows, nodes);
  check_offsets(table.output_offsets, rows, table.outputs.size());
  check_offsets(table.input_offsets, nodes, table.inputs.size());
  for (size_t q = 0; q < rows; ++q) {
    for (int64_t k = table.program_offsets[q]; k < table.program_offsets[q + 1]; ++k) {
      for (int64_t i = table.input_offsets[k]; i < table.input_offsets[k + 1]; ++i) {
        const int32_t input = table.inputs[static_cast<size_t>(i)];
        require(input >= 0 && input < k - table.program_offsets[q], "inputs come before");
      }
    }
  }
}

void compile(const QuestionTable& table) {
  const pyvqa::ProgramNodes nodes{
      table.program_offsets.data(), static_cast<int64_t>(table.image_index.size()),
      table.node_functions.data(),  table.input_offsets.data(),
      table.inputs.data(),          static_cast<int64_t>(table.node_functions.size())};
  for (const auto language : {pyvqa::Language::clevr, pyvqa::Language::clevr_ref}) {
    try {
      const auto out = pyvqa::ProgramCompiler(language, table.functions, nodes).compile();
      for (const int32_t id : out.rows) {
        require(id >= 0 && id < static_cast<int64_t>(out.table.size()), "ids are in the table");
      }
    } catch (const std::invalid_argument&) {  // unknown functions, programs that grow too long
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const QuestionTable table = pyvqa::read_questions(text);
    check(table);
    compile(table);
  } catch (const pyvqa::json::JsonError& error) {
    require(error.offset() <= text.size(), "errors lie inside the text");
  }
  return 0;
}
