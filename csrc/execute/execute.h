// The interpreter of symbolic programs, for host and device; no torch, no standard containers.
//
// Everything is in an anonymous namespace because this header is compiled once per instruction set
// (common/isa.h). W = 64-bit words per object set, R = registers.
#pragma once

#include "common/host_device.h"
#include "execute/bytecode.h"

namespace pyvqa {
namespace {

PV_HD int count_bits(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

PV_HD int lowest_bit(uint64_t word) {  // undefined for 0
#if defined(__CUDA_ARCH__)
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

// A register. A set is ordered: the objects of `head` in file order, then those of `tail`. Two
// parts are enough: only union_after makes a tail, its second operand is the set saved by
// scene_push, and that one is always a single part because no union can come before the second
// scene.
template <int W>
struct Value {
  Kind kind = Kind::none;
  int32_t value = 0;  // integer, string code, object, truth, or Reason
  uint64_t head[W] = {};
  uint64_t tail[W] = {};
};

template <int W>
struct Scene {
  const uint64_t* words;

  PV_HD int objects() const { return static_cast<int>(words[0] & 0xffffffffu); }
  PV_HD uint32_t flags() const { return static_cast<uint32_t>(words[0] >> 32); }
  PV_HD const uint64_t* value_mask(int v) const { return words + 1 + v * W; }
  PV_HD const uint64_t* codes() const { return words + 1 + kValues * W; }
  PV_HD int code(int object, int attribute) const {
    return static_cast<int>(codes()[object] >> (16 * attribute) & 0xffff);
  }
  PV_HD const uint64_t* related(int relation, int object) const {
    return codes() + objects() + (static_cast<int64_t>(relation) * objects() + object) * W;
  }
  PV_HD const uint64_t* after_relations() const { return related(kRelationsCount, 0); }
  PV_HD const uint64_t* visible(int partially) const { return after_relations() + partially * W; }
  PV_HD int in_order(int by_depth, int position) const {
    const uint64_t* order = after_relations() + ((flags() & has_visibility) ? 2 * W : 0);
    return static_cast<int>(order[position >> 1] >> (32 * (position & 1) + 16 * by_depth) & 0xffff);
  }

  static constexpr int kRelationsCount = 4;
};

// First and one-past-last string code of an attribute's own values.
PV_HD int first_code(int attribute) {
  return attribute == 0 ? 2 : attribute == 1 ? 10 : attribute == 2 ? 12 : 15;
}
PV_HD int last_code(int attribute) {
  return attribute == 0 ? 10 : attribute == 1 ? 12 : attribute == 2 ? 15 : 17;
}
PV_HD bool is_value_of(int code, int attribute) {
  return code >= first_code(attribute) && code < last_code(attribute);
}

template <int W>
PV_HD void set_all(uint64_t* set, int n) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) {
    const int left = n - 64 * w;
    set[w] = left >= 64 ? ~uint64_t{0} : left > 0 ? (uint64_t{1} << left) - 1 : 0;
  }
}

// A set read from a packed scene. Bits beyond the scene's objects would lead outside its tables.
template <int W>
PV_HD void read_set(uint64_t* to, const uint64_t* from, int objects) {
  set_all<W>(to, objects);
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) to[w] &= from[w];
}

template <int W>
PV_HD void clear_set(uint64_t* set) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) set[w] = 0;
}

template <int W>
PV_HD bool has(const uint64_t* set, int object) {
  return (set[object >> 6] >> (object & 63) & 1) != 0;
}

template <int W>
PV_HD int size_of(const Value<W>& v) {
  int n = 0;
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) n += count_bits(v.head[w]) + count_bits(v.tail[w]);
  return n;
}

// The first object of an ordered set, -1 if it is empty.
template <int W>
PV_HD int first_of(const Value<W>& v) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) if (v.head[w]) return 64 * w + lowest_bit(v.head[w]);
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) if (v.tail[w]) return 64 * w + lowest_bit(v.tail[w]);
  return -1;
}

template <int W>
PV_HD void fail(Value<W>& v, Reason reason) {
  v.kind = Kind::error;
  v.value = static_cast<int32_t>(reason);
}

template <int W>
PV_HD void truth(Value<W>& v, bool yes, int as_boolean) {
  v.kind = as_boolean ? Kind::boolean : Kind::string;  // string code 0 is "no", 1 is "yes"
  v.value = yes ? 1 : 0;
}

