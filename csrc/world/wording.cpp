#include "world/wording.h"

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "world/template.h"

namespace pyvqa::world {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& text) {
  throw std::invalid_argument(what + " in the text \"" + text + "\"");
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// One space between words, none at the ends and none before punctuation.
std::string squeezed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    if ((c == '?' || c == ',' || c == ';' || c == '.') && !out.empty() && out.back() == ' ')
      out.back() = c;
    else out += c;
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

bool descriptions_differ(const Template& t, const std::vector<int8_t>& values) {
  for (int type = 0; type < kAttributes; ++type) {
    int8_t found[2] = {kNone, kNone};
    int n = 0;
    for (size_t p = 0; p < t.params.size(); ++p)
      if (t.params[p].type == type && n < 2) found[n++] = values[p];
    if (found[0] >= 0 && found[1] >= 0 && found[0] != found[1]) return true;
  }
  return false;
}

char upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }

// "find x; things y" -> "Find x; The things y".
std::string with_articles(const std::string& text) {
  std::string out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(';', begin), text.size());
    std::string part = squeezed(text.substr(begin, end - begin));
    begin = end + 1;
    if (part.empty()) continue;
    if (part.starts_with("the ") || part.starts_with("any ")) part[0] = upper(part[0]);
    else if (part[0] != upper(part[0])) part.insert(0, "The ");
    out += (out.empty() ? "" : "; ") + part;
  }
  return out;
}

}  // namespace

Wording parse_wording(const std::string& text, const std::vector<Param>& params) {
  Wording out;
  std::string plain;
  bool open = false;
  const auto flush = [&] {
    if (!plain.empty()) out.pieces.push_back({Wording::Kind::text, plain});
    plain.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[' || text[i] == ']') {
      flush();
      if (open == (text[i] == '[')) fail("unpaired square bracket", text);
      open = !open;
      out.pieces.push_back({open ? Wording::Kind::open : Wording::Kind::close, ""});
    } else if (text[i] == '<') {
      flush();
      const size_t end = text.find('>', i);
      const std::string name =
          end == std::string::npos ? text.substr(i) : text.substr(i, end + 1 - i);
      const auto found = std::find_if(params.begin(), params.end(),
                                      [&](const Param& p) { return p.name == name; });
      if (found == params.end()) fail("placeholder " + name + " is no parameter", text);
      out.pieces.push_back({Wording::Kind::param, "", static_cast<int>(found - params.begin())});
      i = end;
    } else {
      plain += text[i];
    }
  }
  flush();
  if (open) fail("unpaired square bracket", text);
  return out;
}

Vocabulary::Vocabulary(const std::map<std::string, std::vector<std::string>>& synonyms) {
  const auto words_for = [&](const std::string& value) {
    const auto found = synonyms.find(value);
    return found == synonyms.end() || found->second.empty() ? std::vector<std::string>{value}
                                                            : found->second;
  };
  for (int type = 0; type < kParamTypes; ++type) {
    auto& of_type = words_.emplace_back();
    of_type.push_back(type == shape ? words_for("thing") : std::vector<std::string>{""});
    for (const std::string& value : values_of(static_cast<ParamType>(type)))
      of_type.push_back(words_for(value));
  }
}

const std::vector<std::string>& Vocabulary::words(int type, int value) const {
  return words_[static_cast<size_t>(type)][static_cast<size_t>(value < 0 ? 0 : value + 1)];
}

std::string write_text(const Template& t, const std::vector<int8_t>& values,
                       const Vocabulary& vocabulary, bool expression, Random& random) {
  std::vector<const std::string*> words(t.params.size());
  for (size_t p = 0; p < t.params.size(); ++p) {
    const auto& choices = vocabulary.words(t.params[p].type, values[p]);
    words[p] = &choices[random.below(static_cast<uint32_t>(choices.size()))];
  }
  const Wording& wording = t.wordings[random.below(static_cast<uint32_t>(t.wordings.size()))];
  std::string text;
  bool kept = true;
  for (const Wording::Piece& piece : wording.pieces) {
    switch (piece.kind) {
      case Wording::Kind::open: kept = random.coin(); break;
      case Wording::Kind::close: kept = true; break;
      case Wording::Kind::text:
        if (kept) text += piece.text;
        break;
      case Wording::Kind::param:
        if (kept) text += *words[static_cast<size_t>(piece.param)];
        break;
    }
  }
  text = squeezed(text);
  if (t.two_objects && descriptions_differ(t, values)) {
    replace_all(text, " other ", " ");
    replace_all(text, " another ", " a ");
  }
  if (!expression) return text;
  replace_all(text, " the the ", " the ");
  return with_articles(text);
}

}  // namespace pyvqa::world
