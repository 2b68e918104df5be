// One block gathers the gradient of a tile of pixels: region after region in the order of the rois,
// without atomics, so that the result is the same every time.
#include "common/launch.h"
#include "roi_align/cuda_access.h"
#include "roi_align/roi_align.h"
#include "roi_align/roi_align_cuda.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 256;
constexpr int kRows = kBlock / 32;  // of a tile, a warp each
constexpr int kBins = 32;           // of an axis that are looked at together
constexpr unsigned kMostChunks = 65535;

// The pixels that a region can reach; map = level * images + image, -1: none.
struct Reach {
  int64_t map;
  int32_t top, bottom, left, right;
};

template <class A>
__global__ void __launch_bounds__(kBlock) find_reach(RoiJob job, Reach* reach) {
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t k = int64_t{blockIdx.x} * kBlock + threadIdx.x; k < job.roi_count; k += stride) {
    Region<A> region;
    Reach found{-1, 0, 0, 0, 0};
    if (make_region(job, k, region) && reach_of_axis(region.y, found.top, found.bottom) &&
        reach_of_axis(region.x, found.left, found.right))
      found.map = region.level * job.images + region.image;
    reach[k] = found;
  }
}

// Weights of up to kBins bins for some pixels, and which of them there are.
template <class A, int kPixels>
struct SharedWeights {
  A weight[kPixels][kBins];
  unsigned present[kPixels];
};

// The samples of a bin that reach a pixel lie within one pixel of it, at the border of the map
// beyond that.
template <class A>
__device__ bool weight_of_bin(const Axis<A>& axis, int32_t bin, int32_t pixel, A& weight) {
  const A low = pixel == 0 ? A(-1) : static_cast<A>(pixel) - A(1);
  const A high =
      pixel == axis.pixels - 1 ? static_cast<A>(axis.pixels) : static_cast<A>(pixel) + A(1);
  bool touched = false;
  weight = 0;
  for_each_tap(axis, bin, low, high, [&](const Tap<A>& tap) {
    if (tap.low == pixel) weight += tap.low_weight;
    if (tap.high == pixel) weight += tap.high_weight;
    touched = touched || tap.low == pixel || tap.high == pixel;
  });
  weight *= A(1) / axis.per_bin;
  return touched;
}

template <class A, int kPixels>
__device__ void fill_weights(const Axis<A>& axis, int32_t first_pixel, int32_t first_bin,
                             SharedWeights<A, kPixels>& shared) {
  const int32_t bins = min(kBins, axis.bins - first_bin);
  for (int32_t item = threadIdx.x; item < kPixels * bins; item += kBlock) {
    const int32_t p = item / bins, b = item % bins;
    A weight = 0;
    const bool touched = first_pixel + p < axis.pixels &&
                         weight_of_bin(axis, first_bin + b, first_pixel + p, weight);
    shared.weight[p][b] = weight;
    if (touched) atomicOr(&shared.present[p], 1u << b);
  }
}

// The regions of `reach` from `first` on, kBlock at most, that meet a tile: their numbers in order.
__device__ int find_regions(const Reach* reach, int64_t first, int64_t count, const Reach& tile,
                            int64_t* found) {
  __shared__ int before[kRows + 1];
  const int64_t k = first + threadIdx.x;
  bool meets = false;
  if (k < count) {
    const Reach& region = reach[k];
    meets = region.map == tile.map && region.top <= tile.bottom && region.bottom >= tile.top &&
            region.left <= tile.right && region.right >= tile.left;
  }
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned votes = __ballot_sync(0xffffffffu, meets);
  if (lane == 0) before[warp + 1] = __popc(votes);
  if (threadIdx.x == 0) before[0] = 0;
  __syncthreads();
  int place = 0, total = 0;
  for (int w = 0; w < kRows; ++w) {
    total += before[w + 1];
    if (w < static_cast<int>(warp)) place += before[w + 1];
  }
  if (meets) found[place + __popc(votes & ((1u << lane) - 1u))] = k;
  __syncthreads();
  return total;
}

