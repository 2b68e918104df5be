// One block pools one region: its threads first find the pixels and weights of every bin, once for
// all channels, then share out cells and channels.
#include "roi_align/roi_align_cuda.h"

#include "common/launch.h"
#include "roi_align/cuda_access.h"
#include "roi_align/roi_align.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 256;
constexpr int kEntries = 1024;   // of shared memory for each axis
constexpr int64_t kChunk = 128;  // channels of a block
constexpr unsigned kMostChunks = 65535;

// The pixels of some bins of one axis; every bin has room for `room` of them.
template <class A>
struct SharedAxis {
  Entry<A> entries[kEntries];
  int32_t count[kEntries];
};

// A bin touches no more pixels than it has samples twice, or than it is long.
template <class A>
__device__ int32_t room_for_bin(const Axis<A>& axis) {
  const A length = axis.bin < A(0) ? -axis.bin : axis.bin;
  const int64_t by_samples = 2 * int64_t{axis.samples};
  if (length >= static_cast<A>(kEntries)) {
    return by_samples < kEntries + 1 ? static_cast<int32_t>(by_samples) : kEntries + 1;
  }
  const int32_t by_length = static_cast<int32_t>(length) + 6;
  return by_samples < by_length ? static_cast<int32_t>(by_samples) : by_length;
}

template <class A>
__device__ void add_entry(Entry<A>* entries, int32_t& count, int32_t room, int32_t pixel,
                          A weight) {
  for (int32_t e = count - 1; e >= 0 && e >= count - 3; --e) {
    if (entries[e].index != pixel) continue;
    entries[e].weight += weight;
    return;
  }
  if (count < room) entries[count++] = {weight, pixel};
}

// Bins [first, first + bins) of an axis, one thread a bin.
template <class A>
__device__ void fill_axis(const Axis<A>& axis, int32_t first, int32_t bins, int32_t room,
                          SharedAxis<A>& shared) {
  for (int32_t b = threadIdx.x; b < bins; b += kBlock) {
    Entry<A>* entries = shared.entries + b * room;
    int32_t count = 0;
    for_each_tap(axis, first + b, [&](const Tap<A>& tap) {
      add_entry(entries, count, room, tap.low, tap.low_weight);
      add_entry(entries, count, room, tap.high, tap.high_weight);
    });
    for (int32_t e = 0; e < count; ++e) entries[e].weight *= A(1) / axis.per_bin;
    shared.count[b] = count;
  }
}

// What a block works on.
template <class T>
struct Pool {
  const T* map;
  T* cells;
  int64_t map_channel, map_row, map_column, cell_channel, cell_row, cell_column;
  int64_t channels;  // of this chunk
};

template <class T, int V, bool kTogether, class A>
__device__ void pool_cell(const Pool<T>& pool, int64_t channel, const Entry<A>* rows,
                          int32_t row_count, const Entry<A>* columns, int32_t column_count, T* to) {
  const int64_t left = pool.channels - channel;
  const T* from = pool.map + channel * pool.map_channel;
  A sum[V] = {};
  for (int32_t x = 0; x < column_count; ++x) {
    const T* line = from + columns[x].index * pool.map_column;
    A partial[V] = {};
    for (int32_t y = 0; y < row_count; ++y) {
      A values[V];
      Channels<T, V, kTogether>::read(line + rows[y].index * pool.map_row, pool.map_channel, left,
                                      values);
      PV_UNROLL
      for (int v = 0; v < V; ++v) partial[v] += rows[y].weight * values[v];
    }
    PV_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += columns[x].weight * partial[v];
  }
  Channels<T, V, kTogether>::write(to, pool.cell_channel, left, sum);
}

// The same for a bin of more pixels than fit into shared memory.
template <class T, class A>
__device__ void pool_large_cell(const Pool<T>& pool, int64_t channel, const Region<A>& region,
                                int32_t row, int32_t column, T* to) {
  const T* from = pool.map + channel * pool.map_channel;
  A sum = 0;
  for_each_tap(region.x, column, [&](const Tap<A>& across) {
    for_each_tap(region.y, row, [&](const Tap<A>& down) {
      const T* low = from + down.low * pool.map_row;
      const T* high = from + down.high * pool.map_row;
      const int64_t left = across.low * pool.map_column, right = across.high * pool.map_column;
      sum += across.low_weight *
                 (down.low_weight * widen(low[left]) + down.high_weight * widen(high[left])) +
             across.high_weight *
                 (down.low_weight * widen(low[right]) + down.high_weight * widen(high[right]));
    });
  });
  narrow(sum / region.y.per_bin / region.x.per_bin, *to);
}

template <class T, class A>
__device__ void pool_large(const RoiJob& job, const Pool<T>& pool, const Region<A>& region) {
  const int64_t cells = int64_t{job.bins_high} * job.bins_wide;
  for (int64_t item = threadIdx.x; item < cells * pool.channels; item += kBlock) {
    const int64_t channel = item / cells, cell = item % cells;
    const int32_t row = static_cast<int32_t>(cell / job.bins_wide),
                  column = static_cast<int32_t>(cell % job.bins_wide);
    pool_large_cell(
        pool, channel, region, row, column,
        pool.cells + channel * pool.cell_channel + row * pool.cell_row + column * pool.cell_column);
  }
}

