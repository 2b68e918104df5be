#include "native/json.h"

#include <charconv>

#include "native/json_text.h"

namespace pyvqa::json {
std::string location(std::string_view text, size_t offset) {
  offset = offset < text.size() ? offset : text.size();
  size_t line = 1, start = 0;
  for (size_t k = 0; k < offset; ++k) {
    if (text[k] == '\n') {
      ++line;
      start = k + 1;
    }
  }
  return "byte " + std::to_string(offset) + " (line " + std::to_string(line) + ", column " +
         std::to_string(offset - start + 1) + ")";
}

Parser::Parser(std::string_view text)
    : begin_(text.data()), at_(text.data()), end_(text.data() + text.size()) {
  if (const char* bad = first_invalid_utf8(begin_, end_)) fail("the text is not UTF-8", bad);
  if (text.substr(0, 3) == "\xEF\xBB\xBF") at_ += 3;  // a byte order mark
}

void Parser::fail(const std::string& message, const char* at) const {
  throw JsonError(message, static_cast<size_t>(at - begin_));
}

void Parser::expected(const char* what) const {
  std::string found;
  if (at_ == end_) {
    found = "the end of the text";
  } else {
    switch (*at_) {
      case '{': found = "an object"; break;
      case '[': found = "a list"; break;
      case '"': found = "a string"; break;
      case 't':
      case 'f': found = "a truth value"; break;
      case 'n': found = "null"; break;
      case 'N':
      case 'I': found = "NaN or Infinity, which JSON does not know"; break;
      default:
        if (*at_ == '-' || is_digit(*at_)) {
          found =
              at_ + 1 < end_ && at_[1] == 'I' ? "-Infinity, which JSON does not know" : "a number";
        } else if (*at_ > 0x20 && *at_ < 0x7F) {
          found = std::string("'") + *at_ + "'";
        } else {
          found = "byte " + std::to_string(static_cast<unsigned char>(*at_));
        }
    }
  }
  fail(std::string("expected ") + what + ", found " + found);
}

void Parser::space() {
  while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
}

Kind Parser::kind() {
  space();
  if (at_ == end_) expected("a value");
  switch (*at_) {
    case '{': return Kind::object;
    case '[': return Kind::array;
    case '"': return Kind::string;
    case 't':
    case 'f': return Kind::boolean;
    case 'n': return Kind::null;
    default:
      if (*at_ == '-' || is_digit(*at_)) return Kind::number;
      expected("a value");
  }
}

void Parser::enter(char bracket, const char* what) {
  space();
  if (at_ == end_ || *at_ != bracket) expected(what);
  if (depth_ == kMaxDepth) {
    fail("lists and objects nested more than " + std::to_string(kMaxDepth) + " deep");
  }
  ++at_;
  ++depth_;
  fresh_ = true;
}

// Steps to the next item of the innermost container, or out of it.
bool Parser::next(char closing) {
  space();
  const bool first = fresh_;
  fresh_ = false;
  if (at_ < end_ && *at_ == closing) {
    ++at_;
    --depth_;
    return false;
  }
  if (first) return true;
  if (at_ == end_ || *at_ != ',') expected(closing == ']' ? "',' or ']'" : "',' or '}'");
  ++at_;
  space();
  return true;
}

bool Parser::next_item() { return next(']'); }

bool Parser::open_key(Raw& key) {
  if (!next('}')) return false;
  if (at_ == end_ || *at_ != '"') expected("a key in quotes");
  key = raw_string();
  space();
  if (at_ == end_ || *at_ != ':') expected("':' after a key");
  ++at_;
  return true;
}

bool Parser::next_key(std::string_view& key) {
  Raw raw;
  if (!open_key(raw)) return false;
  key = decoded(raw);
  return true;
}

// `at` is behind the backslash; returns the place behind the escape.
const char* Parser::check_escape(const char* at) const {
  if (at == end_) fail("the text ends inside a string", at);
  switch (*at) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return at + 1;
    case 'u':
      for (int k = 1; k <= 4; ++k) {
        if (at + k >= end_) fail("the text ends inside a string", end_);
        if (hex_digit(at[k]) < 0) fail("\\u needs four hexadecimal digits", at + k);
      }
      return at + 5;
    default: fail("unknown escape in a string", at);
  }
}

Parser::Raw Parser::raw_string() {
  Raw raw{at_ + 1, nullptr, false};
  const char* at = raw.begin;
  for (;;) {
    at = string_stop(at, end_);
    if (at == end_) fail("the text ends inside a string", at);
    if (*at == '"') break;
    if (*at != '\\') fail("control character in a string", at);
    raw.escaped = true;
    at = check_escape(at + 1);
  }
  raw.end = at;
  at_ = at + 1;
  return raw;
}