// Adds one region's share to a pixel: sums over columns of bins first, then over rows.
template <class T, int V, bool kTogether, class A>
__device__ void gather(const T* cells, const RoiCells& at, int64_t left, const A* row_weights,
                       unsigned rows, const A* column_weights, unsigned columns, A (&sum)[V]) {
  for (; rows != 0; rows &= rows - 1) {
    const int row = __ffs(static_cast<int>(rows)) - 1;
    const T* line = cells + row * at.row;
    A partial[V] = {};
    for (unsigned rest = columns; rest != 0; rest &= rest - 1) {
      const int column = __ffs(static_cast<int>(rest)) - 1;
      A values[V];
      Channels<T, V, kTogether>::read(line + column * at.column, at.channel, left, values);
      PV_UNROLL
      for (int v = 0; v < V; ++v) partial[v] += column_weights[column] * values[v];
    }
    PV_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += row_weights[row] * partial[v];
  }
}

// How a tile is shared out. Together: a lane has V neighbouring channels of kColumns pixels; else
// V channels of one pixel, and lanes are neighbouring pixels.
template <bool kTogether, int V>
struct Tile {
  static constexpr int kColumns = kTogether ? 8 : 32;
  static constexpr int kOwn = kTogether ? kColumns : 1;
  static constexpr int64_t kChunk = kTogether ? 32 * V : V;
};

template <class A, int kColumns>
struct SharedTile {
  SharedWeights<A, kRows> down;
  SharedWeights<A, kColumns> across;
  int64_t found[kBlock];
};

// A block's tile of a map, and the channels of this thread in it.
struct Place {
  Reach tile;
  int64_t image, channel, channels_left;
};

template <class Shape>
__device__ Place find_place(const RoiJob& job, int32_t level, int64_t item, int64_t chunk,
                            int64_t first_channel) {
  const RoiLevel& map = job.levels[level];
  const int64_t across = (int64_t{map.width} + Shape::kColumns - 1) / Shape::kColumns;
  const int64_t down = (int64_t{map.height} + kRows - 1) / kRows;
  const int64_t image = item / (across * down);
  const int32_t top = static_cast<int32_t>(item / across % down) * kRows;
  const int32_t left = static_cast<int32_t>(item % across) * Shape::kColumns;
  const int64_t channel = chunk * Shape::kChunk + first_channel;
  return {{level * job.images + image, top, top + kRows - 1, left, left + Shape::kColumns - 1},
          image,
          channel,
          job.channels - channel};
}

// Adds one region to the sums of the tile, up to kBins x kBins of its bins at a time.
template <class T, int V, bool kTogether, class A, class Shape = Tile<kTogether, V>>
__device__ void add_region(const RoiJob& job, int64_t k, const Place& place,
                           SharedTile<A, Shape::kColumns>& shared, A (&sum)[Shape::kOwn][V]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Region<A> region;
  make_region(job, k, region);
  const T* cells =
      static_cast<const T*>(job.cells.data) + k * job.cells.roi + place.channel * job.cells.channel;
  const int32_t blocks_wide = (job.bins_wide + kBins - 1) / kBins;
  const int32_t blocks = (job.bins_high + kBins - 1) / kBins * blocks_wide;
  for (int32_t b = 0; b < blocks; ++b) {
    const int32_t row = b / blocks_wide * kBins, column = b % blocks_wide * kBins;
    __syncthreads();
    if (threadIdx.x < kRows) shared.down.present[threadIdx.x] = 0;
    if (threadIdx.x < Shape::kColumns) shared.across.present[threadIdx.x] = 0;
    __syncthreads();
    fill_weights(region.y, place.tile.top, row, shared.down);
    fill_weights(region.x, place.tile.left, column, shared.across);
    __syncthreads();
    if (place.channels_left <= 0) continue;
    const T* from = cells + row * job.cells.row + column * job.cells.column;
    PV_UNROLL
    for (int p = 0; p < Shape::kOwn; ++p) {
      const int pixel = kTogether ? p : lane;
      gather<T, V, kTogether>(from, job.cells, place.channels_left, shared.down.weight[warp],
                              shared.down.present[warp], shared.across.weight[pixel],
                              shared.across.present[pixel], sum[p]);
    }
  }
}

