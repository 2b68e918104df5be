#include "world/outcome.h"

#include "execute/execute.h"
#include "world/template.h"

namespace pyvqa::world {
namespace {

void load(Value<1>& to, const Outcome& from) {
  to.kind = from.kind;
  to.value = from.value;
  to.head[0] = from.set;
}

}  // namespace

Outcome evaluate(uint64_t word, const Outcome& first, const Outcome& second,
                 const uint64_t* scene) {
  Value<1> v, saved[2];
  load(v, first);
  load(saved[1], second);
  step<1, 2>(word, v, saved, Scene<1>{scene});
  if (v.kind == Kind::set) return {v.kind, 0, v.head[0]};
  return {v.kind, v.value, 0};
}

Outcome set_of(uint64_t objects) { return {Kind::set, 0, objects}; }

int answer_code(const Outcome& outcome) {
  switch (outcome.kind) {
    case Kind::boolean:
    case Kind::string: return outcome.value;
    case Kind::integer: return kFirstNumber + outcome.value;
    case Kind::set: return kFirstNumber + count_bits(outcome.set);
    default: return -1;
  }
}

uint64_t all_objects(const uint64_t* scene) {
  uint64_t all[1];
  set_all<1>(all, Scene<1>{scene}.objects());
  return all[0];
}

}  // namespace pyvqa::world
