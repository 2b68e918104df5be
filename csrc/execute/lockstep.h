// Programs of the two-register machine side by side: one program a lane, no branch on what it does.
//
// The interpreter in execute.h jumps by instruction and by length, and on programs in no particular
// order about seven jumps a program go a way the processor did not guess; that costs more than the
// work. Here rows are sorted by length, and kLanes of them take each step together: a step computes
// every possible result with plain arithmetic and keeps the one that the instruction wants, which a
// compiler turns into vector instructions. What CLEVR programs hardly ever need is left to the
// interpreter: rows without an end, scenes of more than 32 objects, strings outside CLEVR's lists.
#pragma once

#include "execute/execute.h"
#include "execute/micro.h"

namespace pyvqa {
namespace {

constexpr int kLanes = 32;
constexpr int kLaneObjects = 32;  // a set is one 32-bit number
constexpr int kBlock = 1024;      // rows sorted at a time
constexpr int kLongest = 127;     // instructions of a row
constexpr int64_t kMostWords =
    1 << 30;  // of packed scenes: positions are 31 bits, in halves of words

// Packed scenes are read in halves of words.
typedef uint32_t Half __attribute__((may_alias));

// The registers of every lane, what they run and where.
struct Lanes {
  alignas(64) uint32_t kind[kLanes];
  uint32_t value[kLanes], head[kLanes], tail[kLanes];
  uint32_t saved_kind[kLanes], saved_value[kLanes], saved_head[kLanes];
  uint32_t origin[kLanes];  // of the scene, in halves of words
  uint32_t objects[kLanes], all[kLanes];
  uint32_t fits[kLanes];     // all ones where it runs and finds the kinds it needs
  uint32_t place[kLanes];    // which half word it reads,
  uint32_t loaded[kLanes];   // and what it found there
  uint32_t same[kLanes];     // all ones where `same` runs
  uint32_t strange[kLanes];  // not zero: this row is the interpreter's
};

inline uint32_t ones_if(bool yes) { return yes ? ~0u : 0u; }

inline uint32_t bits_in(uint32_t x) {  // in arithmetic that every instruction set has
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  x += x >> 8;
  return (x + (x >> 16)) & 0x3fu;
}

// W = 64-bit words a set takes in the packed scenes, 1 or 2; lanes use the first 32 bits.

// Checks kinds and finds the half word to read; lanes that do not run read their scene's header.
// Returns the flags of all lanes together.
template <uint32_t W>
inline uint32_t find_places(Lanes& s, const uint32_t* __restrict micros) {
  uint32_t flags = 0;
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t m = micros[l], kind = s.kind[l], needs = needed(m), saved = needed_saved(m);
    uint32_t fits = needs == kAnything || needs == kind ? ~0u : 0u;
    fits = saved == kAnything || saved == s.saved_kind[l] ? fits : 0u;
    fits = m == 0 ? 0u : fits;
    fits = kind == code_of(Kind::error) ? 0u : fits;
    const uint32_t rows = m >> kRowsShift & kRowsBits;  // not zero: relations, W words an object
    const uint32_t value = m & kByObject ? s.value[l] : 0u;
    const uint32_t object = rows ? W * value : value;
    const uint32_t place = (m >> kPlaceShift & kPlaceBits) + 2 * (s.objects[l] * rows + object);
    s.fits[l] = fits;
    s.place[l] = s.origin[l] + (place & fits);
    flags |= m;
  }
  return flags;
}

// Apart from the arithmetic: instruction sets without indexed loads do this one by one.
inline void fetch(Lanes& s, const Half* __restrict words) {
  for (int l = 0; l < kLanes; ++l) s.loaded[l] = words[s.place[l]];
}

// The codes of `same` become the masks of their values.
template <uint32_t W>
inline void read_same(Lanes& s, const uint32_t* __restrict micros, const Half* __restrict words) {
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t m = micros[l], same = m & kSame ? s.fits[l] : 0u;
    const uint32_t code = m & kHighHalf ? s.loaded[l] >> 16 : s.loaded[l] & 0xffffu;
    const uint32_t own = code - first_code_of(m) < codes_of(m) ? same : 0u;
    const uint32_t place = 2 * (1 + W * (code - kFirstValueCode));
    s.strange[l] |= same & ~own;
    s.same[l] = same;
    s.place[l] = s.origin[l] + (place & own);
  }
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t mask = words[s.place[l]] & ~(1u << (s.value[l] & 31));
    s.loaded[l] = s.same[l] ? mask : s.loaded[l];
  }
}

