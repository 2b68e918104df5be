// Run lengths of binary masks: CLEVR-Ref+'s text over rows and COCO's compressed text over columns.
// Both list runs of zeros and ones in turn, zeros first. Torch-free; errors are
// std::invalid_argument.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pyvqa::masks {

using Runs = std::vector<uint32_t>;

struct Box {  // pixels; the corner (x, y) belongs to it
  int64_t x = 0, y = 0, width = 0, height = 0;
};

// height * width, within what a run can count.
inline int64_t pixel_count(int64_t height, int64_t width) {
  if (height < 0 || width < 0) throw std::invalid_argument("a mask has a negative size");
  if (height > 0 && width > INT32_MAX / height) {
    throw std::invalid_argument("a mask of " + std::to_string(height) + " x " +
                                std::to_string(width) + " pixels is too large");
  }
  return height * width;
}

namespace detail {

// Refuses a run that does not fit behind the `sum` pixels before it.
inline void check_run(int64_t run, int64_t sum, int64_t pixels) {
  if (run < 0) throw std::invalid_argument("a mask has a negative run length");
  if (run > pixels - sum) {
    throw std::invalid_argument("the run lengths of a mask sum to more than its " +
                                std::to_string(pixels) + " pixels");
  }
}

// Appends a run and keeps the sum, which may not pass the mask's size.
inline void push(Runs& runs, int64_t& sum, int64_t run, int64_t pixels) {
  check_run(run, sum, pixels);
  sum += run;
  runs.push_back(static_cast<uint32_t>(run));
}

inline void check_sum(int64_t sum, int64_t pixels) {
  if (sum != pixels) {
    throw std::invalid_argument("the run lengths of a mask sum to " + std::to_string(sum) +
                                " instead of its " + std::to_string(pixels) + " pixels");
  }
}

}  // namespace detail

// Reads "n0,n1,...", at most `pixels` in all, into `runs`; returns the sum.
inline int64_t read_run_list(std::string_view text, int64_t pixels, Runs& runs) {
  runs.clear();
  int64_t sum = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    int64_t run = 0;
    const auto [stop, error] = std::from_chars(at, end, run);
    if (error == std::errc::result_out_of_range) {
      throw std::invalid_argument("a run length of a mask is beyond 64 bits");
    }
    if (error != std::errc()) {
      throw std::invalid_argument("expected a run length of a mask at character " +
                                  std::to_string(at - text.data()));
    }
    detail::push(runs, sum, run, pixels);
    if (stop == end) return sum;
    if (*stop != ',') {
      throw std::invalid_argument("expected ',' between run lengths at character " +
                                  std::to_string(stop - text.data()));
    }
    at = stop + 1;
  }
}

// CLEVR-Ref+: "n0,n1,..." over the rows of the image.
inline Runs read_rows(std::string_view text, int64_t pixels) {
  Runs runs;
  detail::check_sum(read_run_list(text, pixels, runs), pixels);
  return runs;
}

template <class Run>
std::string write_rows(const Run* runs, size_t count) {
  constexpr size_t kMostDigits = 11;
  std::string text(count * (kMostDigits + 1), '\0');
  char* at = text.data();
  for (size_t k = 0; k < count; ++k) {
    if (k > 0) *at++ = ',';
    at = std::to_chars(at, at + kMostDigits, runs[k]).ptr;
  }
  text.resize(static_cast<size_t>(at - text.data()));
  return text;
}

inline std::string write_rows(const Runs& runs) { return write_rows(runs.data(), runs.size()); }

// COCO: from the fourth run on the difference to the run two before; five bits a character, low
// bits first, 32 marks a character with a successor, the last one's bit 16 is the sign.

namespace detail {

// The number at `at`, which is moved past it; `start` is where the text begins.
inline int64_t coco_number(const char*& at, const char* end, const char* start) {
  constexpr int kMaxShift = 40;  // a 32-bit difference needs 7 characters
  int64_t value = 0;
  for (int shift = 0;; shift += 5) {
    if (at == end) throw std::invalid_argument("a COCO mask ends inside a run length");
    const int bits = static_cast<unsigned char>(*at++) - 48;
    if (bits < 0 || bits > 63) {
      throw std::invalid_argument("character " + std::to_string(at - 1 - start) +
                                  " of a COCO mask is not one of its alphabet");
    }
    if (shift > kMaxShift) throw std::invalid_argument("a run length of a COCO mask is too long");
    value |= static_cast<int64_t>(bits & 31) << shift;
    if ((bits & 32) != 0) continue;
    return (bits & 16) != 0 ? value - (int64_t{1} << (shift + 5)) : value;
  }
}

}  // namespace detail

// Calls `take(run)` for every run of a COCO text, which must sum to `pixels`.
template <class Take>
void scan_coco(std::string_view text, int64_t pixels, Take&& take) {
  const char* at = text.data();
  const char* const end = at + text.size();
  int64_t left = pixels, last = 0, last_but_one = 0;
  for (int64_t k = 0; at != end; ++k) {
    const unsigned bits = static_cast<unsigned char>(*at) - 48u;
    int64_t run;
    if (bits < 32) {  // one character is the whole number, as it mostly is
      run = static_cast<int64_t>(bits ^ 16) - 16;
      ++at;
    } else {
      run = detail::coco_number(at, end, text.data());
    }
    if (k > 2) run += last_but_one;
    if (static_cast<uint64_t>(run) > static_cast<uint64_t>(left)) {
      detail::check_run(run, pixels - left, pixels);
    }
    left -= run;
    last_but_one = last;
    last = run;
    take(run);
  }
  detail::check_sum(pixels - left, pixels);
}