// Cells of bins [top, top + high) x [left, left + wide), whose pixels are in shared memory. Next
// to each other work threads on neighbouring channels where these lie together, else on
// neighbouring cells.
template <class T, int V, bool kTogether, class A>
__device__ void pool_tile(const Pool<T>& pool, int32_t top, int32_t left, int32_t high,
                          int32_t wide, int32_t row_room, int32_t column_room,
                          const SharedAxis<A>& rows, const SharedAxis<A>& columns) {
  const int32_t groups = static_cast<int32_t>((pool.channels + V - 1) / V);
  const int32_t cells = high * wide;
  const int64_t items = int64_t{cells} * groups;
  for (int64_t item = threadIdx.x; item < items; item += kBlock) {
    const int32_t group = static_cast<int32_t>(kTogether ? item % groups : item / cells);
    const int32_t cell = static_cast<int32_t>(kTogether ? item / groups : item % cells);
    const int32_t row = cell / wide, column = cell % wide;
    const int64_t channel = int64_t{group} * V;
    pool_cell<T, V, kTogether>(pool, channel, rows.entries + row * row_room, rows.count[row],
                               columns.entries + column * column_room, columns.count[column],
                               pool.cells + channel * pool.cell_channel +
                                   (top + row) * pool.cell_row +
                                   (left + column) * pool.cell_column);
  }
}

template <class A>
__device__ bool find_region(const RoiJob& job, int64_t k, Region<A>& region) {
  if (make_region(job, k, region)) return true;
  region = {};
  region.y.per_bin = region.x.per_bin = A(1);
  return false;
}

template <class T>
__device__ Pool<T> make_pool(const RoiJob& job, int64_t k, int64_t image, int32_t level,
                             int64_t channel) {
  const RoiLevel& map = job.levels[level];
  const int64_t left = job.channels - channel;
  return {static_cast<const T*>(map.data) + image * map.image + channel * map.channel,
          static_cast<T*>(job.cells.data) + k * job.cells.roi + channel * job.cells.channel,
          map.channel,
          map.row,
          map.column,
          job.cells.channel,
          job.cells.row,
          job.cells.column,
          left < kChunk ? left : kChunk};
}

template <class T, int V, bool kTogether>
__global__ void __launch_bounds__(kBlock, 2) pool_regions(RoiJob job) {
  using A = typename Wide<T>::type;
  __shared__ SharedAxis<A> rows, columns;
  const int64_t chunks = (job.channels + kChunk - 1) / kChunk;
  for (int64_t k = blockIdx.x; k < job.roi_count; k += gridDim.x) {
    Region<A> region;
    find_region(job, k, region);
    const int32_t row_room = room_for_bin(region.y), column_room = room_for_bin(region.x);
    const int32_t row_step = row_room > 0 ? kEntries / row_room : kEntries;
    const int32_t column_step = column_room > 0 ? kEntries / column_room : kEntries;
    for (int64_t chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
      const Pool<T> pool = make_pool<T>(job, k, region.image, region.level, chunk * kChunk);
      if (row_step == 0 || column_step == 0) {
        pool_large(job, pool, region);
        continue;
      }
      for (int32_t top = 0; top < job.bins_high; top += row_step) {
        const int32_t high = min(row_step, job.bins_high - top);
        for (int32_t left = 0; left < job.bins_wide; left += column_step) {
          const int32_t wide = min(column_step, job.bins_wide - left);
          __syncthreads();
          fill_axis(region.y, top, high, row_room, rows);
          fill_axis(region.x, left, wide, column_room, columns);
          __syncthreads();
          pool_tile<T, V, kTogether>(pool, top, left, high, wide, row_room, column_room, rows,
                                     columns);
        }
      }
    }
  }
}

template <class T>
bool takes_blocks(const RoiJob& job, int64_t block) {
  const RoiCells& cells = job.cells;
  bool all = job.channels % block == 0 && takes_blocks(cells.data, cells.channel, cells.roi,
                                                       cells.row, cells.column, block, sizeof(T));
  for (int32_t l = 0; l < job.level_count; ++l) {
    const RoiLevel& map = job.levels[l];
    all = all &&
          takes_blocks(map.data, map.channel, map.image, map.row, map.column, block, sizeof(T));
  }
  return all;
}

}  // namespace

cudaError_t launch_roi_align(const void* roi_job, Storage storage, cudaStream_t stream) {
  const RoiJob& job = *static_cast<const RoiJob*>(roi_job);
  const int64_t chunks = (job.channels + kChunk - 1) / kChunk;
  const dim3 grid(blocks_for(job.roi_count, 1),
                  chunks < kMostChunks ? static_cast<unsigned>(chunks) : kMostChunks);
  return for_storage(storage, [&]<class T>(const T*) {
    constexpr int kTogether = static_cast<int>(16 / sizeof(T));  // 128 bits
    if (takes_blocks<T>(job, kTogether))
      return launch(pool_regions<T, kTogether, true>, grid, kBlock, 0, stream, job);
    return launch(pool_regions<T, 4, false>, grid, kBlock, 0, stream, job);
  });
}

}  // namespace pyvqa