// `equal_<attribute>` takes nothing but values of its attribute.
inline void check_values(Lanes& s, const uint32_t* __restrict micros) {
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t m = micros[l], first = first_code_of(m), codes = codes_of(m);
    const uint32_t own =
        ones_if(s.value[l] - first < codes) & ones_if(s.saved_value[l] - first < codes);
    s.fits[l] &= own | ones_if((m & kOwnValues) == 0);
  }
}

// Every lane's result. A set is (head | more) & mask: `mask` is read from the scene, all objects,
// or the saved set, and `more` is everything where the set starts anew.
inline void compute_lanes(Lanes& s, const uint32_t* __restrict micros) {
  for (int l = 0; l < kLanes; ++l) {
    const uint32_t m = micros[l], kind = s.kind[l], value = s.value[l], loaded = s.loaded[l];
    const uint32_t head = s.head[l], tail = s.tail[l], saved_head = s.saved_head[l];
    const uint32_t saved_value = s.saved_value[l], any = head | tail;

    const uint32_t read = needed(m) == kAnything ? s.all[l] : loaded & s.all[l];
    const uint32_t mask = needed_saved(m) == code_of(Kind::set) ? saved_head : read;
    const uint32_t anew = ones_if((m & kAnew) != 0);
    const uint32_t new_head = (head | anew) & mask;
    const uint32_t new_tail = m & kUnion ? any & ~saved_head : tail & mask & ~anew;

    const uint32_t front = head ? head : tail;
    const uint32_t number =
        bits_in(m & kFirst ? (front & (0u - front)) - 1 : any);  // below the first, or all
    const uint32_t code = m & kHighHalf ? loaded >> 16 : loaded & 0xffffu;
    const uint32_t truth =
        (ones_if(value < saved_value) & m & kLess) | (ones_if(value == saved_value) & m & kEqual) |
        (ones_if(value > saved_value) & m & kGreater) | (ones_if(any != 0) & m & kExists);
    uint32_t new_value = m & kTruth ? (truth ? 1u : 0u) : value;
    new_value = m & kCode ? code : new_value;
    new_value = m & kNumber ? number : new_value;

    const uint32_t empty = ones_if((m & kFirst) != 0) & ones_if(any == 0) & s.fits[l];
    const uint32_t good = s.fits[l] & ~empty;
    const uint32_t runs = ones_if(m != 0) & ones_if(kind != code_of(Kind::error));
    const uint32_t reason = empty ? static_cast<uint32_t>(Reason::empty_set) : reason_of(m);
    const uint32_t saves = ones_if((m & kSaves) != 0) & good;
    s.saved_kind[l] = saves ? kind : s.saved_kind[l];
    s.saved_value[l] = saves ? value : saved_value;
    s.saved_head[l] = saves ? head : saved_head;
    s.kind[l] = runs ? given(m) & good : kind;
    s.value[l] = good ? new_value : runs ? reason : value;
    s.head[l] = good ? new_head : head;
    s.tail[l] = good ? new_tail : tail;
  }
}

// Rows [begin, end) of a job, `Id` the type of a program's entries.
template <int W, class Id>
class Lockstep {
 public:
  Lockstep(const Job& job, const Results& out, const MicroTable& table)
      : job_(job), out_(out), table_(table) {
    for (int kind = 0; kind < 8; ++kind) answers_[kind] = {nullptr, 0};
    if (!out.answer) return;
    answers_[static_cast<int>(Kind::string)] = {out.string_answers, out.strings};
    answers_[static_cast<int>(Kind::boolean)] = {out.string_answers, out.strings};
    answers_[static_cast<int>(Kind::integer)] = {out.integer_answers, out.integers};
  }

