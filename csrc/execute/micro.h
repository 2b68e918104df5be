// Instructions of the two-register machine taken apart for the lanes of lockstep.h: one 32-bit word
// says which kinds an instruction needs and gives, what it reads and which results it keeps.
#pragma once

#include "execute/execute.h"

namespace pyvqa {
namespace {

// Bit fields. 0 as a whole word leaves everything as it is.
constexpr int kSavedShift =
    3;  // from bit 0: the Kind needed of the accumulator; here: of register 1
constexpr int kGivesShift = 6;  // the Kind of the result
constexpr int kPlaceShift = 9;  // where it reads in its scene, in halves of words
constexpr int kRowsShift = 15;  // plus this many rows of `objects` words
constexpr uint32_t kOperandBits = 7, kPlaceBits = 63, kRowsBits = 7;
constexpr uint32_t kAnything = 0;  // as a kind needed: any; no accumulator that runs holds an error
constexpr uint32_t kNothing = 7;   // no kind at all: the instruction fails

enum MicroFlag : uint32_t {
  kByObject = 1u << 18,  // plus the accumulator's object
  kHighHalf = 1u << 19,  // of two codes, the high one
  kSaves = 1u << 20,     // register 1 takes the accumulator first
  kAnew = 1u << 21,      // the set does not build on the accumulator's
  kUnion = 1u << 22,
  kSame = 1u << 23,
  kOwnValues = 1u << 24,  // takes nothing but values of its attribute
  kFirst = 1u << 25,
  kCount = 1u << 26,
  kCode = 1u << 27,
  kExists = 1u << 28,
  kLess = 1u << 29,
  kEqual = 1u << 30,
  kGreater = 1u << 31
};
constexpr uint32_t kNumber = kFirst | kCount;
constexpr uint32_t kTruth = kExists | kLess | kEqual | kGreater;

constexpr uint32_t code_of(Kind kind) { return static_cast<uint32_t>(kind); }

constexpr uint32_t micro(uint32_t needs, uint32_t needs_saved, Kind gives, uint32_t rest) {
  return needs | needs_saved << kSavedShift | code_of(gives) << kGivesShift | rest;
}

// Two 16-bit codes share a half word.
constexpr uint32_t attribute_at(uint32_t first, uint32_t attribute) {
  return (first + attribute / 2) << kPlaceShift | (attribute % 2 ? uint32_t{kHighHalf} : 0);
}

inline uint32_t needed(uint32_t m) { return m & kOperandBits; }
inline uint32_t needed_saved(uint32_t m) { return m >> kSavedShift & kOperandBits; }
inline uint32_t given(uint32_t m) { return m >> kGivesShift & kOperandBits; }

// The codes of the attribute that attribute_at wrote down: first one and how many.
inline uint32_t first_code_of(uint32_t m) {
  const uint32_t odd = m & kHighHalf, later = m >> kPlaceShift & 1;
  return later ? (odd ? 15u : 12u) : (odd ? 10u : 2u);
}
inline uint32_t codes_of(uint32_t m) {
  const uint32_t odd = m & kHighHalf, later = m >> kPlaceShift & 1;
  return later ? (odd ? 2u : 3u) : (odd ? 2u : 8u);
}

// Why an instruction fails whose operands are not of the kinds that it needs.
inline uint32_t reason_of(uint32_t m) {
  const uint32_t other =
      static_cast<uint32_t>(needed(m) == kNothing ? Reason::unknown_token : Reason::type_mismatch);
  return m & kSaves ? static_cast<uint32_t>(Reason::third_scene) : other;
}

// A table's words taken apart, for scenes of `width` words a set; `complete` is false where one of
// them is not for the lanes.
class MicroTable {
 public:
  static constexpr int64_t kMost = 256;

  MicroTable(const Job& job, uint32_t width)
      : size_(static_cast<uint64_t>(job.vocabulary)), width_(width) {
    complete = job.vocabulary <= kMost;
    for (int64_t i = 0; complete && i < job.vocabulary; ++i)
      complete = translate(static_cast<uint64_t>(job.table[i]), micros_[i]);
    if (complete) micros_[size_] = kUnknown;
  }

  uint32_t of(uint64_t id) const { return micros_[id < size_ ? id : size_]; }

  bool complete;

 private:
  static constexpr uint32_t kUnknown = micro(kNothing, kAnything, Kind::error, 0);

  uint64_t size_;
  uint32_t width_;
  uint32_t micros_[kMost + 1];

  bool translate(uint64_t word, uint32_t& to) const {
    constexpr uint32_t set = code_of(Kind::set), object = code_of(Kind::object),
                       string = code_of(Kind::string);
    constexpr uint32_t integer = code_of(Kind::integer), any = kAnything;
    const uint32_t codes = 2 * (1 + kValues * width_);  // where a scene's codes begin
    const uint32_t arg0 = static_cast<uint32_t>(word >> 32 & 0xffff);
    const Kind truth = word >> 48 ? Kind::boolean : Kind::string;
    const bool of_saved = (word >> 16 & 0xff) == 1;
    switch (static_cast<Op>(word & 0xff)) {
      case Op::skip:
      case Op::end: to = 0; return true;
      case Op::fail: to = kUnknown; return arg0 == static_cast<uint32_t>(Reason::unknown_token);
      case Op::scene_push:
        to = micro(any, code_of(Kind::none), Kind::set, kSaves | kAnew);
        return true;
      case Op::scene: to = micro(any, any, Kind::set, kAnew); return true;
      case Op::filter:
        to = micro(set, any, Kind::set, 2 * (1 + arg0 * width_) << kPlaceShift);
        return true;
      case Op::unique_first: to = micro(set, any, Kind::object, kFirst); return true;
      case Op::relate:
        to = micro(object, any, Kind::set,
                   kAnew | kByObject | codes << kPlaceShift | (1 + arg0 * width_) << kRowsShift);
        return true;
      case Op::same:
        to = micro(object, any, Kind::set, kAnew | kByObject | kSame | attribute_at(codes, arg0));
        return true;
      case Op::count: to = micro(set, any, Kind::integer, kCount); return true;
      case Op::exist: to = micro(set, any, truth, kExists); return true;
      case Op::query:
        to = micro(object, any, Kind::string, kByObject | kCode | attribute_at(codes, arg0));
        return true;
      case Op::equal_value:
        to = micro(string, string, truth, kEqual | kOwnValues | attribute_at(0, arg0));
        return of_saved;
      case Op::compare:
        to = micro(integer, integer, truth, arg0 == 0 ? kEqual : arg0 == 1 ? kLess : kGreater);
        return of_saved;
      case Op::intersect: to = micro(set, set, Kind::set, 0); return of_saved;
      case Op::union_after: to = micro(set, set, Kind::set, kAnew | kUnion); return of_saved;
      default: return false;
    }
  }
};

}  // namespace
}  // namespace pyvqa