template <int W>
PV_HD void same_attribute(Value<W>& v, int attribute, const Scene<W>& scene) {
  const int object = v.value, code = scene.code(object, attribute);
  clear_set<W>(v.tail);
  if (is_value_of(code, attribute)) {
    read_set<W>(v.head, scene.value_mask(code - kFirstValueCode), scene.objects());
  } else {  // a string outside CLEVR's lists has no mask
    clear_set<W>(v.head);
    for (int o = 0; o < scene.objects(); ++o)
      if (scene.code(o, attribute) == code) v.head[o >> 6] |= uint64_t{1} << (o & 63);
  }
  v.head[object >> 6] &= ~(uint64_t{1} << (object & 63));
  v.kind = Kind::set;
}

// The k-th object of a set counted from a side; a set of one has no order (refexp_engine.py).
template <int W>
PV_HD void ordinal(Value<W>& v, int arg, const Scene<W>& scene) {
  const int size = size_of(v), side = arg >> 8;
  int k = arg & 255;
  if (!(scene.flags() & has_pixels)) return fail(v, Reason::missing_data);
  if (size == 1 || k >= size) return fail(v, Reason::invalid);
  if (side == 1) k = size - 1 - k;  // from the right: the left-to-right order read backwards
  for (int p = 0; p < scene.objects(); ++p) {
    const int object = scene.in_order(side == 2, p);
    if (object >= scene.objects() || !has<W>(v.head, object) || k-- > 0) continue;
    clear_set<W>(v.head);
    v.head[object >> 6] = uint64_t{1} << (object & 63);
    return;
  }
}

template <int W>
PV_HD void visible(Value<W>& v, int wanted, const Scene<W>& scene) {
  const uint32_t flags = scene.flags();
  if (!(flags & has_visibility)) return fail(v, Reason::missing_data);
  if (size_of(v) == 0 || (flags & visibility_invalid)) return fail(v, Reason::invalid);
  const uint64_t* mask = scene.visible(wanted == 2);
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) v.head[w] &= mask[w];
}

template <int W>
PV_HD void combine(Value<W>& a, const Value<W>& b, Op op) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) {
    const uint64_t other = b.head[w] | b.tail[w];
    if (op == Op::intersect) {
      a.head[w] &= other;
      a.tail[w] &= other;
    } else {
      const uint64_t mine = a.head[w] | a.tail[w];
      a.head[w] = op == Op::union_after ? other : other | mine;
      a.tail[w] = op == Op::union_after ? mine & ~other : 0;
    }
  }
}

template <int W>
PV_HD void binary(Value<W>& a, const Value<W>& b, Op op, int arg0, int arg1) {
  Kind wanted = Kind::set;
  if (op == Op::equal_value) wanted = Kind::string;
  if (op == Op::equal_object) wanted = Kind::object;
  if (op == Op::compare) wanted = Kind::integer;
  if (a.kind != wanted || b.kind != wanted) return fail(a, Reason::type_mismatch);
  switch (op) {
    case Op::equal_value:
      if (!is_value_of(a.value, arg0) || !is_value_of(b.value, arg0))
        return fail(a, Reason::type_mismatch);
      return truth(a, a.value == b.value, arg1);
    case Op::equal_object: return truth(a, a.value == b.value, arg1);
    case Op::compare:
      return truth(a,
                   arg0 == 0   ? a.value == b.value
                   : arg0 == 1 ? a.value < b.value
                               : a.value > b.value,
                   arg1);
    default: return combine(a, b, op);
  }
}

template <int W>
PV_HD void filter(Value<W>& v, const uint64_t* mask) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) {
    v.head[w] &= mask[w];
    v.tail[w] &= mask[w];
  }
}

