// The function strings of the program languages.
#pragma once

#include <string>
#include <vector>

#include "programs/languages.h"

namespace pyvqa::fuzz {

// Every function of both languages, and one of neither.
inline std::vector<std::string> all_functions() {
  std::vector<std::string> names = {"scene",        "unique",       "count",           "exist",
                                    "union",        "intersect",    "equal_integer",   "less_than",
                                    "greater_than", "equal_object", "no such function"};
  for (const auto attribute : language_tables::kAttributeNames) {
    for (const char* prefix : {"same_", "query_", "equal_"}) {
      names.push_back(prefix + std::string(attribute));
    }
    for (int code = kFirstValueCode; code < kKnownStrings; ++code) {
      names.push_back("filter_" + std::string(attribute) + "[" + kStrings[code] + "]");
    }
  }
  for (const auto relation : language_tables::kRelationNames) {
    names.push_back("relate[" + std::string(relation) + "]");
  }
  for (const auto number : language_tables::kOrdinals) {
    for (const auto side : language_tables::kSides) {
      names.push_back("filter_ordinal[the " + std::string(number) + " one of the," +
                      std::string(side) + "]");
    }
  }
  names.push_back("filter_visible[fully visible]");
  names.push_back("filter_visible[partially visible]");
  return names;
}

}  // namespace pyvqa::fuzz
