#include "world/search.h"

#include <algorithm>
#include <stdexcept>

#include "execute/execute.h"

namespace pyvqa::world {
namespace {

constexpr unsigned kAllAttributes = (1u << kAttributes) - 1;
// CLEVR's order of filters: size, color, material, shape.
constexpr std::array<ParamType, kAttributes> kFilterOrder = {size, color, material, shape};

Outcome ended(TemplateNode::Result result, uint64_t objects) {
  switch (result) {
    case TemplateNode::Result::unique: return {Kind::object, lowest_bit(objects), 0};
    case TemplateNode::Result::count: return {Kind::integer, count_bits(objects), 0};
    case TemplateNode::Result::exist: return {Kind::boolean, objects != 0, 0};
    case TemplateNode::Result::set: break;
  }
  return set_of(objects);
}

}  // namespace

SceneView::SceneView(const uint64_t* scene_words) : words(scene_words) {
  filters_within(words, all_objects(words), kAllAttributes, filters);
  const uint32_t flags = Scene<1>{words}.flags();
  can_see = (flags & has_visibility) && !(flags & visibility_invalid);
}

Search::Search(const Template& t, const Functions& functions, const SceneView& scene,
               const AnswerBalance& balance, const SearchSettings& settings, Random& random)
    : template_(t),
      functions_(functions),
      scene_(scene),
      balance_(balance),
      settings_(settings),
      random_(random),
      values_(t.params.size(), kUnassigned),
      outcomes_(t.nodes.size()),
      chosen_(t.nodes.size()),
      functions_chosen_(t.nodes.size(), -1),
      buffers_(t.nodes.size()),
      failed_(t.nodes.size()) {}

bool Search::run(Instance& out) {
  if (!place(0)) return false;
  out.values = values_;
  for (int8_t& v : out.values) v = std::max(v, kNone);
  out.program = program_;
  out.answer = answer_code(program_.back().outcome);
  return true;
}

bool Search::place(size_t n) {
  if (++visits_ > settings_.max_visits) return false;
  if (n == template_.nodes.size()) return accept();
  // What the rest can do is decided by the results that it reads: the same ones are not tried
  // twice. Expressions are: there an ordinal is drawn anew each time.
  if (template_.path_matters || settings_.expressions) return place_node(n);
  std::vector<Outcome> key;
  for (const int node : template_.live[n]) key.push_back(outcomes_[static_cast<size_t>(node)]);
  if (failed_[n].contains(key)) return false;
  if (place_node(n)) return true;
  failed_[n].insert(std::move(key));
  return false;
}

bool Search::place_node(size_t n) {
  return template_.nodes[n].kind == TemplateNode::Kind::plain ? place_plain(n) : place_filter(n);
}

bool Search::place_plain(size_t n) {
  const TemplateNode& node = template_.nodes[n];
  Outcome operands[2];
  for (size_t i = 0; i < node.inputs.size(); ++i)
    operands[i] = outcomes_[static_cast<size_t>(node.inputs[i])];
  std::vector<int16_t> order = node.functions;
  const size_t param = static_cast<size_t>(node.param);
  const int8_t before = node.param < 0 ? kNone : values_[param];
  for (size_t i = 0; i < order.size(); ++i) {
    std::swap(order[i], order[i + random_.below(static_cast<uint32_t>(order.size() - i))]);
    if (node.param >= 0) {
      const auto value =
          static_cast<int8_t>(std::find(node.functions.begin(), node.functions.end(), order[i]) -
                              node.functions.begin());
      if (before != kUnassigned && before != value) continue;
      values_[param] = value;
    }
    functions_chosen_[n] = order[i];
    outcomes_[n] = evaluate(functions_.word(order[i]), operands[0], operands[1], scene_.words);
    if (outcomes_[n].kind == Kind::error) continue;
    if (constraints_hold(n) && place(n + 1)) return true;
  }
  if (node.param >= 0) values_[param] = before;
  return false;
}

bool Search::place_filter(size_t n) {
  const TemplateNode& node = template_.nodes[n];
  collect(n);
  Draw draw(buffers_[n], settings_.expressions);
  const std::vector<int8_t> before = values_;
  while (const Candidate* drawn = draw.next(random_)) {
    Candidate c = *drawn;
    if (settings_.expressions && !refine(node, c)) continue;
    if (assign(node, c)) {
      chosen_[n] = c;
      outcomes_[n] = ended(node.result, c.set);
      if (constraints_hold(n) && place(n + 1)) return true;
    }
    values_ = before;
    if (visits_ > settings_.max_visits) return false;
  }
  return false;
}

// All candidates of a filter node, in buffers_[n].
void Search::collect(size_t n) {
  const TemplateNode& node = template_.nodes[n];
  const Outcome& input = outcomes_[static_cast<size_t>(node.inputs[0])];
  std::vector<Candidate>& out = buffers_[n];
  out.clear();
  const unsigned allowed = allowed_attributes(node);
  const bool unique = node.result == TemplateNode::Result::unique,
             set = node.result == TemplateNode::Result::set;
  if (node.kind == TemplateNode::Kind::relate_filter) {
    if (input.kind != Kind::object) return;
    const bool with_empty = !unique && (settings_.nothing || (!set && !settings_.expressions));
    // An ordinal may still single one out, so expressions keep larger sets here.
    relations_from(scene_.words, input.value, scene_.filters, allowed,
                   {unique && !settings_.expressions, with_empty, settings_.trivial}, random_, out);
    return;
  }
  if (input.kind != Kind::set) return;
  filters_within(scene_.words, input.set, allowed, out);
  if (settings_.nothing && !unique)
    add_unmatched(scene_.words, input.set, allowed, static_cast<int>(out.size()), random_, out);
  if (settings_.expressions) return;
  if (unique || set)
    std::erase_if(out,
                  [&](const Candidate& c) { return unique ? c.matches() != 1 : !c.filters(); });
  if (unique) return;
  auto unmatched = static_cast<int>(out.size());
  if (node.result != TemplateNode::Result::exist)
    unmatched = static_cast<int>(
        std::count_if(out.begin(), out.end(), [](const Candidate& c) { return c.matches() == 1; }));
  add_unmatched(scene_.words, input.set, allowed, unmatched, random_, out);
}

unsigned Search::allowed_attributes(const TemplateNode& node) const {
  unsigned allowed = 0;
  for (size_t a = 0; a < kAttributes; ++a) {
    const int8_t p = node.slot[a];
    if (p >= 0 && !template_.params[static_cast<size_t>(p)].empty) allowed |= 1u << a;
  }
  return allowed;
}

// What an expression adds to a filter: nothing, an ordinal, or a visibility class, never both
// (clevr-refplus-dataset-gen refexp_generation/generate_refexp.py). False when the result cannot be
// used.
bool Search::refine(const TemplateNode& node, Candidate& c) {
  const bool unique = node.result == TemplateNode::Result::unique;
  const TemplateNode& from = template_.nodes[static_cast<size_t>(node.inputs[0])];
  const bool of_scene =
      from.kind == TemplateNode::Kind::plain && from.functions[0] == functions_.scene;
  enum class Way { plain, order, sight };
  std::array<Way, 3> ways{};
  uint32_t n = 0;
  const int matches = c.matches();
  // "The things" alone refers to nothing in particular.
  const bool enough = unique ? matches == 1 : matches > 0 || settings_.nothing;
  if (enough && (c.filters() || !of_scene)) ways[n++] = Way::plain;
  const int8_t ordinal = node.slot[number];
  if (ordinal >= 0 && !template_.params[static_cast<size_t>(ordinal)].empty && matches >= 2)
    ways[n++] = Way::order;
  if (node.slot[visibility] >= 0 && scene_.can_see && (!unique || matches >= 2))
    ways[n++] = Way::sight;
  while (n > 0) {
    const uint32_t at = random_.below(n);
    const Way way = ways[at];
    ways[at] = ways[--n];
    if (way == Way::plain) return true;
    Candidate refined = c;
    const bool good = way == Way::order ? refine_by_order(refined) : refine_by_sight(refined);
    if (!good || (unique && refined.matches() != 1)) continue;
    c = refined;
    return true;
  }
  return false;
}

bool Search::refine_by_order(Candidate& c) {
  c.number = static_cast<int8_t>(random_.below(static_cast<uint32_t>(std::min(c.matches(), 9))));
  c.side = static_cast<int8_t>(random_.below(3));
  const int16_t function = functions_.ordinal[static_cast<size_t>(c.number + 9 * c.side)];
  const Outcome result = evaluate(functions_.word(function), set_of(c.set), {}, scene_.words);
  c.set = result.set;
  return result.kind == Kind::set;
}

bool Search::refine_by_sight(Candidate& c) {
  c.visible = static_cast<int8_t>(random_.below(2));
  const int16_t function = functions_.visible[static_cast<size_t>(c.visible)];
  const Outcome result = evaluate(functions_.word(function), set_of(c.set), {}, scene_.words);
  c.set = result.set;
  return result.kind == Kind::set && (result.set != 0 || settings_.nothing);
}

// Gives the node's parameters their values; false where one has another value already.
bool Search::assign(const TemplateNode& node, const Candidate& c) {
  const std::array<int8_t, kParamTypes> given = {c.value[0], c.value[1], c.value[2], c.value[3],
                                                 c.relation, c.number,   c.side,     c.visible};
  for (size_t type = 0; type < kParamTypes; ++type) {
    if (node.slot[type] < 0) continue;
    int8_t& value = values_[static_cast<size_t>(node.slot[type])];
    if (value != kUnassigned && value != given[type]) return false;
    value = given[type];
  }
  return true;
}

// The constraints that node n completes.
bool Search::constraints_hold(size_t n) const {
  for (const Constraint& c : template_.constraints) {
    if (c.on_outputs) {
      if (static_cast<size_t>(std::max(c.first, c.second)) != n) continue;
      if (outcomes_[static_cast<size_t>(c.first)] == outcomes_[static_cast<size_t>(c.second)])
        return false;
    } else {
      // "NEQ" of the format: the original drops a state whose two values are set and differ.
      const int8_t a = values_[static_cast<size_t>(c.first)],
                   b = values_[static_cast<size_t>(c.second)];
      if (a >= 0 && b >= 0 && a != b) return false;
    }
  }
  return true;
}

bool Search::accept() {
  const Outcome& last = outcomes_.back();
  if (settings_.expressions && (last.kind != Kind::set || (last.set == 0) != settings_.nothing))
    return false;
  const int answer = answer_code(last);
  if (!settings_.nothing && !(balance_.contains(answer) && balance_.allows(answer))) return false;
  if (!expand()) return false;
  if (program_.back().outcome != last)
    throw std::logic_error("an expanded program differs from its template");
  return !template_.relates || !degenerate();
}

// The template's nodes as nodes of the language, executed one by one. False when the last template
// node adds none, so that the program would end in something else.
bool Search::expand() {
  program_.clear();
  std::vector<int8_t> at(template_.nodes.size());
  for (size_t n = 0; n < template_.nodes.size(); ++n) {
    const TemplateNode& node = template_.nodes[n];
    int8_t inputs[2] = {-1, -1};
    for (size_t i = 0; i < node.inputs.size(); ++i)
      inputs[i] = at[static_cast<size_t>(node.inputs[i])];
    if (node.kind == TemplateNode::Kind::plain)
      at[n] = append(functions_chosen_[n], inputs[0], inputs[1]);
    else at[n] = expand_filter(node, chosen_[n], inputs[0]);
  }
  return at.back() + 1 == static_cast<int>(program_.size());
}

int8_t Search::expand_filter(const TemplateNode& node, const Candidate& c, int8_t input) {
  int8_t from = input;
  if (c.relation >= 0) from = append(functions_.relate[static_cast<size_t>(c.relation)], from);
  for (const ParamType a : kFilterOrder)
    if (c.value[a] >= 0)
      from = append(functions_.filter[static_cast<size_t>(kFirstValue[a] + c.value[a])], from);
  if (c.number >= 0)
    from = append(functions_.ordinal[static_cast<size_t>(c.number + 9 * c.side)], from);
  if (c.visible >= 0) from = append(functions_.visible[static_cast<size_t>(c.visible)], from);
  switch (node.result) {
    case TemplateNode::Result::unique: return append(functions_.unique, from);
    case TemplateNode::Result::count: return append(functions_.count, from);
    case TemplateNode::Result::exist: return append(functions_.exist, from);
    case TemplateNode::Result::set: break;
  }
  return from;
}

int8_t Search::append(int16_t function, int8_t first, int8_t second) {
  const Outcome none;
  const Outcome& a = first < 0 ? none : program_[static_cast<size_t>(first)].outcome;
  const Outcome& b = second < 0 ? none : program_[static_cast<size_t>(second)].outcome;
  program_.push_back(
      {function, {first, second}, evaluate(functions_.word(function), a, b, scene_.words)});
  return static_cast<int8_t>(program_.size() - 1);
}

// Whether some `relate` changes nothing: the answer stays when all objects take its place.
bool Search::degenerate() const {
  const Outcome none;
  std::vector<Outcome> outcomes(program_.size());
  for (size_t replaced = 0; replaced < program_.size(); ++replaced) {
    if (functions_.op(program_[replaced].function) != Op::relate) continue;
    for (size_t i = 0; i < program_.size(); ++i) {
      const ProgramNode& node = program_[i];
      const auto operand = [&](int which) {
        return node.inputs[static_cast<size_t>(which)] < 0
                   ? none
                   : outcomes[static_cast<size_t>(node.inputs[static_cast<size_t>(which)])];
      };
      if (i < replaced) outcomes[i] = node.outcome;
      else if (i == replaced) outcomes[i] = set_of(all_objects(scene_.words));
      else
        outcomes[i] =
            evaluate(functions_.word(node.function), operand(0), operand(1), scene_.words);
    }
    if (outcomes.back() == program_.back().outcome) return true;
  }
  return false;
}

}  // namespace pyvqa::world
