// The bytecode of symbolic programs: instructions, values, and how a packed scene lies in memory.
//
// A program is a row of small integers (for CLEVR: the token ids themselves). Each integer names an
// instruction in a table that belongs to the language; execution starts before the first `end` and
// walks back to the start of the row, because prefix order read backwards meets operands before
// operators. An instruction reads registers, leaves its result in register 0 (the accumulator) and
// may save a copy in another register. pyvqa/programs/README.md shows how each language fits.
#pragma once

#include <cstdint>

namespace pyvqa {

enum class Op : uint8_t {
  skip = 0,      // leaves everything as it is
  end,           // end of the program; never executed
  fail,          // error with reason arg0
  scene_push,    // register 1 <- accumulator, accumulator <- all objects; error if register 1 is
                 // taken
  scene,         // all objects
  filter,        // keep objects with attribute value arg0
  unique_first,  // first object of a set (it need not be the only one)
  unique_only,   // the object of a set of exactly one
  relate,        // objects standing in relation arg0 to an object
  same,          // other objects with the same value of attribute arg0
  count,         // size of a set
  exist,         // truth of "not empty"
  query,         // value of attribute arg0 of an object
  equal_value,   // two strings, both values of attribute arg0
  equal_object,  // two objects
  compare,       // two integers: arg0 = 0 equal, 1 first less, 2 first greater
  intersect,     // elements of the first set that are in the second, in order
  union_after,   // the second set, then what the first adds to it: order matters to unique_first
  union_sorted,  // both sets in file order
  ordinal,       // the (arg0 & 255)th object from side arg0 >> 8 (0 left, 1 right, 2 front)
  visible,       // keep objects of visibility class arg0 (1 fully, 2 partially)
  ops_count
};

enum class Kind : int32_t { error = 0, none, integer, string, object, set, boolean };

// Why a program failed: the value that goes with Kind::error.
enum class Reason : int32_t {
  no_end = 1,     // the row has no end
  unknown_token,  // an id outside the table
  unknown_scene,  // a scene index outside the table of scenes
  type_mismatch,  // an operand of the wrong kind, or missing
  empty_set,      // the first object of nothing
  third_scene,    // the two-register machine holds two scenes
  invalid,        // CLEVR-Ref+'s own "invalid" marker
  bad_arity,      // wrong number of operands
  missing_data    // the scene lacks pixel coordinates or masks
};

// One instruction = one 64-bit word of the table, least significant byte first:
//   op 8 | first 8 | second 8 | save 8 | arg0 16 | arg1 16
// first/second: register of the operand, save: register that receives a copy; 0 = accumulator /
// none. arg1 of truth-valued instructions: 0 gives the strings "yes"/"no", 1 a boolean.
inline constexpr int kRegisters = 16;

struct Instruction {
  Op op = Op::skip;
  uint8_t first = 0, second = 0, save = 0;
  uint16_t arg0 = 0, arg1 = 0;

  constexpr int64_t word() const {
    return static_cast<int64_t>(static_cast<uint64_t>(op) | uint64_t{first} << 8 |
                                uint64_t{second} << 16 | uint64_t{save} << 24 |
                                uint64_t{arg0} << 32 | uint64_t{arg1} << 48);
  }
};

// A packed scene: 64-bit words at words[offsets[s]], W words per object set.
//   header             1            objects | flags << 32
//   value_masks        15 * W       the objects that have each attribute value
//   codes              n            four 16-bit string codes: color, material, shape, size
//   relations          4 * n * W    row [r][i]: the objects that stand in relation r to object i
//   visible            2 * W        fully, partially         (flag has_visibility)
//   order              ceil(n / 2)  32 bits an object: its id in left-to-right order (low half) and
//   in
//                                   near-to-far order (high half)   (flag has_pixels)
inline constexpr int kValues = 15;
inline constexpr int kFirstValueCode = 2;
enum SceneFlag : uint32_t { has_pixels = 1, has_visibility = 2, visibility_invalid = 4 };

}  // namespace pyvqa
