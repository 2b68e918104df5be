// Random tables, programs and scenes for the interpreter, from sensible to garbage; a seed gives
// the same ones everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "execute/execute.h"

namespace execute_random {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // Choices out of a fuzzer's bytes, two a choice; splitmix64 goes on when they are used up.
  Random(const uint8_t* bytes, size_t size) : bytes_(bytes), left_(size) {}

  uint64_t next() {
    if (left_ > 1) {
      const uint64_t choice = static_cast<uint64_t>(bytes_[0] | bytes_[1] << 8);
      bytes_ += 2;
      left_ -= 2;
      return choice * 0x0001000100010001ull;
    }
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }

 private:
  uint64_t state_ = 0;
  const uint8_t* bytes_ = nullptr;
  size_t left_ = 0;
};

using Words = std::vector<uint64_t>;
using Row = std::vector<int64_t>;

// ---- tables

// Every instruction of CLEVR (registers as NS-VQA's machine has them) and then a skip and an end.
inline std::vector<int64_t> clevr_table() {
  using pyvqa::Instruction;
  using pyvqa::Op;
  std::vector<int64_t> table;
  const auto add = [&](Op op, int arg0 = 0, int second = 0) {
    table.push_back(Instruction{
        .op = op, .second = static_cast<uint8_t>(second), .arg0 = static_cast<uint16_t>(arg0)}
                        .word());
  };
  add(Op::scene_push);
  add(Op::unique_first);
  add(Op::count);
  add(Op::exist);
  for (int v = 0; v < pyvqa::kValues; ++v) add(Op::filter, v);
  for (int a = 0; a < 4; ++a)
    for (const Op op : {Op::relate, Op::same, Op::query}) add(op, a);
  for (int a = 0; a < 4; ++a) add(Op::equal_value, a, 1);
  for (int c = 0; c < 3; ++c) add(Op::compare, c, 1);
  add(Op::intersect, 0, 1);
  add(Op::union_after, 0, 1);
  add(Op::skip);
  add(Op::end);
  return table;
}

// Any instruction with any registers and arguments inside or just outside their ranges.
inline std::vector<int64_t> wild_table(Random& random, int size, bool sixteen_registers) {
  std::vector<int64_t> table;
  const int registers = sixteen_registers ? pyvqa::kRegisters + 1 : 2;
  for (int i = 0; i < size; ++i) {
    pyvqa::Instruction word;
    word.op = static_cast<pyvqa::Op>(
        random.below(static_cast<int>(pyvqa::Op::ops_count) + (random.chance(5) ? 3 : 0)));
    if (word.op == pyvqa::Op::end && random.chance(70)) word.op = pyvqa::Op::scene;
    if (random.chance(50)) word.first = static_cast<uint8_t>(random.below(registers));
    word.second = static_cast<uint8_t>(random.below(registers));
    if (random.chance(50)) word.save = static_cast<uint8_t>(random.below(registers));
    word.arg0 = static_cast<uint16_t>(random.below(random.chance(90) ? 4 : 20));
    if (word.op == pyvqa::Op::ordinal)
      word.arg0 = static_cast<uint16_t>(random.below(4) << 8 | random.below(10));
    word.arg1 = static_cast<uint16_t>(random.below(2));
    table.push_back(random.chance(2) ? static_cast<int64_t>(random.next()) : word.word());
  }
  table.push_back(pyvqa::Instruction{.op = pyvqa::Op::end}.word());
  return table;
}

// ---- programs

inline pyvqa::Signature signature_of(int64_t word) {
  return pyvqa::signature(static_cast<pyvqa::Op>(word & 0xff),
                          static_cast<int>(word >> 32 & 0xffff));
}

// Appends a well-typed program of the given type in prefix order. `binary` is how many functions of
// two operands it may hold: each brings another scene, and the two-register machine has room for
// two.
inline void grow(Random& random, const std::vector<int64_t>& table, int type, int depth,
                 int& binary, Row& row) {
  std::vector<int64_t> fitting, sources;
  for (size_t id = 0; id < table.size(); ++id) {
    const pyvqa::Signature s = signature_of(table[id]);
    if (s.operands < 0 || s.gives != type || (s.operands == 2 && binary == 0)) continue;
    fitting.push_back(static_cast<int64_t>(id));
    if (s.operands == 0) sources.push_back(static_cast<int64_t>(id));
  }
  if (fitting.empty() || depth > 40) return;
  const auto& from = depth > 1 + random.below(5) && !sources.empty() ? sources : fitting;
  const int64_t id = from[static_cast<size_t>(random.below(static_cast<int>(from.size())))];
  const pyvqa::Signature s = signature_of(table[static_cast<size_t>(id)]);
  row.push_back(id);
  binary -= s.operands == 2;
  for (int k = 0; k < s.operands; ++k) grow(random, table, s.takes, depth + 1, binary, row);
}