// One instruction, its operand in `a`; `filter` only where it fails.
template <int W, int R>
PV_HD void compute(Op op, uint64_t word, Value<W>& a, Value<W>* saved, const Scene<W>& scene) {
  const int arg0 = static_cast<int>(word >> 32 & 0xffff), arg1 = static_cast<int>(word >> 48);
  switch (op) {
    case Op::filter: fail(a, Reason::type_mismatch); break;  // of no set
    case Op::scene_push:
      if (saved[1].kind != Kind::none) {
        fail(a, Reason::third_scene);
        break;
      }
      saved[1] = a;
      [[fallthrough]];
    case Op::scene:
      a.kind = Kind::set;
      set_all<W>(a.head, scene.objects());
      clear_set<W>(a.tail);
      break;
    case Op::unique_first: {
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      const int object = first_of(a);
      if (object < 0) {
        fail(a, Reason::empty_set);
        break;
      }
      a.kind = Kind::object;
      a.value = object;
      break;
    }
    case Op::unique_only:
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      if (size_of(a) != 1) {
        fail(a, Reason::invalid);
        break;
      }
      a.kind = Kind::object;
      a.value = first_of(a);
      break;
    case Op::relate:
      if (a.kind != Kind::object) {
        fail(a, Reason::type_mismatch);
        break;
      }
      read_set<W>(a.head, scene.related(arg0, a.value), scene.objects());
      clear_set<W>(a.tail);
      a.kind = Kind::set;
      break;
    case Op::same:
      if (a.kind != Kind::object) {
        fail(a, Reason::type_mismatch);
        break;
      }
      same_attribute(a, arg0, scene);
      break;
    case Op::count:
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      a.value = size_of(a);
      a.kind = Kind::integer;
      break;
    case Op::exist:
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      truth(a, size_of(a) > 0, arg1);
      break;
    case Op::query:
      if (a.kind != Kind::object) {
        fail(a, Reason::type_mismatch);
        break;
      }
      a.value = scene.code(a.value, arg0);
      a.kind = Kind::string;
      break;
    case Op::equal_value:
    case Op::equal_object:
    case Op::compare:
    case Op::intersect:
    case Op::union_after:
    case Op::union_sorted:
      binary(a, saved[static_cast<int>(word >> 16) & (R - 1)], op, arg0, arg1);
      break;
    case Op::ordinal:
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      ordinal(a, arg0, scene);
      break;
    case Op::visible:
      if (a.kind != Kind::set) {
        fail(a, Reason::type_mismatch);
        break;
      }
      visible(a, arg0, scene);
      break;
    case Op::fail: fail(a, static_cast<Reason>(arg0)); break;
    default: break;
  }
}

// One instruction: `a` is the accumulator, `saved` the other registers (saved[0] stays empty). The
// accumulator is a variable of its own so that the compiler keeps it out of memory.
template <int W, int R>
PV_HD void step(uint64_t word, Value<W>& a, Value<W>* saved, const Scene<W>& scene) {
  const Op op = static_cast<Op>(word & 0xff);
  if (R > 2 && (word & 0xff00)) a = saved[static_cast<int>(word >> 8) & (R - 1)];
  // Nearly half of all instructions are filters: apart from the jump table they are predicted best.
  if (op == Op::filter && a.kind == Kind::set) {
    filter(a, scene.value_mask(static_cast<int>(word >> 32 & 0xffff)));
  } else {
    compute<W, R>(op, word, a, saved, scene);
  }
  if (R > 2 && (word & 0xff000000)) saved[static_cast<int>(word >> 24) & (R - 1)] = a;
}

// What one call executes; all pointers are valid on the side (host or device) that runs it.
struct Job {
  const void* programs;  // [rows, length] ids
  int64_t rows, length;
  const int64_t* table;  // [vocabulary] instruction words
  int64_t vocabulary;
  const int64_t* scene_index;  // [rows]
  const uint64_t* words;       // packed scenes
  const int64_t* offsets;      // [scenes + 1]
  int64_t scenes;
  int64_t word_count;
  int64_t end_id = -1;  // the only id that ends a program, -1 if there are none or several
};

// Where results go. Null pointers are not written.
struct Results {
  uint8_t* kind;                  // [rows]
  int32_t* value;                 // [rows]
  int32_t* answer;                // [rows] id in the answer vocabulary or -1
  uint64_t* sets;                 // [rows, 2, W] head and tail
  const int32_t* string_answers;  // [strings] string code -> answer id
  int64_t strings;
  const int32_t* integer_answers;  // [integers] number -> answer id
  int64_t integers;
  // The accumulator after each executed instruction, by position in the row; untouched positions
  // keep kind 255.
  uint8_t* trace_kind;   // [rows, length]
  int32_t* trace_value;  // [rows, length]
  uint64_t* trace_sets;  // [rows, length, 2, W]
};