inline Runs read_coco(std::string_view text, int64_t pixels) {
  Runs runs;
  scan_coco(text, pixels, [&](int64_t run) { runs.push_back(static_cast<uint32_t>(run)); });
  return runs;
}

inline constexpr size_t kMostPerRun = 7;  // characters of one run in COCO's text

// Appends one number of a COCO text at `at`, where kMostPerRun characters fit; returns its end.
inline char* write_coco_number(int64_t value, char* at) {
  for (;;) {
    const int64_t bits = value & 31;
    value >>= 5;
    const bool more = (bits & 16) != 0 ? value != -1 : value != 0;
    *at++ = static_cast<char>((more ? bits | 32 : bits) + 48);
    if (!more) return at;
  }
}

// Run is any integer type; the text goes into `text`, which keeps its memory from call to call.
template <class Run>
void write_coco_into(const Run* runs, size_t count, std::string& text) {
  text.resize(count * kMostPerRun);
  char* at = text.data();
  for (size_t k = 0; k < count; ++k) {
    const int64_t before = k > 2 ? static_cast<int64_t>(runs[k - 2]) : 0;
    at = write_coco_number(static_cast<int64_t>(runs[k]) - before, at);
  }
  text.resize(static_cast<size_t>(at - text.data()));
}

inline std::string write_coco(const Runs& runs) {
  std::string text;
  write_coco_into(runs.data(), runs.size(), text);
  return text;
}

// Row-major masks <-> runs over their rows or columns. Any non-zero byte is a one.
inline Runs runs_of_rows(const uint8_t* mask, int64_t pixels) {
  Runs runs;
  int64_t start = 0;
  for (bool value = false; start < pixels || runs.empty(); value = !value) {
    int64_t at = start;
    while (at < pixels && (mask[at] != 0) == value) ++at;
    runs.push_back(static_cast<uint32_t>(at - start));
    start = at;
  }
  return runs;
}

inline void paint_rows(const Runs& runs, uint8_t* mask) {
  uint8_t value = 0;
  for (const uint32_t run : runs) {
    mask = std::fill_n(mask, run, value);
    value ^= 1;
  }
}

inline void transpose(const uint8_t* from, int64_t height, int64_t width, uint8_t* to) {
  constexpr int64_t kTile = 32;
  for (int64_t top = 0; top < height; top += kTile) {
    for (int64_t left = 0; left < width; left += kTile) {
      for (int64_t y = top; y < std::min(top + kTile, height); ++y) {
        for (int64_t x = left; x < std::min(left + kTile, width); ++x) {
          to[x * height + y] = from[y * width + x];
        }
      }
    }
  }
}

inline Runs runs_of_columns(const uint8_t* mask, int64_t height, int64_t width) {
  std::vector<uint8_t> columns(static_cast<size_t>(height * width));
  transpose(mask, height, width, columns.data());
  return runs_of_rows(columns.data(), height * width);
}

inline void paint_columns(const Runs& runs, int64_t height, int64_t width, uint8_t* mask) {
  std::vector<uint8_t> columns(static_cast<size_t>(height * width));
  paint_rows(runs, columns.data());
  transpose(columns.data(), width, height, mask);
}

inline int64_t area(const Runs& runs) {
  int64_t ones = 0;
  for (size_t k = 1; k < runs.size(); k += 2) ones += runs[k];
  return ones;
}

// Finds the smallest box around the ones of column runs, run by run.
class ColumnBounds {
 public:
  explicit ColumnBounds(int64_t height) : height_(height) {}

  void add(int64_t run) {
    const int64_t stop = start_ + run;
    if (ones_ && run > 0) add_ones(start_, stop - 1);
    start_ = stop;
    ones_ = !ones_;
  }

  Box box() const {  // all zeros if there are no ones
    if (right_ < 0) return {};
    return {left_, top_, right_ - left_ + 1, bottom_ - top_ + 1};
  }

 private:
  void add_ones(int64_t first, int64_t last) {
    const auto height = static_cast<uint32_t>(height_);
    const auto begin = static_cast<uint32_t>(first), end = static_cast<uint32_t>(last);
    const uint32_t left = begin / height, right = end / height;
    left_ = std::min<int64_t>(left_, left);
    right_ = std::max<int64_t>(right_, right);
    const bool one_column = left == right;
    top_ = one_column ? std::min<int64_t>(top_, begin - left * height) : 0;
    bottom_ = one_column ? std::max<int64_t>(bottom_, end - right * height) : height_ - 1;
  }

  int64_t height_, start_ = 0;
  int64_t left_ = INT64_MAX, right_ = -1, top_ = INT64_MAX, bottom_ = -1;
  bool ones_ = false;
};

inline Box bounds_of_columns(const Runs& runs, int64_t height) {
  ColumnBounds bounds(height);
  for (const uint32_t run : runs) bounds.add(run);
  return bounds.box();
}

}  // namespace pyvqa::masks
