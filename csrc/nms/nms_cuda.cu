// Suppression on the device, in blocks of places: a block's boxes against all that are kept so far,
// then against each other as a bit matrix, then one thread block decides them in order and adds the
// kept ones to the list. The matrix has a fixed size, however many boxes there are, and no result
// is needed on the host.
#include "nms/nms_cuda.h"

#include "common/launch.h"
#include "nms/nms.h"

namespace pyvqa {
namespace {

constexpr int kWords = 64;            // 64-bit words of a row of the bit matrix
constexpr int kPlaces = kWords * 64;  // places of a block
constexpr int kSpread = 256;          // threads of kernels that treat every box alike
constexpr int kTile = 128;            // threads, candidates and kept boxes of a tile
constexpr int kMostChunks = 64;       // blocks that share the kept list
constexpr int kTilesOfChunk = 8;
constexpr int kDecide = 256;            // threads that decide a block of places
constexpr int kHelpers = kDecide / 64;  // of them, for each of 64 candidates
constexpr int kCollect = 1024;
constexpr int kRun = 8;  // flags that a thread collects at a time

template <class T>
struct Work {
  Rule<T> rule;
  int64_t count;
  const int64_t* groups;  // null without groups
  T* rows;                // boxes by place, five rows
  T* kept_rows;           // kept boxes, five rows
  int32_t* kept_place;
  int32_t* slot;          // by place: where its flag is
  int64_t* kept;          // how many
  uint64_t* suppressors;  // [kPlaces, kWords]: the earlier places of the block that suppress one
  uint8_t* removed;       // by place
  uint8_t* stays;         // by slot