// A row of `length` ids: typed, typed and then damaged, or any ids; most rows hold an end.
inline Row program(Random& random, const std::vector<int64_t>& table, int length,
                   int64_t largest_id) {
  Row row;
  const int64_t end = static_cast<int64_t>(table.size()) - 1;
  const int how = random.below(10);
  if (how < 7) {
    int binary = random.chance(90) ? 1 : 3;
    grow(random, table, 1 + random.below(8), 0, binary, row);
    row.push_back(end);
    for (int i = random.below(3); how > 4 && i >= 0; --i)
      row[static_cast<size_t>(random.below(static_cast<int>(row.size())))] =
          random.below(static_cast<int>(table.size()));
  } else {
    const int tokens = length == 0 ? 0 : random.below(length);
    for (int i = 0; i < tokens; ++i) row.push_back(random.below(static_cast<int>(table.size())));
    if (random.chance(90)) row.push_back(end);
    if (random.chance(10) && !row.empty())
      row[static_cast<size_t>(random.below(static_cast<int>(row.size())))] =
          static_cast<int64_t>(random.next() % (2 * static_cast<uint64_t>(largest_id))) -
          largest_id;
  }
  row.resize(static_cast<size_t>(length), random.chance(50) ? end : 0);
  return row;
}

// ---- scenes

inline int words_for(int objects) {
  return objects <= 64 ? 1 : objects <= 128 ? 2 : objects <= 1024 ? 16 : 64;
}

// A well-formed scene in the layout of bytecode.h, relations and orders drawn; `unknown` per cent
// of the attribute values are strings outside CLEVR's lists.
inline Words scene(Random& random, int n, int width, int unknown = 3) {
  const uint32_t flags = static_cast<uint32_t>(random.below(8));
  const auto size = [](int64_t words) { return static_cast<size_t>(words); };
  Words words(size(1 + pyvqa::kValues * width + n + int64_t{4} * n * width));
  const auto add = [](uint64_t* set, int object) {
    set[object >> 6] |= uint64_t{1} << (object & 63);
  };
  words[0] = static_cast<uint64_t>(n) | uint64_t{flags} << 32;
  uint64_t* codes = words.data() + 1 + pyvqa::kValues * width;
  for (int o = 0; o < n; ++o) {
    for (int a = 0; a < 4; ++a) {
      int code = pyvqa::first_code(a) + random.below(pyvqa::last_code(a) - pyvqa::first_code(a));
      if (random.chance(unknown)) code = 17 + random.below(3);  // a string outside CLEVR's lists
      codes[o] |= static_cast<uint64_t>(code) << (16 * a);
      if (code < 17) add(words.data() + 1 + (code - pyvqa::kFirstValueCode) * width, o);
    }
    for (int r = 0; r < 4; ++r)
      for (int k = random.below(5); k > 0; --k)
        add(codes + n + (int64_t{r} * n + o) * width, random.below(n));
  }
  if (flags & pyvqa::has_visibility) {
    Words sets(size(2 * width));
    for (int o = 0; o < n; ++o) add(sets.data() + (random.chance(70) ? 0 : width), o);
    words.insert(words.end(), sets.begin(), sets.end());
  }
  if (flags & pyvqa::has_pixels) {
    Words order(size((n + 1) / 2));
    for (int by_depth = 0; by_depth < 2; ++by_depth) {
      std::vector<int> ids(size(n));
      for (int p = 0; p < n; ++p) {
        const int other = random.below(p + 1);
        ids[size(p)] = ids[size(other)];
        ids[size(other)] = p;
      }
      for (int p = 0; p < n; ++p)
        order[size(p >> 1)] |= static_cast<uint64_t>(ids[size(p)])
                               << (32 * (p & 1) + 16 * by_depth);
    }
    words.insert(words.end(), order.begin(), order.end());
  }
  return words;
}

// The same with words overwritten, or cut, or nothing but noise.
inline Words damaged_scene(Random& random, int n, int width) {
  Words words = scene(random, n, width);
  if (random.chance(30))
    words.resize(static_cast<size_t>(random.below(static_cast<int>(words.size()) + 1)));
  for (int k = random.below(8); k > 0 && !words.empty(); --k)
    words[static_cast<size_t>(random.below(static_cast<int>(words.size())))] = random.next();
  if (random.chance(30) && !words.empty())
    words[0] = random.chance(50) ? random.next() : static_cast<uint64_t>(n);
  return words;
}

}  // namespace execute_random
