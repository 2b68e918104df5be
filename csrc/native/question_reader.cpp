#include "native/question_reader.h"

#include <optional>
#include <unordered_map>

#include "native/json.h"

namespace pyvqa {
namespace {

using json::JsonError;
using json::Kind;

// Hands out the positions of strings in a list of names.
class Interner {
 public:
  explicit Interner(Names& names) : names_(names) {}

  int32_t code(std::string_view name) {
    if (last_ >= 0 && names_[last_] == name) return last_;  // neighbours are often alike
    const auto found = codes_.find(name);
    if (found != codes_.end()) return last_ = found->second;
    last_ = static_cast<int32_t>(names_.size());
    names_.emplace_back(name);
    codes_.emplace(name, last_);
    return last_;
  }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  Names& names_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> codes_;
  int32_t last_ = -1;
};

// One entry as the file gives it, fields in any order.
struct Entry {
  size_t offset = 0;
  std::optional<int64_t> image_index, index, family;
  std::optional<int32_t> image_filename, template_filename, answer;
  bool has_text = false;
  std::string text;
};

// A table and what fills its names; a second list under the same key starts afresh.
struct Tables {
  QuestionTable out;
  Interner image_filenames{out.image_filenames};
  Interner template_filenames{out.template_filenames};
  Interner answers{out.answers};
  Interner functions{out.functions};
};

class QuestionReader {
 public:
  explicit QuestionReader(std::string_view text) : text_(text), in_(text) {}
  QuestionTable read();

 private:
  void read_file();
  void read_list(bool refexps);
  void read_entry(Entry& entry);
  void read_field(std::string_view key, Entry& entry);
  void read_answer(Entry& entry);
  void read_program();
  void read_node(int64_t index);
  void read_values();
  void read_inputs(int64_t index);
  bool read_outputs(size_t at);
  void add_entry(const Entry& entry);
  std::optional<int64_t> optional_integer();
  std::optional<int32_t> optional_name(Interner& names);

  const std::string_view text_;
  json::Parser in_;
  std::optional<Tables> tables_;
  int64_t position_ = -1;  // of the entry being read; -1 outside the list
  bool refexps_ = false;
  // of the program and node being read
  size_t first_node_ = 0, first_input_ = 0;
  size_t output_at_ = 0;  // where the last node's `_output` stands; 0 if it has none
  std::string name_, values_;
  int value_count_ = 0;
};

QuestionTable QuestionReader::read() {
  try {
    read_file();
  } catch (const JsonError& error) {
    if (position_ < 0) throw;
    throw JsonError(
        (refexps_ ? "refexp " : "question ") + std::to_string(position_) + ": " + error.what(),
        error.offset());
  }
  return std::move(tables_->out);
}

void QuestionReader::read_file() {
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    const bool refexps = key == "refexps";
    if (!refexps && key != "questions") {
      in_.skip();
      continue;
    }
    if (tables_ && refexps != refexps_) in_.fail("the file has both 'questions' and 'refexps'");
    read_list(refexps);
  }
  if (!tables_) in_.fail("the file has neither 'questions' nor 'refexps'");
  in_.finish();
}

void QuestionReader::read_list(bool refexps) {
  refexps_ = refexps;
  tables_.emplace();
  QuestionTable& out = tables_->out;
  out.refexps = refexps;
  out.text_offsets.push_back(0);
  out.program_offsets.push_back(0);
  out.output_offsets.push_back(0);
  out.input_offsets.push_back(0);
  Entry entry;
  in_.enter_array();
  while (in_.next_item()) {
    position_ = static_cast<int64_t>(out.image_index.size());
    read_entry(entry);
    add_entry(entry);
  }
  position_ = -1;
}

void QuestionReader::read_entry(Entry& entry) {
  in_.kind();
  entry.offset = in_.offset();
  entry.image_index.reset();
  entry.index.reset();
  entry.family.reset();
  entry.image_filename.reset();
  entry.template_filename.reset();
  entry.answer.reset();
  entry.has_text = false;
  first_node_ = tables_->out.node_functions.size();
  first_input_ = tables_->out.inputs.size();
  output_at_ = 0;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) read_field(key, entry);
}

void QuestionReader::read_field(std::string_view key, Entry& entry) {
  if (key == "program") {
    read_program();
  } else if (key == (refexps_ ? "refexp" : "question")) {
    entry.text = in_.string();
    entry.has_text = true;
  } else if (key == "answer") {
    read_answer(entry);
  } else if (key == "image_index") {
    entry.image_index = in_.integer();
    if (*entry.image_index < 0) in_.fail("image_index is negative");
  } else if (key == (refexps_ ? "refexp_index" : "question_index")) {
    entry.index = optional_integer();
  } else if (key == (refexps_ ? "refexp_family_index" : "question_family_index")) {
    entry.family = optional_integer();
    if (entry.family && (*entry.family < 0 || *entry.family > INT32_MAX)) {
      in_.fail("the family index is out of range");
    }
  } else if (key == "image_filename") {
    entry.image_filename = optional_name(tables_->image_filenames);
  } else if (key == "template_filename") {
    entry.template_filename = optional_name(tables_->template_filenames);
  } else {
    in_.skip();
  }
}

