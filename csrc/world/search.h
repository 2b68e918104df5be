// One template on one scene: a depth-first search for values that make a good question
// (clevr-dataset-gen question_generation/generate_questions.py, instantiate_templates_dfs).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "world/balance.h"
#include "world/candidates.h"
#include "world/outcome.h"
#include "world/random.h"
#include "world/template.h"

namespace pyvqa::world {

struct ProgramNode {
  int16_t function = -1;
  std::array<int8_t, 2> inputs{-1, -1};
  Outcome outcome;
};

struct Instance {
  std::vector<int8_t> values;  // of the template's parameters
  std::vector<ProgramNode> program;
  int answer = 0;  // code; of expressions: that of the number of objects
};

struct SearchSettings {
  bool expressions = false;
  double trivial = 0.1;         // share of relations that exclude nothing
  bool nothing = false;         // expressions that must refer to no object
  int64_t max_visits = 20'000;  // partial programs looked at before a template is given up
};

// A scene and what every template asks of it.
struct SceneView {
  explicit SceneView(const uint64_t* scene_words);
  const uint64_t* words;
  std::vector<Candidate> filters;  // of the whole scene
  bool can_see = false;            // has occlusion classes that filter_visible can use
};

class Search {
 public:
  Search(const Template& t, const Functions& functions, const SceneView& scene,
         const AnswerBalance& balance, const SearchSettings& settings, Random& random);

  // Finds one instance; false when there is none (or none within the limit).
  bool run(Instance& out);

 private:
  const Template& template_;
  const Functions& functions_;
  const SceneView& scene_;
  const AnswerBalance& balance_;
  const SearchSettings& settings_;
  Random& random_;

  std::vector<int8_t> values_;             // [params]
  std::vector<Outcome> outcomes_;          // [template nodes]
  std::vector<Candidate> chosen_;          // [template nodes], of filters
  std::vector<int16_t> functions_chosen_;  // [template nodes], of plain nodes
  std::vector<std::vector<Candidate>> buffers_;
  std::vector<ProgramNode> program_;
  std::vector<std::set<std::vector<Outcome>>>
      failed_;  // [template nodes] live results that lead nowhere
  int64_t visits_ = 0;

  bool place(size_t n);
  bool place_node(size_t n);
  bool place_plain(size_t n);
  bool place_filter(size_t n);
  void collect(size_t n);
  unsigned allowed_attributes(const TemplateNode& node) const;
  bool refine(const TemplateNode& node, Candidate& c);
  bool refine_by_order(Candidate& c);
  bool refine_by_sight(Candidate& c);
  bool assign(const TemplateNode& node, const Candidate& c);
  bool constraints_hold(size_t n) const;
  bool accept();
  bool expand();
  int8_t expand_filter(const TemplateNode& node, const Candidate& c, int8_t input);
  int8_t append(int16_t function, int8_t first, int8_t second = -1);
  bool degenerate() const;
};

}  // namespace pyvqa::world
