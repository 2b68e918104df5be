#include "world/template.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "programs/languages.h"

namespace pyvqa::world {
namespace {

using language_tables::kAttributeNames;
using language_tables::kFirstCode;
using language_tables::kOrdinals;
using language_tables::kRelationNames;
using language_tables::kSides;

constexpr const char* kTypeNames[kParamTypes] = {
    "Color",          "Material",          "Shape",  "Size", "Relation",
    "Ordinal_number", "Ordinal_direction", "Visible"};

std::vector<std::vector<std::string>> all_values() {
  std::vector<std::vector<std::string>> values(kParamTypes);
  for (int a = 0; a < kAttributes; ++a)
    for (int code = kFirstCode[a]; code < kFirstCode[a + 1]; ++code)
      values[static_cast<size_t>(a)].emplace_back(kStrings[code]);
  for (const auto name : kRelationNames) values[relation].emplace_back(name);
  for (const auto name : kOrdinals)
    values[number].push_back("the " + std::string(name) + " one of the");
  for (const auto name : kSides) values[side].emplace_back(name);
  values[visibility] = {"fully visible", "partially visible"};
  return values;
}

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument(what); }

ParamType type_named(const std::string& name) {
  for (int t = 0; t < kParamTypes; ++t)
    if (name == kTypeNames[t]) return static_cast<ParamType>(t);
  fail("unknown parameter type '" + name + "'");
}

// "filter", "filter_unique", "relate_filter_count"...: the nodes that stand for several.
std::optional<std::pair<TemplateNode::Kind, TemplateNode::Result>> composite(std::string name) {
  auto kind = TemplateNode::Kind::filter;
  if (name.starts_with("relate_filter")) {
    kind = TemplateNode::Kind::relate_filter;
    name.erase(0, std::string("relate_").size());
  }
  if (name == "filter") return {{kind, TemplateNode::Result::set}};
  if (name == "filter_unique") return {{kind, TemplateNode::Result::unique}};
  if (name == "filter_count") return {{kind, TemplateNode::Result::count}};
  if (name == "filter_exist") return {{kind, TemplateNode::Result::exist}};
  return std::nullopt;
}

class Compiler {
 public:
  Compiler(const TemplateSource& source, const Functions& functions, bool expressions)
      : source_(source), functions_(functions), expressions_(expressions) {}

  Template compile() {
    for (const auto& [name, type] : source_.params) add_param(name, type);
    if (source_.nodes.empty()) fail("has no nodes");
    for (size_t i = 0; i < source_.nodes.size(); ++i) add_node(i);
    if (expressions_) drop_count();
    else out_.answers = answers_of(out_.nodes.back(), source_.nodes.back().type);
    if (expressions_) out_.answers = {kFirstNumber, kMaxCount + 1};
    for (const auto& constraint : source_.constraints) add_constraint(constraint);
    if (source_.texts.empty()) fail("has no text");
    for (const std::string& text : source_.texts)
      out_.wordings.push_back(parse_wording(text, out_.params));
    std::array<int, kParamTypes> uses{};
    for (const Param& p : out_.params) ++uses[p.type];
    out_.two_objects = uses == std::array<int, kParamTypes>{2, 2, 2, 2};
    find_live();
    return std::move(out_);
  }

 private:
  const TemplateSource& source_;
  const Functions& functions_;
  const bool expressions_;
  Template out_;
  int expanded_ = 0;
  std::vector<int> prefix_length_;

  void add_param(const std::string& name, const std::string& type) {
    for (const Param& p : out_.params)
      if (p.name == name) fail("parameter " + name + " is declared twice");
    if (out_.params.size() == 64) fail("has more than 64 parameters");
    Param param{name, type_named(type), false};
    // Only ordinals written <rORD_NUM> are ever filled (generate_refexp.py).
    if (param.type == number && !name.starts_with("<r")) param.empty = true;
    out_.params.push_back(param);
  }

