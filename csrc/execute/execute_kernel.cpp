// Compiled once per instruction set.
#include "execute/execute_kernel.h"

#include "common/isa.h"
#include "execute/execute.h"
#include "execute/lockstep.h"

namespace pyvqa {
namespace {

template <int W, int R, class Id>
void rows(const ExecuteCall& call, int64_t begin, int64_t end) {
  const Job& job = *static_cast<const Job*>(call.job);
  const Results& results = *static_cast<const Results*>(call.results);
  for (int64_t row = begin; row < end; ++row) run_row<W, R, Id>(job, results, row);
}

template <int W, int R>
void rows_of_ids(const ExecuteCall& call, int64_t begin, int64_t end) {
  switch (call.id_bytes) {
    case 1: return rows<W, R, uint8_t>(call, begin, end);
    case 2: return rows<W, R, int16_t>(call, begin, end);
    case 4: return rows<W, R, int32_t>(call, begin, end);
    default: return rows<W, R, int64_t>(call, begin, end);
  }
}

// Rows of the two-register machine: side by side where the job allows it.
template <int W, class Id>
void lockstep_rows(const ExecuteCall& call, int64_t begin, int64_t end) {
  const Job& job = *static_cast<const Job*>(call.job);
  const Results& results = *static_cast<const Results*>(call.results);
  if (!lanes_suit(job, results)) return rows<W, 2, Id>(call, begin, end);
  const MicroTable table(job, W);
  if (!table.complete) return rows<W, 2, Id>(call, begin, end);
  Lockstep<W, Id>(job, results, table).run(begin, end);
}

template <int W>
void lockstep_of_ids(const ExecuteCall& call, int64_t begin, int64_t end) {
  switch (call.id_bytes) {
    case 1: return lockstep_rows<W, uint8_t>(call, begin, end);
    case 2: return lockstep_rows<W, int16_t>(call, begin, end);
    case 4: return lockstep_rows<W, int32_t>(call, begin, end);
    default: return lockstep_rows<W, int64_t>(call, begin, end);
  }
}

template <int W>
void rows_of_width(const ExecuteCall& call, int64_t begin, int64_t end) {
  if (call.registers == 2) return lockstep_of_ids<W>(call, begin, end);
  return rows_of_ids<W, kRegisters>(call, begin, end);
}

template <int W>
void wide_rows(const ExecuteCall& call, int64_t begin, int64_t end) {
  const Job& job = *static_cast<const Job*>(call.job);
  const Results& results = *static_cast<const Results*>(call.results);
  for (int64_t row = begin; row < end; ++row) {
    Value<W> saved[kRegisters];
    run_ids<W, kRegisters>(any_ids(job, row, call.id_bytes), job, results, row, saved);
  }
}

template <class Id>
void verify_rows(const ExecuteCall& call, int8_t* status, int64_t begin, int64_t end) {
  const Job& job = *static_cast<const Job*>(call.job);
  for (int64_t row = begin; row < end; ++row) status[row] = verify_row<Id>(job, row);
}

}  // namespace

void PV_ISA_NAME(execute_rows)(const ExecuteCall& call, int64_t begin, int64_t end) {
  // Scenes of more than 128 objects are rare: there the size of an id is looked at as it comes.
  switch (call.words_per_set) {
    case 1: return rows_of_width<1>(call, begin, end);
    case 2: return rows_of_width<2>(call, begin, end);
    case 16: return wide_rows<16>(call, begin, end);
    default: return wide_rows<64>(call, begin, end);
  }
}

void PV_ISA_NAME(verify_rows)(const ExecuteCall& call, int8_t* status, int64_t begin, int64_t end) {
  switch (call.id_bytes) {
    case 1: return verify_rows<uint8_t>(call, status, begin, end);
    case 2: return verify_rows<int16_t>(call, status, begin, end);
    case 4: return verify_rows<int32_t>(call, status, begin, end);
    default: return verify_rows<int64_t>(call, status, begin, end);
  }
}

}  // namespace pyvqa