  PV_HD Box<T> box(const T* from, int64_t k) const {
    return {from[k], from[k + count], from[k + 2 * count], from[k + 3 * count],
            from[k + 4 * count]};
  }
  PV_HD void set(T* to, int64_t k, const Box<T>& box) const {
    to[k] = box.x1;
    to[k + count] = box.y1;
    to[k + 2 * count] = box.x2;
    to[k + 3 * count] = box.y2;
    to[k + 4 * count] = box.area;
  }
};

template <class T, class Key>
__global__ void __launch_bounds__(kSpread) nms_keys(const T* scores, int64_t count, Key* keys) {
  constexpr Key kLowest = Key{1} << (8 * sizeof(Key) - 1);  // torch sorts signed numbers
  const int64_t stride = int64_t{gridDim.x} * kSpread;
  for (int64_t i = int64_t{blockIdx.x} * kSpread + threadIdx.x; i < count; i += stride)
    keys[i] = rank_key(scores[i]) ^ kLowest;
}

__global__ void __launch_bounds__(kSpread)
    nms_gather(const int64_t* from, const int64_t* order, int64_t count, int64_t* to) {
  const int64_t stride = int64_t{gridDim.x} * kSpread;
  for (int64_t i = int64_t{blockIdx.x} * kSpread + threadIdx.x; i < count; i += stride)
    to[i] = from[order[i]];
}

template <class T>
__global__ void __launch_bounds__(kSpread)
    nms_prepare(Work<T> work, const T* boxes, const int64_t* order, const int64_t* ranks,
                bool input_order) {
  const int64_t stride = int64_t{gridDim.x} * kSpread;
  for (int64_t p = int64_t{blockIdx.x} * kSpread + threadIdx.x; p < work.count; p += stride) {
    const int64_t rank = ranks ? ranks[p] : p, index = order[rank];
    work.set(work.rows, p, read_box(boxes + 4 * index, work.rule.plus));
    work.slot[p] = static_cast<int32_t>(input_order ? index : rank);
    work.removed[p] = 0;
    work.stays[p] = 0;
    if (p == 0) *work.kept = 0;
  }
}

// Several blocks may find the same.
template <class T>
__device__ __forceinline__ void store_removed(const Work<T>& work, int64_t place, bool inside,
                                              bool gone) {
  if (inside && gone) work.removed[place] = 1;
}

// The places from `begin` on against the list of kept boxes, of which each blockIdx.y takes a part.
template <class T>
__global__ void __launch_bounds__(kTile)
    nms_against_kept(Work<T> work, int64_t begin, int64_t end) {
  __shared__ Box<T> kept[kTile];
  __shared__ int64_t group[kTile];
  const int64_t total = *work.kept;
  const int64_t first = begin + int64_t{blockIdx.x} * kTile, place = first + threadIdx.x;
  const bool inside = place < end;
  const Box<T> mine = work.box(work.rows, inside ? place : first);
  const int64_t my_group = work.groups ? work.groups[inside ? place : first] : 0;
  const int64_t first_group = work.groups ? work.groups[first] : 0;
  bool gone = !inside || work.removed[place] != 0;
  constexpr int64_t kChunk = int64_t{kTile} * kTilesOfChunk;
  for (int64_t chunk = blockIdx.y * kChunk; chunk < total; chunk += gridDim.y * kChunk) {
    for (int64_t tile = chunk; tile < chunk + kChunk && tile < total; tile += kTile) {
      const int many = static_cast<int>(min(total - tile, int64_t{kTile}));
      // Groups ascend along the list: the whole tile may lie before the candidates' first one.
      if (work.groups && work.groups[work.kept_place[tile + many - 1]] < first_group) continue;
      if (__syncthreads_and(gone)) return store_removed(work, place, inside, gone);
      const int64_t k = tile + threadIdx.x;
      if (k < total) {
        kept[threadIdx.x] = work.box(work.kept_rows, k);
        group[threadIdx.x] = work.groups ? work.groups[work.kept_place[k]] : 0;
      }
      __syncthreads();
      for (int i = 0; i < many && !gone; ++i)
        gone = group[i] == my_group && suppresses(kept[i], mine, work.rule);
    }
  }
  store_removed(work, place, inside, gone);
}

// Word blockIdx.x of the rows of 64 places: which of 64 earlier ones suppress them.
template <class T>
__global__ void __launch_bounds__(64) nms_among_block(Work<T> work, int64_t begin, int64_t end) {
  __shared__ Box<T> earlier[64];
  __shared__ int64_t group[64];
  const int word = static_cast<int>(blockIdx.x), row_word = static_cast<int>(blockIdx.y);
  if (word > row_word) return;
  const int64_t first = begin + int64_t{word} * 64,
                place = begin + int64_t{row_word} * 64 + threadIdx.x;
  // All 64 are inside: `word` is complete, or it is the last one and only those before it count.
  const int64_t loaded = min(first + threadIdx.x, end - 1);
  earlier[threadIdx.x] = work.box(work.rows, loaded);
  group[threadIdx.x] = work.groups ? work.groups[loaded] : 0;
  __syncthreads();
  if (place >= end) return;
  uint64_t bits = 0;
  if (work.removed[place] == 0) {
    const Box<T> mine = work.box(work.rows, place);
    const int64_t my_group = work.groups ? work.groups[place] : 0;
    const int many = static_cast<int>(min(place - first, int64_t{64}));
    for (int i = 0; i < many; ++i)
      if (group[i] == my_group && suppresses(earlier[i], mine, work.rule)) bits |= uint64_t{1} << i;
  }
  work.suppressors[(place - begin) * kWords + word] = bits;
}

// 64 candidates by one warp, each lane two of them. `columns` are the candidates that suppress one;
// every round settles at least the first that is open, and mostly nearly all.
__device__ __forceinline__ uint64_t settle(const uint64_t* columns, uint64_t gone, unsigned lane) {
  const uint64_t low = columns[lane], high = columns[lane + 32];
  const uint64_t low_bit = uint64_t{1} << lane, high_bit = low_bit << 32;
  uint64_t kept = 0;
  while ((kept | gone) != ~uint64_t{0}) {
    const uint64_t settled = kept | gone;
    const bool low_open = (settled & low_bit) == 0, high_open = (settled & high_bit) == 0;
    const bool low_goes = low_open && (low & kept) != 0;
    const bool high_goes = high_open && (high & kept) != 0;
    const bool low_stays = low_open && (low & ~gone) == 0;
    const bool high_stays = high_open && (high & ~gone) == 0;
    const unsigned all = 0xffffffffu;
    const uint64_t going = __ballot_sync(all, low_goes) | uint64_t{__ballot_sync(all, high_goes)}
                                                              << 32;
    const uint64_t staying =
        __ballot_sync(all, low_stays) | uint64_t{__ballot_sync(all, high_stays)} << 32;
    gone |= going;
    kept |= staying;
  }
  return kept;
}

// The shared memory of the block that decides.
struct Decided {
  uint64_t kept[kWords];       // places that stay
  uint64_t columns[64];        // of the 64 candidates at hand: who of them suppresses each
  int32_t before[kWords + 1];  // how many stay in earlier words
  uint8_t gone[64];
};

// Row `row` of words: thread t looks after candidate t / kHelpers and every kHelpers-th word.
template <class T>
__device__ __forceinline__ void read_row(const Work<T>& work, int row, int64_t count,
                                         uint64_t (&words)[kWords / kHelpers]) {
  const int64_t candidate = int64_t{row} * 64 + threadIdx.x / kHelpers;
  const uint64_t* from = work.suppressors + candidate * kWords;
  for (int i = 0; i < kWords / kHelpers; ++i) {
    const int word = i * kHelpers + static_cast<int>(threadIdx.x % kHelpers);
    words[i] = word <= row && candidate < count ? from[word] : 0;
  }
}

template <class T>
__device__ __forceinline__ void append(const Work<T>& work, const Decided& decided, int64_t begin,
                                       int64_t count) {
  const int64_t base = *work.kept;
  for (int64_t i = threadIdx.x; i < count; i += kDecide) {
    const int word = static_cast<int>(i / 64);
    const uint64_t bit = uint64_t{1} << (i % 64), kept = decided.kept[word];
    if ((kept & bit) == 0) continue;
    const int64_t at =
        base + decided.before[word] + __popcll(static_cast<unsigned long long>(kept & (bit - 1)));
    work.set(work.kept_rows, at, work.box(work.rows, begin + i));
    work.kept_place[at] = static_cast<int32_t>(begin + i);
    work.stays[work.slot[begin + i]] = 1;
  }
  __syncthreads();
  if (threadIdx.x == 0) *work.kept = base + decided.before[kWords];
}

template <class T>
__global__ void __launch_bounds__(kDecide) nms_decide(Work<T> work, int64_t begin, int64_t end) {
  __shared__ Decided decided;
  const int64_t count = end - begin;
  const int rows = static_cast<int>((count + 63) / 64);
  const unsigned lane = threadIdx.x % 32;
  const int helped = static_cast<int>(threadIdx.x / kHelpers);
  const int helper = static_cast<int>(threadIdx.x % kHelpers);
  if (threadIdx.x < kWords) decided.kept[threadIdx.x] = 0;
  uint64_t words[kWords / kHelpers], next[kWords / kHelpers];
  read_row(work, 0, count, next);
  __syncthreads();
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < kWords / kHelpers; ++i) words[i] = next[i];
    if (row + 1 < rows) read_row(work, row + 1, count, next);
    bool gone = false;
    for (int i = 0; i < kWords / kHelpers; ++i) {
      const int word = i * kHelpers + helper;
      gone = gone || (words[i] & decided.kept[word]) != 0;  // 0 from this row's own word on
      if (word == row) decided.columns[helped] = words[i];
    }
    const unsigned votes = __ballot_sync(0xffffffffu, gone) >> (lane - helper);
    if (helper == 0) {
      const int64_t place = int64_t{row} * 64 + helped;
      const bool out = place >= count || work.removed[begin + place] != 0;
      decided.gone[helped] = out || (votes & ((1u << kHelpers) - 1)) != 0;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      const uint64_t low = __ballot_sync(0xffffffffu, decided.gone[lane]);
      const uint64_t high = __ballot_sync(0xffffffffu, decided.gone[lane + 32]);
      const uint64_t kept = settle(decided.columns, low | high << 32, lane);
      if (lane == 0) decided.kept[row] = kept;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    decided.before[0] = 0;
    for (int word = 0; word < kWords; ++word)
      decided.before[word + 1] =
          decided.before[word] + __popcll(static_cast<unsigned long long>(decided.kept[word]));
  }
  __syncthreads();
  append(work, decided, begin, count);
}

// The slots whose flag is set, in order, as box indices; then -1.
__global__ void __launch_bounds__(kCollect)
    nms_collect(const uint8_t* stays, const int64_t* order, int64_t count, int64_t* keep,
                int64_t* kept) {
  __shared__ int warp_sum[kCollect / 32];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t base = 0;
  for (int64_t first = 0; first < count; first += int64_t{kCollect} * kRun) {
    const int64_t begin = first + int64_t{threadIdx.x} * kRun;
    const int64_t end = min(begin + kRun, count);
    int mine = 0;
    for (int64_t i = begin; i < end; ++i) mine += stays[i];
    int upto = mine;  // of this lane and those before it
    for (unsigned step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, upto, step);
      if (lane >= step) upto += other;
    }
    if (lane == 31) warp_sum[warp] = upto;
    __syncthreads();
    int before = 0, all = 0;
    for (unsigned w = 0; w < kCollect / 32; ++w) {
      if (w < warp) before += warp_sum[w];
      all += warp_sum[w];
    }
    int64_t at = base + before + upto - mine;
    for (int64_t i = begin; i < end; ++i)
      if (stays[i]) keep[at++] = order ? order[i] : i;
    base += all;
    __syncthreads();
  }
  for (int64_t k = base + threadIdx.x; k < count; k += kCollect) keep[k] = -1;
  if (threadIdx.x == 0) *kept = base;
}

