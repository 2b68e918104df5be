// Which CPU instruction set the kernels use: chosen once, at first use.
#pragma once

#include <string>

namespace pyvqa {

enum class Isa { base, avx2, avx512 };

// The best set this CPU has and this build holds; the environment variable PYVQA_ISA (base, avx2,
// avx512) asks for a lower one.
Isa active_isa();
std::string isa_name();

// Whether the avx512 kernels may count the ones of eight words at once (AVX512-VPOPCNTDQ, which the
// avx512 set does not ask for).
bool has_avx512_vpopcntdq();

}  // namespace pyvqa

// PV_ISA_NAME(f) is f_base, f_avx2 or f_avx512 inside a file compiled once per instruction set.
// Such files keep everything else in an anonymous namespace and use no standard containers: an
// inline function with external linkage, emitted with AVX-512 code, could be the copy that the
// linker keeps for the whole library.
#define PV_JOIN_(a, b) a##_##b
#define PV_JOIN(a, b) PV_JOIN_(a, b)
#define PV_ISA_NAME(function) PV_JOIN(function, PV_ISA)

// PV_DISPATCH(f) is the function for the active instruction set.
#if defined(__x86_64__)
#define PV_DISPATCH(function)                                        \
  (::pyvqa::active_isa() == ::pyvqa::Isa::avx512 ? function##_avx512 \
   : ::pyvqa::active_isa() == ::pyvqa::Isa::avx2 ? function##_avx2   \
                                                 : function##_base)
#else
#define PV_DISPATCH(function) function##_base
#endif