template <class T, int V, bool kTogether, class A, class Shape = Tile<kTogether, V>>
__device__ void write_tile(const RoiLevel& map, const Place& place, bool add,
                           A (&sum)[Shape::kOwn][V]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (place.channels_left <= 0 || place.tile.top + warp >= map.height) return;
  PV_UNROLL
  for (int p = 0; p < Shape::kOwn; ++p) {
    const int32_t x = place.tile.left + (kTogether ? p : lane);
    if (x >= map.width) continue;
    T* to = static_cast<T*>(map.data) + place.image * map.image + place.channel * map.channel +
            (place.tile.top + warp) * map.row + x * map.column;
    if (add) {
      A old[V];
      Channels<T, V, kTogether>::read(to, map.channel, place.channels_left, old);
      PV_UNROLL
      for (int v = 0; v < V; ++v) sum[p][v] = old[v] + sum[p][v];
    }
    Channels<T, V, kTogether>::write(to, map.channel, place.channels_left, sum[p]);
  }
}

template <class T, int V, bool kTogether>
__global__ void __launch_bounds__(kBlock, 2)
    gather_tiles(RoiJob job, int32_t level, int64_t tiles, int64_t chunks, bool add,
                 const Reach* reach) {
  using A = typename Wide<T>::type;
  using Shape = Tile<kTogether, V>;
  __shared__ SharedTile<A, Shape::kColumns> shared;
  const int64_t first_channel = kTogether ? threadIdx.x % 32 * V : 0;
  for (int64_t item = blockIdx.x; item < tiles; item += gridDim.x) {
    for (int64_t chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
      const Place place = find_place<Shape>(job, level, item, chunk, first_channel);
      A sum[Shape::kOwn][V] = {};
      for (int64_t first = 0; first < job.roi_count; first += kBlock) {
        const int count = find_regions(reach, first, job.roi_count, place.tile, shared.found);
        for (int f = 0; f < count; ++f)
          add_region<T, V, kTogether>(job, shared.found[f], place, shared, sum);
        __syncthreads();
      }
      write_tile<T, V, kTogether>(job.levels[level], place, add, sum);
    }
  }
}

template <class T, int V, bool kTogether>
cudaError_t launch_level(const RoiJob& job, int32_t level, bool add, const Reach* reach,
                         cudaStream_t stream) {
  using Shape = Tile<kTogether, V>;
  const RoiLevel& map = job.levels[level];
  const int64_t tiles = (int64_t{map.width} + Shape::kColumns - 1) / Shape::kColumns *
                        ((int64_t{map.height} + kRows - 1) / kRows) * job.images;
  const int64_t chunks = (job.channels + Shape::kChunk - 1) / Shape::kChunk;
  if (tiles == 0 || chunks == 0) return cudaSuccess;
  const dim3 grid(blocks_for(tiles, 1),
                  chunks < kMostChunks ? static_cast<unsigned>(chunks) : kMostChunks);
  return launch(gather_tiles<T, V, kTogether>, grid, kBlock, 0, stream, job, level, tiles, chunks,
                add, reach);
}

template <class T>
bool takes_blocks(const RoiJob& job, int32_t level, int64_t block) {
  const RoiCells& cells = job.cells;
  const RoiLevel& map = job.levels[level];
  return job.channels % block == 0 &&
         takes_blocks(cells.data, cells.channel, cells.roi, cells.row, cells.column, block,
                      sizeof(T)) &&
         takes_blocks(map.data, map.channel, map.image, map.row, map.column, block, sizeof(T));
}

}  // namespace

int64_t roi_align_scratch_bytes(int64_t rois) { return rois * static_cast<int64_t>(sizeof(Reach)); }

cudaError_t launch_roi_align_backward(const void* roi_job, Storage storage, bool add, void* scratch,
                                      cudaStream_t stream) {
  const RoiJob& job = *static_cast<const RoiJob*>(roi_job);
  Reach* reach = static_cast<Reach*>(scratch);
  return for_storage(storage, [&]<class T>(const T*) {
    using A = typename Wide<T>::type;
    constexpr int kTogether = sizeof(T) == 8 ? 2 : 4;
    cudaError_t status =
        launch(find_reach<A>, blocks_for(job.roi_count, kBlock), kBlock, 0, stream, job, reach);
    for (int32_t l = 0; l < job.level_count && status == cudaSuccess; ++l) {
      if (takes_blocks<T>(job, l, kTogether)) {
        status = launch_level<T, kTogether, true>(job, l, add, reach, stream);
      } else {
        status = launch_level<T, 8, false>(job, l, add, reach, stream);
      }
    }
    return status;
  });
}

}  // namespace pyvqa
