// Question and expression files, straight from JSON text into flat arrays.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pyvqa {

// Strings that come up again and again, each kept once and named by its position.
using Names = std::vector<std::string>;

struct QuestionTable {
  bool refexps = false;  // expressions of CLEVR-Ref+ rather than questions
  // one entry per question
  std::vector<int64_t> image_index;
  std::vector<int64_t> question_index;     // or refexp_index; the position where the file has none
  std::vector<int32_t> family_index;       // -1 where the file has none
  std::vector<int32_t> image_filename;     // into image_filenames; -1 where the file has none
  std::vector<int32_t> template_filename;  // into template_filenames; -1 where the file has none
  std::vector<int32_t> answer;             // into answers; -1 where the file has none
  std::vector<int64_t> text_offsets;       // [Q + 1] into text
  std::vector<int64_t> program_offsets;    // [Q + 1] into node_functions
  std::vector<uint8_t> has_outputs;        // the last node of an expression's program has `_output`
  std::vector<int64_t> output_offsets;     // [Q + 1] into outputs
  std::string text;                        // the questions, one after the other, UTF-8
  std::vector<int32_t> outputs;            // objects that the expressions refer to, as in the file
  // one entry per program node
  std::vector<int32_t> node_functions;  // into functions
  std::vector<int64_t> input_offsets;   // [nodes + 1] into inputs
  std::vector<int32_t> inputs;          // nodes of the same program, earlier ones only
  Names image_filenames, template_filenames, answers;
  Names functions;  // "name" or "name[value,value]"
};

// Reads {"questions": [...]} or {"refexps": [...]} in the flavours of the releases and of the
// generators: nodes with `function` or `type`, `value_inputs` or `side_inputs`; answers as text,
// true/false (yes/no) or integers (decimal text). Throws json::JsonError whose message begins
// "question N: " or "refexp N: " inside an entry.
// Sources: ns-vqa reason/tools/preprocess_questions.py, iep-ref scripts/preprocess_refexps.py,
// clevr-dataset-gen question_generation/generate_questions.py.
QuestionTable read_questions(std::string_view text);

}  // namespace pyvqa
