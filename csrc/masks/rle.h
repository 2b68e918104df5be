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

// Appends a run and keeps the sum, which may not pass the mask's size.
inline void push(Runs& runs, int64_t& sum, int64_t run, int64_t pixels) {
  if (run < 0) throw std::invalid_argument("a mask has a negative run length");
  if (run > pixels - sum) {
    throw std::invalid_argument("the run lengths of a mask sum to more than its " +
                                std::to_string(pixels) + " pixels");
  }
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

inline std::string write_rows(const Runs& runs) {
  std::string text;
  for (const uint32_t run : runs) {
    if (!text.empty()) text.push_back(',');
    text += std::to_string(run);
  }
  return text;
}

// COCO: from the fourth run on the difference to the run two before; five bits a character, low
// bits first, 32 marks a character with a successor, the last one's bit 16 is the sign.
inline Runs read_coco(std::string_view text, int64_t pixels) {
  constexpr int kMaxShift = 40;  // a 32-bit difference needs 7 characters
  Runs runs;
  int64_t sum = 0;
  for (size_t k = 0; k < text.size();) {
    int64_t value = 0;
    int shift = 0;
    for (bool more = true; more; shift += 5) {
      if (k == text.size()) throw std::invalid_argument("a COCO mask ends inside a run length");
      const int bits = static_cast<unsigned char>(text[k++]) - 48;
      if (bits < 0 || bits > 63) {
        throw std::invalid_argument("character " + std::to_string(k - 1) +
                                    " of a COCO mask is not one of its alphabet");
      }
      if (shift > kMaxShift) throw std::invalid_argument("a run length of a COCO mask is too long");
      value |= static_cast<int64_t>(bits & 31) << shift;
      more = (bits & 32) != 0;
      if (!more && (bits & 16)) value -= int64_t{1} << (shift + 5);
    }
    if (runs.size() > 2) value += runs[runs.size() - 2];
    detail::push(runs, sum, value, pixels);
  }
  detail::check_sum(sum, pixels);
  return runs;
}

inline std::string write_coco(const Runs& runs) {
  std::string text;
  for (size_t k = 0; k < runs.size(); ++k) {
    int64_t value = runs[k];
    if (k > 2) value -= runs[k - 2];
    for (bool more = true; more;) {
      int64_t bits = value & 31;
      value >>= 5;
      more = (bits & 16) ? value != -1 : value != 0;
      if (more) bits |= 32;
      text.push_back(static_cast<char>(bits + 48));
    }
  }
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

// The smallest box around the ones of column runs; all zeros if there are none.
inline Box bounds_of_columns(const Runs& runs, int64_t height) {
  int64_t start = 0, left = INT64_MAX, right = -1, top = INT64_MAX, bottom = -1;
  for (size_t k = 0; k < runs.size(); ++k) {
    const int64_t stop = start + runs[k];
    if (k % 2 == 1 && runs[k] > 0) {
      const int64_t first = start / height, last = (stop - 1) / height;
      left = std::min(left, first);
      right = std::max(right, last);
      top = first == last ? std::min(top, start % height) : 0;
      bottom = first == last ? std::max(bottom, (stop - 1) % height) : height - 1;
    }
    start = stop;
  }
  if (right < 0) return {};
  return {left, top, right - left + 1, bottom - top + 1};
}

}  // namespace pyvqa::masks