// Parts of the scratch memory, one after the other, each from a multiple of 16 bytes on; without
// memory it only adds up their sizes.
class Parts {
 public:
  explicit Parts(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <class P>
  P* take(int64_t count) {
    P* const part = memory_ ? reinterpret_cast<P*>(memory_ + used_) : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(P)) + 15) / 16 * 16;
    return part;
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

template <class T>
Work<T> lay_out(Parts& parts, int64_t count) {
  Work<T> work{};
  work.count = count;
  work.suppressors = parts.take<uint64_t>(smaller<int64_t>(count, kPlaces) * kWords);
  work.rows = parts.take<T>(5 * count);
  work.kept_rows = parts.take<T>(5 * count);
  work.kept_place = parts.take<int32_t>(count);
  work.slot = parts.take<int32_t>(count);
  work.kept = parts.take<int64_t>(1);
  work.removed = parts.take<uint8_t>(count);
  work.stays = parts.take<uint8_t>(count);
  return work;
}

template <class T>
cudaError_t launch_block(const Work<T>& work, int64_t begin, cudaStream_t stream) {
  const int64_t end = smaller(begin + kPlaces, work.count);
  const unsigned words = static_cast<unsigned>((end - begin + 63) / 64);
  if (begin > 0) {
    const int64_t chunks = begin / (int64_t{kTile} * kTilesOfChunk);
    const dim3 grid(blocks_for(end - begin, kTile),
                    static_cast<unsigned>(smaller<int64_t>(chunks, kMostChunks)));
    const cudaError_t status =
        launch(nms_against_kept<T>, grid, kTile, 0, stream, work, begin, end);
    if (status != cudaSuccess) return status;
  }
  const cudaError_t status =
      launch(nms_among_block<T>, dim3(words, words), 64, 0, stream, work, begin, end);
  if (status != cudaSuccess) return status;
  return launch(nms_decide<T>, 1, kDecide, 0, stream, work, begin, end);
}

template <class T>
cudaError_t launch_boxes(const NmsDeviceJob& job, cudaStream_t stream) {
  Parts parts(job.scratch);
  Work<T> work = lay_out<T>(parts, job.count);
  work.rule = *static_cast<const Rule<T>*>(job.rule);
  work.groups = job.groups;
  cudaError_t status =
      launch(nms_prepare<T>, blocks_for(job.count, kSpread), kSpread, 0, stream, work,
             static_cast<const T*>(job.boxes), job.order, job.ranks, job.input_order);
  for (int64_t begin = 0; begin < job.count && status == cudaSuccess; begin += kPlaces)
    status = launch_block(work, begin, stream);
  if (status != cudaSuccess) return status;
  const int64_t* order = job.input_order ? nullptr : job.order;
  return launch(nms_collect, 1, kCollect, 0, stream, work.stays, order, job.count, job.keep,
                job.kept);
}

}  // namespace

int64_t nms_scratch_bytes(int64_t count, bool wide) {
  Parts parts(nullptr);
  if (wide) lay_out<double>(parts, count);
  else lay_out<float>(parts, count);
  return parts.used();
}

cudaError_t launch_nms_keys(const void* scores, bool wide, int64_t count, void* keys,
                            cudaStream_t stream) {
  const unsigned blocks = blocks_for(count, kSpread);
  if (wide)
    return launch(nms_keys<double, uint64_t>, blocks, kSpread, 0, stream,
                  static_cast<const double*>(scores), count, static_cast<uint64_t*>(keys));
  return launch(nms_keys<float, uint32_t>, blocks, kSpread, 0, stream,
                static_cast<const float*>(scores), count, static_cast<uint32_t*>(keys));
}

cudaError_t launch_nms_gather(const int64_t* from, const int64_t* order, int64_t count, int64_t* to,
                              cudaStream_t stream) {
  return launch(nms_gather, blocks_for(count, kSpread), kSpread, 0, stream, from, order, count, to);
}

cudaError_t launch_nms(const NmsDeviceJob& job, cudaStream_t stream) {
  return job.wide ? launch_boxes<double>(job, stream) : launch_boxes<float>(job, stream);
}

}  // namespace pyvqa
