// The CPU kernel's face: rows [begin, end) of a job, one function per instruction set.
#pragma once

#include <cstdint>

namespace pyvqa {

struct ExecuteCall {
  const void* job;      // Job
  const void* results;  // Results
  int words_per_set;    // 1, 2, 16 or 64
  int registers;        // 2 or 16
  int id_bytes;         // 1, 2, 4 or 8 (one byte is unsigned)
};

#define PV_DECLARE(isa)                                                         \
  void execute_rows_##isa(const ExecuteCall& call, int64_t begin, int64_t end); \
  void verify_rows_##isa(const ExecuteCall& call, int8_t* status, int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