// The word of an id; ids outside the table fail.
PV_HD uint64_t instruction_at(const Job& job, uint64_t id) {
  if (id < static_cast<uint64_t>(job.vocabulary)) return static_cast<uint64_t>(job.table[id]);
  return static_cast<uint64_t>(Op::fail) | static_cast<uint64_t>(Reason::unknown_token) << 32;
}

PV_HD bool ends(uint64_t word) { return (word & 0xff) == static_cast<uint64_t>(Op::end); }

// Position of the first `end`, -1 without one.
template <class Ids>
PV_HD int64_t find_end(const Ids& row, const Job& job) {
  if (job.end_id >= 0) {  // the usual table has one end: compare ids, look nothing up
    for (int64_t i = 0; i < job.length; ++i)
      if (static_cast<int64_t>(row[i]) == job.end_id) return i;
    return -1;
  }
  for (int64_t i = 0; i < job.length; ++i)
    if (ends(instruction_at(job, static_cast<uint64_t>(row[i])))) return i;
  return -1;
}

template <int W>
PV_HD int32_t answer_id(const Value<W>& v, const Results& out) {
  const bool string = v.kind == Kind::string || v.kind == Kind::boolean;
  if (string && v.value < out.strings) return out.string_answers[v.value];
  if (v.kind == Kind::integer && v.value < out.integers) return out.integer_answers[v.value];
  return -1;
}

template <int W>
PV_HD void write_set(uint64_t* to, const Value<W>& v) {
  PV_UNROLL_WORDS for (int w = 0; w < W; ++w) {
    to[w] = v.kind == Kind::set ? v.head[w] : 0;
    to[W + w] = v.kind == Kind::set ? v.tail[w] : 0;
  }
}

// Whether scene `index` exists and lies inside the words as a whole.
template <int W>
PV_HD bool scene_fits(const Job& job, int64_t index) {
  if (index < 0 || index >= job.scenes) return false;
  const int64_t begin = job.offsets[index], end = job.offsets[index + 1];
  if (begin < 0 || end > job.word_count || end <= begin) return false;
  const Scene<W> scene{job.words + begin};
  const int64_t n = scene.objects();
  const int64_t extra = ((scene.flags() & has_visibility) ? 2 * W : 0) +
                        ((scene.flags() & has_pixels) ? (n + 1) / 2 : 0);
  return n >= 0 && n <= 64 * W && end - begin >= 1 + kValues * W + n + 4 * n * W + extra;
}

// A table word as it is, or a failing instruction where it could lead outside the tables.
PV_HD int64_t checked_instruction(int64_t word) {
  const int op = static_cast<int>(word & 0xff), arg0 = static_cast<int>(word >> 32 & 0xffff);
  int limit = 0x10000;
  switch (static_cast<Op>(op)) {
    case Op::filter: limit = kValues; break;
    case Op::relate:
    case Op::same:
    case Op::query:
    case Op::equal_value: limit = 4; break;
    case Op::compare: limit = 3; break;
    case Op::ordinal: limit = 3 << 8; break;
    case Op::visible: limit = 3; break;
    default: break;
  }
  const int registers = static_cast<int>((word >> 8 | word >> 16 | word >> 24) & 0xff);
  if (op < static_cast<int>(Op::ops_count) && arg0 < limit && registers < kRegisters) return word;
  return static_cast<int64_t>(Op::fail) | static_cast<int64_t>(Reason::unknown_token) << 32;
}

// Whether a word names registers that the two-register machine does not have or use: any but
// register 1 as the second operand's.
PV_HD bool needs_many_registers(int64_t word) { return (word & 0xfffeff00) != 0; }

// Ids of whatever size the call says, for the paths where looking at it each time is fast enough.
struct AnyIds {
  const void* data;
  int bytes;

  PV_HD int64_t operator[](int64_t i) const {
    switch (bytes) {
      case 1: return static_cast<const uint8_t*>(data)[i];
      case 2: return static_cast<const int16_t*>(data)[i];
      case 4: return static_cast<const int32_t*>(data)[i];
      default: return static_cast<const int64_t*>(data)[i];
    }
  }
};

PV_HD AnyIds any_ids(const Job& job, int64_t row, int bytes) {
  return {static_cast<const char*>(job.programs) + row * job.length * bytes, bytes};
}

