// Question templates, ready to be instantiated: names resolved to ids, checked once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "execute/bytecode.h"
#include "native/scene_table.h"
#include "world/wording.h"

namespace pyvqa::world {

// Types of parameters; the first four are the attributes in the order of the string codes.
enum ParamType : uint8_t {
  color = 0,
  material,
  shape,
  size,
  relation,
  number,
  side,
  visibility,
  kParamTypes
};

// A parameter's value is a position in its type's list, or one of these.
inline constexpr int8_t kNone = -1, kUnassigned = -2;

struct Param {
  std::string name;
  ParamType type = color;
  bool empty = false;  // must stay without a value
};

struct TemplateNode {
  enum class Kind { plain, filter, relate_filter };
  enum class Result { set, unique, count, exist };  // what a filter ends in

  Kind kind = Kind::plain;
  Result result = Result::set;
  std::vector<int> inputs;
  std::array<int8_t, kParamTypes> slot{};  // its parameter of each type, -1 where it has none
  int8_t param = -1;                       // a plain node's one parameter
  std::vector<int16_t> functions;          // of a plain node: one, or one for each value of `param`
};

struct Constraint {
  bool on_outputs =
      false;  // of two nodes, which must differ; else of two parameters, which must not
  int first = 0, second = 0;
};

// The answers a template can have: codes first..first+count-1 (strings first, then numbers).
struct AnswerRange {
  int first = 0, count = 0;
};
inline constexpr int kMaxCount = 10;                // largest number that is an answer
inline constexpr int kFirstNumber = kKnownStrings;  // the code of answer 0
inline constexpr int kAnswers = kKnownStrings + kMaxCount + 1;

inline constexpr int kMostNodes = 100;  // that a template expands to; positions fit eight bits
inline constexpr int kMostTokens = 1000;

struct Template {
  std::vector<Param> params;
  std::vector<TemplateNode> nodes;
  std::vector<Constraint> constraints;
  std::vector<Wording> wordings;
  AnswerRange answers;
  bool relates = false;      // has a `relate` of its own: degenerate instances must be sorted out
  bool two_objects = false;  // describes exactly two objects: "other" may be superfluous
  // Whether a search depends on how earlier results came about, not on the results alone; and for
  // each node the earlier ones whose results it or a later one asks for.
  bool path_matters = false;
  std::vector<std::vector<int>> live;
};

// A template as its file has it, names and all.
struct TemplateSource {
  struct Node {
    std::string type;
    std::vector<int> inputs;
    std::vector<int> params;
  };
  std::vector<std::string> texts;
  std::vector<std::pair<std::string, std::string>> params;  // name, type
  std::vector<Node> nodes;
  std::vector<std::tuple<std::string, int, int>>
      constraints;  // NEQ, NULL, OUT_NEQ; second unused: -1
};

// The functions of a language: their strings, instructions, and the ids that templates expand to.
class Functions {
 public:
  explicit Functions(std::vector<std::string> strings);

  int16_t id(const std::string& function) const;  // throws std::invalid_argument for an unknown one
  uint64_t word(int16_t id) const { return words_[static_cast<size_t>(id)]; }
  Op op(int16_t id) const { return static_cast<Op>(words_[static_cast<size_t>(id)] & 0xff); }
  int operands_of(int16_t id) const;

  int16_t scene = -1, unique = -1, count = -1, exist = -1;
  std::array<int16_t, kValues> filter{};
  std::array<int16_t, kRelations> relate{};
  std::array<int16_t, 27> ordinal{};  // number + 9 * side; -1 in languages without
  std::array<int16_t, 2> visible{};

 private:
  std::vector<std::string> strings_;
  std::vector<uint64_t> words_;
};

// Values of a parameter type, in the order of their positions.
const std::vector<std::string>& values_of(ParamType type);

// Position of an attribute's first value among all fifteen.
inline constexpr int kFirstValue[kAttributes + 1] = {0, 8, 10, 13, 15};

// Throws std::invalid_argument that says what is wrong with the template. In expressions
// (CLEVR-Ref+) the count that ends a template is left out: its input is what the expression refers
// to.
Template compile_template(const TemplateSource& source, const Functions& functions,
                          bool expressions);

}  // namespace pyvqa::world
