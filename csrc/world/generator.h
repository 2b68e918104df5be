// Questions, or expressions, for many scenes: which template comes when, and the balance of
// answers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "world/search.h"
#include "world/template.h"
#include "world/wording.h"

namespace pyvqa::world {

struct GeneratorSettings {
  SearchSettings search;
  int per_scene = 10;  // questions asked of a scene
  int block = 250;     // scenes after which the counts of uses and answers start again
  int nothing = 0;     // expressions added to those of a scene that refer to no object
};

// Q questions, programs one after the other.
struct Batch {
  std::vector<int32_t> scene;       // [Q] position among the scenes given
  std::vector<int16_t> family;      // [Q] position of the template
  std::vector<int16_t> answer;      // [Q] code; of expressions that of the number of objects
  std::vector<std::string> text;    // [Q]
  std::vector<int64_t> offsets{0};  // [Q + 1] first node of each program
  std::vector<int16_t> function;    // [nodes]
  std::vector<int8_t> inputs;       // [nodes, 2], -1 where there is none
  std::vector<uint64_t> objects;    // [nodes] the set after a node; for an object the one bit
  std::vector<int64_t> prefix_offsets{0};  // [Q + 1]
  std::vector<int16_t> prefix;             // functions in prefix order
};

class Generator {
 public:
  // Throws std::invalid_argument; a template's message begins with its position, "template 12: ".
  Generator(std::vector<std::string> functions, const std::vector<TemplateSource>& templates,
            const std::map<std::string, std::vector<std::string>>& synonyms,
            const GeneratorSettings& settings);

  // Scenes packed with one word per set. `first` is the position of the first one in the data set:
  // what is asked of an image depends on (seed, its block, templates, settings) alone, so `first`
  // must begin a block.
  Batch generate(const uint64_t* words, const int64_t* offsets, int64_t scenes, uint64_t first,
                 uint64_t seed) const;

 private:
  Functions functions_;
  std::vector<Template> templates_;
  Vocabulary vocabulary_;
  GeneratorSettings settings_;

  // Asks up to `wanted` questions of one scene, templates least used so far first.
  struct Task;
  void ask_scene(const Task& task, std::vector<int64_t>& uses, std::vector<AnswerBalance>& balance,
                 Batch& out) const;
  void add(const Instance& instance, int64_t scene, size_t family, Random& random,
           Batch& out) const;
};

}  // namespace pyvqa::world