// Runs one program; `ids` is indexed by position, `saved` are R empty registers.
template <int W, int R, class Ids>
PV_HD void run_ids(const Ids& ids, const Job& job, const Results& out, int64_t row,
                   Value<W>* saved) {
  Value<W> a;
  const int64_t scene_index = job.scene_index[row], end = find_end(ids, job);
  if (end < 0) {
    fail(a, Reason::no_end);
  } else if (!scene_fits<W>(job, scene_index)) {
    fail(a, Reason::unknown_scene);
  } else {
    const Scene<W> scene{job.words + job.offsets[scene_index]};
    if (out.trace_kind) out.trace_kind[row * job.length + end] = static_cast<uint8_t>(Kind::none);
    for (int64_t i = end - 1; i >= 0; --i) {
      step<W, R>(instruction_at(job, static_cast<uint64_t>(ids[i])), a, saved, scene);
      if (a.kind == Kind::error) break;
      if (out.trace_kind) {
        const int64_t at = row * job.length + i;
        out.trace_kind[at] = static_cast<uint8_t>(a.kind);
        out.trace_value[at] = a.value;
        write_set(out.trace_sets + at * 2 * W, a);
      }
    }
  }
  out.kind[row] = static_cast<uint8_t>(a.kind);
  out.value[row] = a.value;
  if (out.answer) out.answer[row] = answer_id(a, out);
  if (out.sets) write_set(out.sets + row * 2 * W, a);
}

template <int W, int R, class Id>
PV_HD void run_row(const Job& job, const Results& out, int64_t row) {
  const Id* ids = static_cast<const Id*>(job.programs) + row * job.length;
  Value<W> saved[R];
  run_ids<W, R>(ids, job, out, row, saved);
}

// The static check: types instead of values, the same walk. 0 = a well-formed, well-typed prefix
// program; otherwise the Reason. Truth, integers and the four attributes are types of their own.
enum Type : int { no_type = 0, set_type, object_type, integer_type, truth_type, value_type };

struct Signature {
  int operands, takes, gives;
};

PV_HD Signature signature(Op op, int arg0) {
  switch (op) {
    case Op::scene_push:
    case Op::scene: return {0, no_type, set_type};
    case Op::filter:
    case Op::ordinal:
    case Op::visible: return {1, set_type, set_type};
    case Op::unique_first:
    case Op::unique_only: return {1, set_type, object_type};
    case Op::relate:
    case Op::same: return {1, object_type, set_type};
    case Op::count: return {1, set_type, integer_type};
    case Op::exist: return {1, set_type, truth_type};
    case Op::query: return {1, object_type, value_type + arg0};
    case Op::equal_value: return {2, value_type + arg0, truth_type};
    case Op::equal_object: return {2, object_type, truth_type};
    case Op::compare: return {2, integer_type, truth_type};
    case Op::intersect:
    case Op::union_after:
    case Op::union_sorted: return {2, set_type, set_type};
    default: return {-1, no_type, no_type};
  }
}

// Walks the row backwards with a stack of types; at most `kDepth` values may wait for an operator.
template <class Id>
PV_HD int8_t verify_row(const Job& job, int64_t row) {
  constexpr int kDepth = 64;
  const Id* ids = static_cast<const Id*>(job.programs) + row * job.length;
  const int64_t end = find_end(ids, job);
  if (end < 0) return static_cast<int8_t>(Reason::no_end);
  uint8_t stack[kDepth];
  int depth = 0, scenes = 0;
  for (int64_t i = end - 1; i >= 0; --i) {
    const uint64_t word = instruction_at(job, static_cast<uint64_t>(ids[i]));
    const Op op = static_cast<Op>(word & 0xff);
    const Signature s = signature(op, static_cast<int>(word >> 32 & 0xffff));
    if (s.operands < 0) return static_cast<int8_t>(Reason::unknown_token);
    if (op == Op::scene_push && ++scenes > 2) return static_cast<int8_t>(Reason::third_scene);
    if (depth < s.operands || depth - s.operands >= kDepth)
      return static_cast<int8_t>(Reason::bad_arity);
    for (int k = 0; k < s.operands; ++k)
      if (stack[--depth] != s.takes) return static_cast<int8_t>(Reason::type_mismatch);
    stack[depth++] = static_cast<uint8_t>(s.gives);
  }
  return depth == 1 ? int8_t{0} : static_cast<int8_t>(Reason::bad_arity);
}

}  // namespace
}  // namespace pyvqa