  void add_node(size_t i) {
    const TemplateSource::Node& from = source_.nodes[i];
    const std::string where = "node " + std::to_string(i) + " (" + from.type + ")";
    TemplateNode node;
    node.inputs = from.inputs;
    node.slot.fill(-1);
    for (const int input : from.inputs)
      if (input < 0 || static_cast<size_t>(input) >= i)
        fail(where + ": inputs must be earlier nodes");
    for (const int p : from.params) {
      if (p < 0 || static_cast<size_t>(p) >= out_.params.size())
        fail(where + ": unknown parameter");
      int8_t& slot = node.slot[out_.params[static_cast<size_t>(p)].type];
      if (slot >= 0) fail(where + ": two parameters of one type");
      slot = static_cast<int8_t>(p);
    }
    if (const auto found = composite(from.type)) {
      node.kind = found->first;
      node.result = found->second;
      check_composite(node, where);
    } else {
      resolve_plain(node, from, where);
    }
    expanded_ += most_nodes(node);
    if (expanded_ > kMostNodes)
      fail("expands to more than " + std::to_string(kMostNodes) + " nodes");
    // A result that is used twice is written twice in prefix form.
    int length = most_nodes(node);
    for (const int input : node.inputs) length += prefix_length_[static_cast<size_t>(input)];
    if (length > kMostTokens)
      fail("has more than " + std::to_string(kMostTokens) + " functions in prefix form");
    prefix_length_.push_back(length);
    out_.nodes.push_back(std::move(node));
  }

  static int most_nodes(const TemplateNode& node) {
    if (node.kind == TemplateNode::Kind::plain) return 1;
    const auto has = [&](ParamType type) { return node.slot[type] >= 0 ? 1 : 0; };
    const int attributes = has(color) + has(material) + has(shape) + has(size);
    const int ending = node.result == TemplateNode::Result::set ? 0 : 1;
    return attributes + has(relation) + has(number) + has(visibility) + ending;
  }

  void check_composite(const TemplateNode& node, const std::string& where) const {
    if (node.inputs.size() != 1) fail(where + ": takes one input");
    if ((node.slot[relation] >= 0) != (node.kind == TemplateNode::Kind::relate_filter))
      fail(where + ": a relation parameter belongs to relate_filter nodes, one each");
    const bool ordinals =
        node.slot[number] >= 0 || node.slot[side] >= 0 || node.slot[visibility] >= 0;
    if (ordinals && (!expressions_ || functions_.ordinal[0] < 0))
      fail(where + ": ordinals and visibility belong to CLEVR-Ref+ expressions");
    if ((node.slot[number] >= 0) != (node.slot[side] >= 0))
      fail(where + ": an ordinal needs a number and a direction");
  }

  void resolve_plain(TemplateNode& node, const TemplateSource::Node& from,
                     const std::string& where) {
    if (from.params.size() > 1) fail(where + ": takes at most one parameter");
    if (from.params.empty()) {
      node.functions.push_back(functions_.id(from.type));
    } else {
      node.param = static_cast<int8_t>(from.params[0]);
      for (const std::string& value : values_of(out_.params[static_cast<size_t>(node.param)].type))
        node.functions.push_back(functions_.id(from.type + "[" + value + "]"));
    }
    const int wanted = functions_.operands_of(node.functions[0]);
    if (static_cast<size_t>(wanted) != node.inputs.size())
      fail(where + ": takes " + std::to_string(wanted) + " inputs, has " +
           std::to_string(node.inputs.size()));
    if (functions_.op(node.functions[0]) == Op::relate) out_.relates = true;
  }

  // An expression's last count only serves the balance: the set it counts is the result.
  void drop_count() {
    TemplateNode& last = out_.nodes.back();
    if (last.kind != TemplateNode::Kind::plain) {
      if (last.result == TemplateNode::Result::count) last.result = TemplateNode::Result::set;
    } else if (functions_.op(last.functions[0]) == Op::count) {
      if (last.inputs[0] + 2 != static_cast<int>(out_.nodes.size()))
        fail("the last count must read the node before it");
      out_.nodes.pop_back();
    }
  }

  AnswerRange answers_of(const TemplateNode& last, const std::string& type) const {
    if (last.kind != TemplateNode::Kind::plain) {
      if (last.result == TemplateNode::Result::count) return {kFirstNumber, kMaxCount + 1};
      if (last.result == TemplateNode::Result::exist) return {0, 2};
      fail("ends in " + type + ", which gives no answer");
    }
    switch (functions_.op(last.functions[0])) {
      case Op::count: return {kFirstNumber, kMaxCount + 1};
      case Op::query: {
        const auto a = static_cast<size_t>(functions_.word(last.functions[0]) >> 32 & 3);
        return {kFirstCode[a], kFirstCode[a + 1] - kFirstCode[a]};
      }
      case Op::exist:
      case Op::equal_value:
      case Op::equal_object:
      case Op::compare: return {0, 2};
      default: fail("ends in " + type + ", which gives no answer");
    }
  }

