// The JSON parser: whatever can be read in full can be skipped, and both end at the same byte.
#include "fuzz.h"

#include <cmath>
#include <string>

#include "native/json.h"

namespace {

using pyvqa::fuzz::require;
using pyvqa::json::JsonError;
using pyvqa::json::Kind;
using pyvqa::json::Parser;

void read_all(Parser& in) {
  std::string_view key;
  switch (in.kind()) {
    case Kind::object:
      in.enter_object();
      while (in.next_key(key)) read_all(in);
      return;
    case Kind::array:
      in.enter_array();
      while (in.next_item()) read_all(in);
      return;
    case Kind::string: (void)in.string().size(); return;
    case Kind::number: require(std::isfinite(in.number()), "numbers are finite"); return;
    case Kind::boolean: (void)in.boolean(); return;
    case Kind::null: require(in.null(), "a null is a null"); return;
  }
}

template <class Read>
long end_of(std::string_view text, Read read) {
  try {
    Parser in(text);
    read(in);
    in.finish();
    return static_cast<long>(in.offset());
  } catch (const JsonError& error) {
    require(error.offset() <= text.size(), "errors lie inside the text");
    require(!pyvqa::json::location(text, error.offset()).empty(), "errors have a place");
    return -1;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);  // its end is guarded
  const long read = end_of(text, read_all);
  const long skipped = end_of(text, [](Parser& in) { in.skip(); });
  // Only reading sees numbers too large for a double and halves of surrogate pairs.
  require(read < 0 || read == skipped, "skipping accepts what reading accepts");
  end_of(text, [](Parser& in) { (void)in.integer(); });
  return 0;
}
