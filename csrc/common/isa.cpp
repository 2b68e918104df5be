#include "common/isa.h"

#include <cstdlib>

namespace pyvqa {
namespace {

Isa supported() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
                    __builtin_cpu_supports("lzcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::base;
#else
  return Isa::base;
#endif
}

Isa chosen() {
  const Isa best = supported();
  const char* asked = std::getenv("PYVQA_ISA");
  if (asked == nullptr) return best;
  const std::string name(asked);
  // A set that the CPU lacks would end in an illegal instruction: take the best it has instead.
  if (name == "base") return Isa::base;
  if (name == "avx2" && best != Isa::base) return Isa::avx2;
  return best;
}

}  // namespace

Isa active_isa() {
  static const Isa isa = chosen();
  return isa;
}

bool has_avx512_vpopcntdq() {
#if defined(__x86_64__)
  return active_isa() == Isa::avx512 && __builtin_cpu_supports("avx512vpopcntdq");
#else
  return false;
#endif
}

std::string isa_name() {
  switch (active_isa()) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "base";
  }
}

}  // namespace pyvqa
