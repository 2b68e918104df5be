// From a template's sentence to the text of a question or expression.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "world/random.h"

namespace pyvqa::world {

struct Param;
struct Template;

// A sentence cut into what stays, what is filled in and what may be dropped.
struct Wording {
  enum class Kind : uint8_t { text, param, open, close };
  struct Piece {
    Kind kind;
    std::string text;
    int param = -1;
  };
  std::vector<Piece> pieces;
};

// Throws std::invalid_argument for a placeholder that is no parameter and for unpaired brackets.
Wording parse_wording(const std::string& text, const std::vector<Param>& params);

// The words that a value, or a missing shape, may be written with.
class Vocabulary {
 public:
  explicit Vocabulary(const std::map<std::string, std::vector<std::string>>& synonyms);

  // Words of value `value` of a parameter type; kNone gives those of a missing value.
  const std::vector<std::string>& words(int type, int value) const;

 private:
  std::vector<std::vector<std::vector<std::string>>> words_;  // [type][value + 1]
};

// One wording of the template, filled in: a random synonym for each value, bracketed parts kept or
// dropped by a coin, "other" left out where the two descriptions differ anyway. Expressions begin
// with a capital or with "The" (clevr-refplus-dataset-gen refexp_generation/generate_refexp.py).
std::string write_text(const Template& t, const std::vector<int8_t>& values,
                       const Vocabulary& vocabulary, bool expression, Random& random);

}  // namespace pyvqa::world