  void run(int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kBlock) {
      const int rows = static_cast<int>(end - first < kBlock ? end - first : kBlock);
      const int sorted = sort_rows(first, rows);
      int done = 0;
      for (; done + kLanes <= sorted; done += kLanes) run_lanes(first, order_ + done);
      for (; done < sorted; ++done) interpret(first + order_[done]);
    }
  }

 private:
  struct Answers {
    const int32_t* ids;
    int64_t count;
  };

  const Job& job_;
  const Results& out_;
  const MicroTable& table_;
  Answers answers_[8];       // by kind
  int16_t order_[kBlock];    // rows of the block by length
  int16_t lengths_[kBlock];  // instructions before the end; -1: for the interpreter

  const Id* ids_of(int64_t row) const {
    return static_cast<const Id*>(job_.programs) + row * job_.length;
  }
  void interpret(int64_t row) const { run_row<W, 2, Id>(job_, out_, row); }

  // As find_end, looking at 32 ids at once.
  int64_t end_of(int64_t row) const {
    const Id* ids = ids_of(row);
    if (job_.end_id < 0 || (row + 1) * job_.length + 32 > job_.rows * job_.length)
      return find_end(ids, job_);
    for (int64_t i = 0; i < job_.length; i += 32) {
      uint32_t ends = 0;
      for (int k = 0; k < 32; ++k)
        ends |= static_cast<uint32_t>(ids[i + k] == static_cast<Id>(job_.end_id)) << k;
      if (!ends) continue;
      const int64_t at = i + __builtin_ctz(ends);
      return at < job_.length ? at : -1;
    }
    return -1;
  }

  bool suits(int64_t row, int64_t end) const {
    const int64_t index = job_.scene_index[row];
    if (end < 0 || end > kLongest || !scene_fits<W>(job_, index)) return false;
    return Scene<W>{job_.words + job_.offsets[index]}.objects() <= kLaneObjects;
  }

  // Fills order_ with the rows that suit the lanes and returns how many; runs the others.
  int sort_rows(int64_t first, int rows) {
    int16_t starts[kLongest + 2] = {};
    for (int r = 0; r < rows; ++r) {
      const int64_t end = end_of(first + r);
      const bool lane = suits(first + r, end);
      lengths_[r] = static_cast<int16_t>(lane ? end : -1);
      if (lane) ++starts[end + 1];
      else interpret(first + r);
    }
    for (int n = 0; n <= kLongest; ++n)
      starts[n + 1] = static_cast<int16_t>(starts[n + 1] + starts[n]);
    for (int r = 0; r < rows; ++r)
      if (lengths_[r] >= 0) order_[starts[lengths_[r]]++] = static_cast<int16_t>(r);
    return starts[kLongest];
  }

  // A row's instructions, from its last on, as column `to` of [steps, kLanes].
  void look_up(const Id* ids, int length, int steps, uint32_t* to) const {
    for (const Id* id = ids + length; id != ids; to += kLanes)
      *to = table_.of(static_cast<uint64_t>(*--id));
    for (int step = length; step < steps; ++step, to += kLanes) *to = 0;
  }

  void run_lanes(int64_t first, const int16_t* order) const {
    Lanes s{};
    alignas(64) uint32_t micros[kLongest][kLanes];
    const int steps = lengths_[order[kLanes - 1]];
    for (int l = 0; l < kLanes; ++l) {
      const int64_t row = first + order[l], offset = job_.offsets[job_.scene_index[row]];
      look_up(ids_of(row), lengths_[order[l]], steps, micros[0] + l);
      s.origin[l] = static_cast<uint32_t>(2 * offset);
      s.objects[l] = static_cast<uint32_t>(job_.words[offset]);
      s.all[l] = static_cast<uint32_t>((uint64_t{1} << s.objects[l]) - 1);
      s.kind[l] = s.saved_kind[l] = code_of(Kind::none);
    }
    const Half* words = reinterpret_cast<const Half*>(job_.words);
    for (int step = 0; step < steps; ++step) {
      const uint32_t flags = find_places<W>(s, micros[step]);
      fetch(s, words);
      if (flags & kSame) read_same<W>(s, micros[step], words);
      if (flags & kOwnValues) check_values(s, micros[step]);
      compute_lanes(s, micros[step]);
    }
    for (int l = 0; l < kLanes; ++l) write(s, l, first + order[l]);
  }

  void write(const Lanes& s, int l, int64_t row) const {
    if (s.strange[l]) return interpret(row);
    const int32_t value = static_cast<int32_t>(s.value[l]);
    out_.kind[row] = static_cast<uint8_t>(s.kind[l]);
    out_.value[row] = value;
    if (out_.answer) {
      static constexpr int32_t kNoAnswer = -1;
      const Answers& answers = answers_[s.kind[l]];
      const int32_t* found = value < answers.count ? answers.ids + value : &kNoAnswer;
      out_.answer[row] = *found;
    }
    if (out_.sets) {
      const bool set = s.kind[l] == code_of(Kind::set);
      uint64_t* sets = out_.sets + row * 2 * W;
      for (int w = 0; w < 2 * W; ++w) sets[w] = 0;
      sets[0] = set ? s.head[l] : 0;
      sets[W] = set ? s.tail[l] : 0;
    }
  }
};

// Whether the lanes can run a job at all. A trace is written step by step, by the interpreter.
// Vectors narrower than AVX-512's lose on programs in a learnable order more than they gain on
// others.
inline bool lanes_suit(const Job& job, const Results& out) {
#if defined(PV_ISA_avx512)
  constexpr bool kWide = true;
#else
  constexpr bool kWide = false;
#endif
  return kWide && !out.trace_kind && job.rows >= kLanes && job.word_count <= kMostWords;
}

}  // namespace
}  // namespace pyvqa