std::optional<int64_t> QuestionReader::optional_integer() {
  if (in_.null()) return std::nullopt;
  return in_.integer();
}

std::optional<int32_t> QuestionReader::optional_name(Interner& names) {
  if (in_.null()) return std::nullopt;
  return names.code(in_.string());
}

// The generator writes what the engine returned; the release writes its text.
void QuestionReader::read_answer(Entry& entry) {
  switch (in_.kind()) {
    case Kind::string: entry.answer = tables_->answers.code(in_.string()); return;
    case Kind::boolean: entry.answer = tables_->answers.code(in_.boolean() ? "yes" : "no"); return;
    case Kind::number: entry.answer = tables_->answers.code(std::to_string(in_.integer())); return;
    case Kind::null:
      in_.null();
      entry.answer.reset();
      return;
    default: in_.fail("an answer must be text, an integer, true, false or null");
  }
}

void QuestionReader::read_program() {
  QuestionTable& out = tables_->out;
  out.node_functions.resize(first_node_);  // of two programs in one entry the last counts
  out.input_offsets.resize(first_node_ + 1);
  out.inputs.resize(first_input_);
  output_at_ = 0;
  if (in_.null()) return;
  in_.enter_array();
  for (int64_t index = 0; in_.next_item(); ++index) read_node(index);
}

void QuestionReader::read_node(int64_t index) {
  QuestionTable& out = tables_->out;
  const size_t first = out.inputs.size();
  bool has_name = false;
  name_.clear();
  value_count_ = 0;
  output_at_ = 0;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    if (key == "inputs") {
      out.inputs.resize(first);
      read_inputs(index);
    } else if (key == "function" || key == "type") {
      name_ = in_.string();
      has_name = true;
    } else if (key == "value_inputs" || key == "side_inputs") {
      read_values();
    } else if (refexps_ && key == "_output") {
      output_at_ = in_.offset();
      in_.skip();
    } else {
      in_.skip();
    }
  }
  if (!has_name || name_.empty()) {
    in_.fail("program node " + std::to_string(index) + " has no 'function' or 'type'");
  }
  if (value_count_ > 0) {
    name_ += '[';
    name_ += values_;
    name_ += ']';
  }
  out.node_functions.push_back(tables_->functions.code(name_));
  out.input_offsets.push_back(static_cast<int64_t>(out.inputs.size()));
}

void QuestionReader::read_values() {
  values_.clear();
  value_count_ = 0;
  if (in_.null()) return;
  in_.enter_array();
  for (; in_.next_item(); ++value_count_) {
    if (value_count_ > 0) values_ += ',';
    values_ += in_.string();
  }
}

void QuestionReader::read_inputs(int64_t index) {
  in_.enter_array();
  while (in_.next_item()) {
    const int64_t input = in_.integer();
    if (input < 0 || input >= index) {
      in_.fail("program node " + std::to_string(index) + " takes its input from node " +
               std::to_string(input) + ", which does not come before it");
    }
    tables_->out.inputs.push_back(static_cast<int32_t>(input));
  }
}

// The objects in an `_output` already skipped once: a list of them or, after `unique`, one.
bool QuestionReader::read_outputs(size_t at) {
  std::vector<int32_t>& outputs = tables_->out.outputs;
  const size_t first = outputs.size(), back = in_.offset();
  in_.rewind(at);
  bool objects = true;
  const auto read_one = [&] {
    if (in_.kind() != Kind::number) {
      objects = false;
      in_.skip();
      return;
    }
    const int64_t object = in_.integer();
    if (object < 0 || object > INT32_MAX) in_.fail("an object of '_output' is out of range");
    outputs.push_back(static_cast<int32_t>(object));
  };
  if (in_.kind() == Kind::array) {
    in_.enter_array();
    while (in_.next_item()) read_one();
  } else {
    read_one();
  }
  if (!objects) outputs.resize(first);
  in_.rewind(back);
  return objects;
}

void QuestionReader::add_entry(const Entry& entry) {
  QuestionTable& out = tables_->out;
  if (!entry.has_text) {
    throw JsonError(refexps_ ? "the entry has no 'refexp'" : "the entry has no 'question'",
                    entry.offset);
  }
  if (!entry.image_index) throw JsonError("the entry has no 'image_index'", entry.offset);
  out.image_index.push_back(*entry.image_index);
  out.question_index.push_back(entry.index.value_or(position_));
  out.family_index.push_back(static_cast<int32_t>(entry.family.value_or(-1)));
  out.image_filename.push_back(entry.image_filename.value_or(-1));
  out.template_filename.push_back(entry.template_filename.value_or(-1));
  out.answer.push_back(entry.answer.value_or(-1));
  out.text += entry.text;
  out.text_offsets.push_back(static_cast<int64_t>(out.text.size()));
  out.program_offsets.push_back(static_cast<int64_t>(out.node_functions.size()));
  out.has_outputs.push_back(output_at_ != 0 && read_outputs(output_at_));
  out.output_offsets.push_back(static_cast<int64_t>(out.outputs.size()));
}

}  // namespace

QuestionTable read_questions(std::string_view text) { return QuestionReader(text).read(); }

}  // namespace pyvqa