  void add_constraint(const std::tuple<std::string, int, int>& constraint) {
    const auto& [type, first, second] = constraint;
    const auto params = static_cast<int>(out_.params.size()),
               nodes = static_cast<int>(out_.nodes.size());
    const int limit = type == "OUT_NEQ" ? nodes : params;
    if (first < 0 || first >= limit)
      fail("constraint " + type + " names something that does not exist");
    if (type == "NULL") {
      out_.params[static_cast<size_t>(first)].empty = true;
      return;
    }
    if (type != "NEQ" && type != "OUT_NEQ") fail("unknown constraint '" + type + "'");
    if (second < 0 || second >= limit)
      fail("constraint " + type + " names something that does not exist");
    out_.constraints.push_back({type == "OUT_NEQ", first, second});
  }

  void find_live() {
    const size_t n = out_.nodes.size();
    std::vector<int> param_uses(out_.params.size());
    for (const TemplateSource::Node& node : source_.nodes)
      for (const int p : node.params) ++param_uses[static_cast<size_t>(p)];
    const auto shared = [](int uses) { return uses > 1; };
    out_.path_matters = out_.relates || std::any_of(param_uses.begin(), param_uses.end(), shared);
    std::vector<int> last(n, -1);  // the last node or constraint that asks for a node's result
    for (size_t i = 0; i < n; ++i)
      for (const int input : out_.nodes[i].inputs)
        last[static_cast<size_t>(input)] = static_cast<int>(i);
    for (const Constraint& c : out_.constraints) {
      if (!c.on_outputs) out_.path_matters = true;
      else
        last[static_cast<size_t>(std::min(c.first, c.second))] =
            std::max({last[static_cast<size_t>(std::min(c.first, c.second))], c.first, c.second});
    }
    out_.live.resize(n);
    for (size_t i = 0; i < n; ++i)
      for (size_t earlier = 0; earlier < i; ++earlier)
        if (last[earlier] >= static_cast<int>(i)) out_.live[i].push_back(static_cast<int>(earlier));
  }
};

}  // namespace

const std::vector<std::string>& values_of(ParamType type) {
  static const std::vector<std::vector<std::string>> values = all_values();
  return values[type];
}

Functions::Functions(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& f : strings_) {
    // CLEVR-Ref+'s meanings are the generators': `unique` of exactly one, sets in file order.
    const auto found = instruction(Language::clevr_ref, f);
    if (!found) fail("unknown function '" + f + "'");
    Instruction word = *found;
    word.second = 1;  // a second operand waits in register 1
    words_.push_back(static_cast<uint64_t>(word.word()));
  }
  scene = id("scene");
  unique = id("unique");
  count = id("count");
  exist = id("exist");
  for (int a = 0; a < kAttributes; ++a)
    for (int v = kFirstValue[a]; v < kFirstValue[a + 1]; ++v)
      filter[static_cast<size_t>(v)] = id("filter_" + std::string(kAttributeNames[a]) + "[" +
                                          kStrings[v + kFirstValueCode] + "]");
  for (size_t r = 0; r < kRelations; ++r)
    relate[r] = id("relate[" + std::string(kRelationNames[r]) + "]");
  ordinal.fill(-1);
  visible.fill(-1);
  const bool ordinals = std::find(strings_.begin(), strings_.end(),
                                  "filter_visible[fully visible]") != strings_.end();
  if (!ordinals) return;
  for (size_t s = 0; s < 3; ++s)
    for (size_t k = 0; k < 9; ++k)
      ordinal[k + 9 * s] =
          id("filter_ordinal[" + values_of(number)[k] + "," + values_of(side)[s] + "]");
  for (size_t v = 0; v < 2; ++v)
    visible[v] = id("filter_visible[" + values_of(visibility)[v] + "]");
}

int16_t Functions::id(const std::string& function) const {
  const auto found = std::find(strings_.begin(), strings_.end(), function);
  if (found == strings_.end()) fail("unknown function '" + function + "'");
  return static_cast<int16_t>(found - strings_.begin());
}

int Functions::operands_of(int16_t id) const { return operands(op(id)); }

Template compile_template(const TemplateSource& source, const Functions& functions,
                          bool expressions) {
  return Compiler(source, functions, expressions).compile();
}

}  // namespace pyvqa::world