std::string_view Parser::decoded(const Raw& raw) {
  if (!raw.escaped) return {raw.begin, static_cast<size_t>(raw.end - raw.begin)};
  scratch_.clear();
  for (const char* at = raw.begin; at < raw.end;) {
    if (*at != '\\') {
      const char* stop = string_stop(at, raw.end);
      scratch_.append(at, stop);
      at = stop;
      continue;
    }
    if (at[1] != 'u') {
      scratch_.push_back(plain_escape(at[1]));
      at += 2;
      continue;
    }
    uint32_t code = hex4(at + 2);
    const char* after = at + 6;
    if (code >= 0xD800 && code <= 0xDFFF) {  // one half of a UTF-16 pair
      const bool pair =
          code < 0xDC00 && raw.end - after >= 6 && after[0] == '\\' && after[1] == 'u';
      const uint32_t low = pair ? hex4(after + 2) : 0;
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair in a string", at);
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      after += 6;
    }
    append_utf8(scratch_, code);
    at = after;
  }
  return scratch_;
}

std::string_view Parser::string() {
  space();
  if (at_ == end_ || *at_ != '"') expected("a string");
  return decoded(raw_string());
}

// The end of the number at the parser's place, by the grammar of RFC 8259.
const char* Parser::number_end() const {
  const char* at = at_;
  const auto digits = [&](const char* what) {
    if (at == end_ || !is_digit(*at)) fail(std::string("a number needs digits ") + what, at);
    while (at < end_ && is_digit(*at)) ++at;
  };
  if (*at == '-') ++at;
  if (at < end_ && *at == '0') {
    ++at;
    if (at < end_ && is_digit(*at)) fail("a number begins with 0", at_);
  } else {
    digits("after the sign");
  }
  if (at < end_ && *at == '.') {
    ++at;
    digits("after the point");
  }
  if (at < end_ && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at < end_ && (*at == '+' || *at == '-')) ++at;
    digits("in the exponent");
  }
  return at;
}

double Parser::number() {
  space();
  if (at_ == end_ || (*at_ != '-' && !is_digit(*at_))) expected("a number");
  if (*at_ == '-' && at_ + 1 < end_ && at_[1] == 'I') expected("a number");
  const char* stop = number_end();
  double value = 0;
  const auto [end, error] = std::from_chars(at_, stop, value);
  if (error == std::errc::result_out_of_range) {
    if (!underflows(at_, stop)) fail("a number too large for a double");
    value = *at_ == '-' ? -0.0 : 0.0;
  } else if (error != std::errc() || end != stop) {
    fail("not a number");
  }
  at_ = stop;
  return value;
}

int64_t Parser::integer() {
  space();
  if (at_ == end_ || (*at_ != '-' && !is_digit(*at_))) expected("an integer");
  // Most integers of these files are one or two digits.
  if (is_digit(*at_) && end_ - at_ > 1 && (at_[1] == ',' || at_[1] == ']')) return *at_++ - '0';
  const char* stop = number_end();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(at_, stop, value);
  if (error == std::errc::result_out_of_range) fail("an integer beyond 64 bits");
  if (error != std::errc() || end != stop) fail("expected an integer, found a decimal number");
  at_ = stop;
  return value;
}

void Parser::literal(std::string_view word) {
  if (std::string_view(at_, static_cast<size_t>(end_ - at_)).substr(0, word.size()) != word) {
    fail("expected " + std::string(word));
  }
  at_ += word.size();
}

bool Parser::boolean() {
  space();
  if (at_ == end_ || (*at_ != 't' && *at_ != 'f')) expected("true or false");
  const bool value = *at_ == 't';
  literal(value ? "true" : "false");
  return value;
}

bool Parser::null() {
  if (kind() != Kind::null) return false;
  literal("null");
  return true;
}

void Parser::skip() {
  Raw unused;
  switch (kind()) {
    case Kind::object:
      enter_object();
      while (open_key(unused)) skip();
      return;
    case Kind::array:
      enter_array();
      while (next_item()) skip();
      return;
    case Kind::string: raw_string(); return;
    case Kind::number:
      if (*at_ == '-' && at_ + 1 < end_ && at_[1] == 'I') expected("a number");
      at_ = number_end();
      return;
    case Kind::boolean: boolean(); return;
    case Kind::null: literal("null"); return;
  }
}

void Parser::finish() {
  space();
  if (at_ != end_) fail("text after the end of the JSON value");
}

}  // namespace pyvqa::json
