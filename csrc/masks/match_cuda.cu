// Pairing: a thread for each row where rows do not depend on each other, else one block.
#include "common/launch.h"
#include "masks/masks_cuda.h"

namespace pyvqa::masks {
namespace {

constexpr int kBlock = 256;

__global__ void __launch_bounds__(kBlock) match_rows(Overlaps o, bool best, int64_t* matched) {
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < o.rows; row += stride) {
    matched[row] = best ? best_column(o, row, nullptr) : first_column(o, row);
  }
}

// Pairs in which each is the other's best of those still free are what the largest overlap first
// would take: pairs that are larger than all others of their row and column, rounds of them.
__global__ void __launch_bounds__(kBlock)
    match_greedily(Overlaps o, int64_t* matched, int64_t* row_for, int64_t* taken) {
  for (int64_t i = threadIdx.x; i < o.rows; i += kBlock) matched[i] = -1;
  for (int64_t j = threadIdx.x; j < o.columns; j += kBlock) taken[j] = -1;
  __syncthreads();
  int more = 1;
  while (more) {
    for (int64_t j = threadIdx.x; j < o.columns; j += kBlock) {
      row_for[j] = taken[j] >= 0 ? -1 : best_row(o, j, matched);
    }
    __syncthreads();
    int own = 0;
    for (int64_t i = threadIdx.x; i < o.rows; i += kBlock) {
      const int64_t column = matched[i] >= 0 ? -1 : best_column(o, i, taken);
      if (column < 0 || row_for[column] != i) continue;
      matched[i] = column;
      own = 1;
    }
    more = __syncthreads_or(own);
    for (int64_t i = threadIdx.x; i < o.rows; i += kBlock) {
      if (matched[i] >= 0) taken[matched[i]] = i;
    }
    __syncthreads();
  }
}

struct BlockTeam {
  int64_t index, size;
  double* distances;
  int64_t* columns;

  __device__ void wait() const { __syncthreads(); }
  __device__ Nearest nearest(const Nearest& own) const {
    distances[index] = own.distance;
    columns[index] = own.column;
    __syncthreads();
    for (int64_t half = kBlock / 2; half > 0; half /= 2) {
      if (index < half) {
        const Nearest best = nearer({distances[index], columns[index]},
                                    {distances[index + half], columns[index + half]});
        distances[index] = best.distance;
        columns[index] = best.column;
      }
      __syncthreads();
    }
    const Nearest best{distances[0], columns[0]};
    __syncthreads();
    return best;
  }
};

__global__ void __launch_bounds__(kBlock)
    match_optimally(Overlaps o, int64_t* memory, int64_t* matched) {
  __shared__ double distances[kBlock];
  __shared__ int64_t columns[kBlock];
  const BlockTeam team{threadIdx.x, kBlock, distances, columns};
  Assignment<BlockTeam>(o, team, memory).run(matched);
}

}  // namespace

cudaError_t launch_match(const Overlaps& overlaps, MatchRule rule, int64_t* memory,
                         int64_t* matched, cudaStream_t stream) {
  switch (rule) {
    case MatchRule::first:
    case MatchRule::best:
      return launch(match_rows, blocks_for(overlaps.rows, kBlock), kBlock, 0, stream, overlaps,
                    rule == MatchRule::best, matched);
    case MatchRule::greedy:
      return launch(match_greedily, 1, kBlock, 0, stream, overlaps, matched, memory,
                    memory + overlaps.columns);
    default: return launch(match_optimally, 1, kBlock, 0, stream, overlaps, memory, matched);
  }
}

}  // namespace pyvqa::masks
