// A strict pull parser over JSON text in memory: what the readers of scene and question files stand
// on. It holds no tree: a reader asks for the values it wants, in file order, and skips the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace pyvqa::json {

// Containers inside containers; official files need 8.
inline constexpr int kMaxDepth = 64;

// The one exception of the parser and of the readers above it. offset() is a byte of the text.
class JsonError : public std::runtime_error {
 public:
  JsonError(const std::string& message, size_t offset)
      : std::runtime_error(message), offset_(offset) {}
  size_t offset() const noexcept { return offset_; }

 private:
  size_t offset_;
};

// "byte 17 (line 2, column 5)"; lines and columns count from 1, columns in bytes.
std::string location(std::string_view text, size_t offset);

enum class Kind : uint8_t { object, array, string, number, boolean, null };

class Parser {
 public:
  // The text is not copied and must outlive the parser. Throws where it is not UTF-8.
  explicit Parser(std::string_view text);

  Kind kind();  // of the next value, which stays unread

  // An object is read by enter_object(), then next_key() and one value until it returns false;
  // an array by enter_array(), then next_item() and one value. The key is valid until the next
  // string is read.
  void enter_object() { enter('{', "an object"); }
  void enter_array() { enter('[', "a list"); }
  bool next_key(std::string_view& key);
  bool next_item();

  std::string_view string();  // valid until the next string is read
  double number();            // finite; NaN and Infinity, which Python may write, are refused
  int64_t integer();
  bool boolean();
  bool null();    // reads a null if that is the next value
  void skip();    // any value, checked as strictly as one that is read
  void finish();  // nothing but white space may follow

  // Where the parser stands, and a jump back to such a place (the depth must be the same).
  size_t offset() const { return static_cast<size_t>(at_ - begin_); }
  void rewind(size_t offset) { at_ = begin_ + offset; }

  [[noreturn]] void fail(const std::string& message) const { fail(message, at_); }

 private:
  struct Raw {  // a string between its quotes, escapes still in it
    const char* begin;
    const char* end;
    bool escaped;
  };

  void space();
  void enter(char bracket, const char* expected);
  bool next(char closing);
  bool open_key(Raw& key);
  Raw raw_string();
  const char* check_escape(const char* at) const;
  std::string_view decoded(const Raw& raw);
  const char* number_end() const;
  void literal(std::string_view word);
  [[noreturn]] void fail(const std::string& message, const char* at) const;
  [[noreturn]] void expected(const char* what) const;

  const char* begin_;
  const char* at_;
  const char* end_;
  int depth_ = 0;
  bool fresh_ = false;  // a container was entered and none of its items asked for yet
  std::string scratch_;
};

}  // namespace pyvqa::json
