// One thread runs one program: rows are independent, so there is nothing to reduce and nothing to
// order.
#include "execute/execute_cuda.h"

#include "common/launch.h"
#include "execute/execute.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 128;
constexpr int kCheckBlock = 256;
constexpr int kWideBlock = 64;
constexpr int64_t kWideThreads =
    4096;  // enough for the rare wide scene, and bounds its scratch memory

// What the launch finds out about a table, kept in the words behind the checked one.
enum Note : int { many_registers = 0, end_id };

// Copies the table, instructions that could lead outside the tables replaced by failing ones, and
// notes how many registers it needs and which id ends a program, if there is only one.
__global__ void __launch_bounds__(kCheckBlock)
    check_table(const int64_t* table, int64_t vocabulary, int64_t* checked) {
  __shared__ int many, end_count, last_end;
  if (threadIdx.x == 0) many = end_count = last_end = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < vocabulary; i += kCheckBlock) {
    const int64_t word = checked_instruction(table[i]);
    checked[i] = word;
    if (needs_many_registers(word)) atomicMax(&many, 1);
    if (ends(static_cast<uint64_t>(word))) {
      atomicAdd(&end_count, 1);
      atomicMax(&last_end, static_cast<int>(i));
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    checked[vocabulary + Note::many_registers] = many;
    checked[vocabulary + Note::end_id] = end_count == 1 ? last_end : -1;
  }
}

// Two registers where they are enough: sixteen would be cleared and carried in local memory.
template <int W, class Id>
__global__ void __launch_bounds__(kBlock) execute_rows(Job job, Results out) {
  const bool two = job.table[job.vocabulary + Note::many_registers] == 0;
  job.end_id = job.table[job.vocabulary + Note::end_id];
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < job.rows; row += stride) {
    if (two) {
      run_row<W, 2, Id>(job, out, row);
    } else {
      run_row<W, kRegisters, Id>(job, out, row);
    }
  }
}

// Scenes of more than 128 objects. Sixteen registers would be kilobytes of local memory, which a
// device sets aside for every thread it can hold: these threads are few and keep their registers in
// scratch memory.
template <int W>
__global__ void __launch_bounds__(kWideBlock)
    execute_wide(Job job, Results out, int id_bytes, Value<W>* scratch) {
  job.end_id = job.table[job.vocabulary + Note::end_id];
  const int64_t stride = int64_t{gridDim.x} * kWideBlock;
  const int64_t thread = int64_t{blockIdx.x} * kWideBlock + threadIdx.x;
  Value<W>* saved = scratch + thread * kRegisters;
  for (int64_t row = thread; row < job.rows; row += stride) {
    for (int r = 0; r < kRegisters; ++r) saved[r] = Value<W>{};
    run_ids<W, kRegisters>(any_ids(job, row, id_bytes), job, out, row, saved);
  }
}

template <class Id>
__global__ void __launch_bounds__(kBlock) verify_rows(Job job, int8_t* status) {
  job.end_id = job.table[job.vocabulary + Note::end_id];
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < job.rows; row += stride)
    status[row] = verify_row<Id>(job, row);
}

// Calls `f` with a null pointer of the id's type.
template <class F>
cudaError_t for_id_type(int id_bytes, F f) {
  switch (id_bytes) {
    case 1: return f(static_cast<const uint8_t*>(nullptr));
    case 2: return f(static_cast<const int16_t*>(nullptr));
    case 4: return f(static_cast<const int32_t*>(nullptr));
    default: return f(static_cast<const int64_t*>(nullptr));
  }
}

template <int W>
cudaError_t launch_rows(const Job& job, const Results& out, int id_bytes, cudaStream_t stream) {
  return for_id_type(id_bytes, [&]<class Id>(const Id*) {
    return launch(execute_rows<W, Id>, blocks_for(job.rows, kBlock), kBlock, 0, stream, job, out);
  });
}

int64_t wide_threads(int64_t rows) {
  const int64_t wanted = int64_t{blocks_for(rows, kWideBlock)} * kWideBlock;
  return wanted < kWideThreads ? wanted : kWideThreads;
}

template <int W>
cudaError_t launch_wide(const Job& job, const Results& out, int id_bytes, int64_t* scratch,
                        cudaStream_t stream) {
  static_assert(sizeof(Value<W>) == (1 + 2 * W) * sizeof(int64_t));
  Value<W>* registers =
      reinterpret_cast<Value<W>*>(scratch + execute_scratch_words(job.vocabulary, 0, 1));
  return launch(execute_wide<W>, static_cast<unsigned>(wide_threads(job.rows) / kWideBlock),
                kWideBlock, 0, stream, job, out, id_bytes, registers);
}

// The job with its table replaced by the checked one in `scratch`.
cudaError_t with_checked_table(Job& job, int64_t* scratch, cudaStream_t stream) {
  const cudaError_t status =
      launch(check_table, 1, kCheckBlock, 0, stream, job.table, job.vocabulary, scratch);
  job.table = scratch;
  return status;
}

}  // namespace

int64_t execute_scratch_words(int64_t vocabulary, int64_t rows, int64_t words_per_set) {
  const int64_t table = vocabulary + 2;
  if (words_per_set <= 2) return table;
  return table + wide_threads(rows) * kRegisters * (1 + 2 * words_per_set);
}

cudaError_t launch_execute(const ExecuteCall& call, int64_t* scratch, cudaStream_t stream) {
  Job job = *static_cast<const Job*>(call.job);
  const Results& out = *static_cast<const Results*>(call.results);
  if (job.rows == 0) return cudaSuccess;
  const cudaError_t status = with_checked_table(job, scratch, stream);
  if (status != cudaSuccess) return status;
  switch (call.words_per_set) {
    case 1: return launch_rows<1>(job, out, call.id_bytes, stream);
    case 2: return launch_rows<2>(job, out, call.id_bytes, stream);
    case 16: return launch_wide<16>(job, out, call.id_bytes, scratch, stream);
    default: return launch_wide<64>(job, out, call.id_bytes, scratch, stream);
  }
}

cudaError_t launch_verify(const ExecuteCall& call, int8_t* status, int64_t* scratch,
                          cudaStream_t stream) {
  Job job = *static_cast<const Job*>(call.job);
  if (job.rows == 0) return cudaSuccess;
  const cudaError_t checked = with_checked_table(job, scratch, stream);
  if (checked != cudaSuccess) return checked;
  return for_id_type(call.id_bytes, [&]<class Id>(const Id*) {
    return launch(verify_rows<Id>, blocks_for(job.rows, kBlock), kBlock, 0, stream, job, status);
  });
}

}  // namespace pyvqa
