// Results of program nodes, one instruction at a time by the interpreter of the execute op.
#pragma once

#include <compare>
#include <cstdint>

#include "execute/bytecode.h"

namespace pyvqa::world {

// What a node gives: a set, or a number, truth, string code or object.
struct Outcome {
  Kind kind = Kind::none;
  int32_t value = 0;
  uint64_t set = 0;
  auto operator<=>(const Outcome&) const = default;
};

// One instruction on its operands. Sets are single bit masks: none of the instructions that
// templates expand to keeps an order of its own.
Outcome evaluate(uint64_t word, const Outcome& first, const Outcome& second, const uint64_t* scene);

Outcome set_of(uint64_t objects);

uint64_t all_objects(const uint64_t* scene);

// The code of an answer; of a set: that of its size. -1 for what is no answer.
int answer_code(const Outcome& outcome);

}  // namespace pyvqa::world
