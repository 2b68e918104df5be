// From function strings such as "filter_color[red]" to instructions, for each program language.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "execute/bytecode.h"
#include "native/scene_table.h"

namespace pyvqa {

enum class Language { clevr, clevr_ref };

struct Function {
  std::string_view name;
  std::vector<std::string_view> values;
};

// "name" or "name[v1,v2]"; no value for anything else.
inline std::optional<Function> parse_function(std::string_view text) {
  const size_t open = text.find('[');
  if (open == std::string_view::npos) return Function{text, {}};
  if (open == 0 || text.back() != ']') return std::nullopt;
  Function f{text.substr(0, open), {}};
  std::string_view rest = text.substr(open + 1, text.size() - open - 2);
  while (true) {
    const size_t comma = rest.find(',');
    f.values.push_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) return f;
    rest.remove_prefix(comma + 1);
  }
}

namespace language_tables {

inline constexpr std::string_view kAttributeNames[] = {"color", "material", "shape", "size"};
inline constexpr std::string_view kRelationNames[] = {"left", "right", "behind", "front"};
inline constexpr std::string_view kOrdinals[] = {"first", "second",  "third",  "fourth", "fifth",
                                                 "sixth", "seventh", "eighth", "nineth"};
inline constexpr std::string_view kSides[] = {"from left", "from right", "from front"};
inline constexpr int kFirstCode[] = {2, 10, 12, 15, kKnownStrings};

template <size_t N>
std::optional<uint16_t> position_of(const std::string_view (&names)[N], std::string_view name) {
  for (size_t i = 0; i < N; ++i)
    if (names[i] == name) return static_cast<uint16_t>(i);
  return std::nullopt;
}

// The attribute in "<prefix><attribute>", e.g. "query_" in "query_color".
inline std::optional<uint16_t> attribute_after(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  return position_of(kAttributeNames, name.substr(prefix.size()));
}

// The position of a value among all fifteen, if it belongs to the attribute.
inline std::optional<uint16_t> value_of(uint16_t attribute, std::string_view value) {
  for (int code = kFirstCode[attribute]; code < kFirstCode[attribute + 1]; ++code)
    if (kStrings[code] == value) return static_cast<uint16_t>(code - kFirstValueCode);
  return std::nullopt;
}

// "the second one of the" with "from left" -> 1 | 0 << 8.
inline std::optional<uint16_t> ordinal_argument(std::string_view number, std::string_view side) {
  constexpr std::string_view before = "the ", after = " one of the";
  if (!number.starts_with(before) || !number.ends_with(after)) return std::nullopt;
  number.remove_prefix(before.size());
  if (number.size() < after.size()) return std::nullopt;
  number.remove_suffix(after.size());
  const auto k = position_of(kOrdinals, number), from = position_of(kSides, side);
  if (!k || !from) return std::nullopt;
  return static_cast<uint16_t>(*k | *from << 8);
}

}  // namespace language_tables

// Functions that both languages have under one name and one meaning.
inline std::optional<Instruction> shared_instruction(const Function& f, bool booleans) {
  using namespace language_tables;
  const uint16_t as_boolean = booleans ? 1 : 0;
  const size_t values = f.values.size();
  if (values == 1) {
    if (const auto attribute = attribute_after(f.name, "filter_"))
      if (const auto value = value_of(*attribute, f.values[0]))
        return Instruction{.op = Op::filter, .arg0 = *value};
    if (f.name == "relate")
      if (const auto relation = position_of(kRelationNames, f.values[0]))
        return Instruction{.op = Op::relate, .arg0 = *relation};
    return std::nullopt;
  }
  if (values != 0) return std::nullopt;
  if (const auto attribute = attribute_after(f.name, "same_"))
    return Instruction{.op = Op::same, .arg0 = *attribute};
  if (const auto attribute = attribute_after(f.name, "query_"))
    return Instruction{.op = Op::query, .arg0 = *attribute};
  if (const auto attribute = attribute_after(f.name, "equal_"))
    return Instruction{.op = Op::equal_value, .arg0 = *attribute, .arg1 = as_boolean};
  if (f.name == "count") return Instruction{.op = Op::count};
  if (f.name == "exist") return Instruction{.op = Op::exist, .arg1 = as_boolean};
  if (f.name == "intersect") return Instruction{.op = Op::intersect};
  static constexpr std::string_view kComparisons[] = {"equal_integer", "less_than", "greater_than"};
  if (const auto comparison = position_of(kComparisons, f.name))
    return Instruction{.op = Op::compare, .arg0 = *comparison, .arg1 = as_boolean};
  return std::nullopt;
}

// Functions that CLEVR-Ref+ adds.
inline std::optional<Instruction> expression_instruction(const Function& f) {
  using namespace language_tables;
  if (f.name == "equal_object" && f.values.empty())
    return Instruction{.op = Op::equal_object, .arg1 = 1};
  if (f.name == "filter_ordinal" && f.values.size() == 2)
    if (const auto argument = ordinal_argument(f.values[0], f.values[1]))
      return Instruction{.op = Op::ordinal, .arg0 = *argument};
  if (f.name == "filter_visible" && f.values.size() == 1) {
    if (f.values[0] == "fully visible") return Instruction{.op = Op::visible, .arg0 = 1};
    if (f.values[0] == "partially visible") return Instruction{.op = Op::visible, .arg0 = 2};
  }
  return std::nullopt;
}

// Operands an instruction takes in its language.
inline int operands(Op op) {
  switch (op) {
    case Op::scene:
    case Op::scene_push: return 0;
    case Op::equal_value:
    case Op::equal_object:
    case Op::compare:
    case Op::intersect:
    case Op::union_after:
    case Op::union_sorted: return 2;
    default: return 1;
  }
}

// The instruction of a function string, none for a string the language does not know. The second
// operand of CLEVR's binary functions is what the last scene pushed aside; CLEVR-Ref+ gets its
// registers when a program is compiled.
inline std::optional<Instruction> instruction(Language language, std::string_view text) {
  using namespace language_tables;
  const auto f = parse_function(text);
  if (!f) return std::nullopt;
  const bool ref = language == Language::clevr_ref, bare = f->values.empty();
  std::optional<Instruction> found;
  if (bare && f->name == "scene") found = Instruction{.op = ref ? Op::scene : Op::scene_push};
  else if (bare && f->name == "unique")
    found = Instruction{.op = ref ? Op::unique_only : Op::unique_first};
  else if (bare && f->name == "union")
    found = Instruction{.op = ref ? Op::union_sorted : Op::union_after};
  else if (ref) found = expression_instruction(*f);
  if (!found) found = shared_instruction(*f, ref);
  if (found && !ref && operands(found->op) == 2) found->second = 1;
  return found;
}

}  // namespace pyvqa
