// IoU: a thread keeps one box of the second set and writes its column for a few rows. Gradients: a
// warp sums up one box, lane p the boxes that part p of the CPU side has, so that both give the
// same bits. The rest: a thread for each box or, where boxes share a sum, for each proposal.
#include "boxes/boxes_cuda.h"

#include "boxes/codec.h"
#include "boxes/iou.h"
#include "common/launch.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 256;
constexpr int kRowsOfThread = 16;
constexpr int kWarp = 32;
static_assert(kWarp == kParts);

template <class T>
__device__ const T* row_at(const Rows& rows, int64_t batch, int64_t row) {
  return static_cast<const T*>(rows.data) + batch * rows.batch_stride + row * rows.row_stride;
}

template <class T>
__device__ Box<T> box_at(const IouCall& call, const Rows& rows, int64_t batch, int64_t row, T one) {
  return load_box(row_at<T>(rows, batch, row), rows.column_stride,
                  static_cast<BoxFormat>(call.format), one);
}

__host__ __device__ constexpr int64_t pieces(int64_t items, int64_t size) {
  return (items + size - 1) / size;
}

template <bool kGeneralized, class T>
__global__ void __launch_bounds__(kBlock) iou_pairs(IouCall call, Ratio<T>* result) {
  const T one = side_excess<T>(call.inclusive);
  const int64_t rows = call.first.rows, columns = call.second.rows;
  const int64_t wide = pieces(columns, kBlock), high = pieces(rows, kRowsOfThread);
  for (int64_t tile = blockIdx.x; tile < call.first.batches * high * wide; tile += gridDim.x) {
    const int64_t column = tile % wide * kBlock + threadIdx.x;
    const int64_t batch = tile / wide / high, first = tile / wide % high * kRowsOfThread;
    if (column >= columns) continue;
    const Box<T> box = box_at(call, call.second, batch, column, one);
    Ratio<T>* to = result + (batch * rows + first) * columns + column;
    const int64_t last = first + kRowsOfThread < rows ? first + kRowsOfThread : rows;
    for (int64_t row = first; row < last; ++row, to += columns)
      *to = overlap<kGeneralized>(box_at(call, call.first, batch, row, one), box, one);
  }
}

template <class T>
__device__ T sum_of_warp(T value) {
  for (int half = kWarp / 2; half > 0; half /= 2)
    value += __shfl_down_sync(0xffffffffu, value, static_cast<unsigned>(half));
  return value;
}

template <bool kGeneralized, class T>
__global__ void __launch_bounds__(kBlock)
    iou_gradients(IouCall call, IouGradient gradient, T* result) {
  constexpr int kRows = kBlock / kWarp;
  const T one = side_excess<T>(call.inclusive);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t rows = call.first.batches * call.first.rows;
  const int64_t start = int64_t{blockIdx.x} * kRows + threadIdx.x / kWarp;
  for (int64_t row = start; row < rows; row += int64_t{gridDim.x} * kRows) {
    const int64_t batch = row / call.first.rows, at = row % call.first.rows;
    const Box<T> box = box_at(call, call.first, batch, at, one);
    const T* given = static_cast<const T*>(gradient.data) + batch * gradient.batch_stride +
                     at * gradient.first_stride;
    Box<T> sum = {T(0), T(0), T(0), T(0), T(0)};
    for (int64_t j = lane; j < call.second.rows; j += kWarp) {
      const Box<T> other = box_at(call, call.second, batch, j, one);
      const Box<T> g =
          overlap_gradient<kGeneralized>(box, other, one, given[j * gradient.second_stride]);
      sum = {sum.x1 + g.x1, sum.y1 + g.y1, sum.x2 + g.x2, sum.y2 + g.y2, sum.area + g.area};
    }
    sum = {sum_of_warp(sum.x1), sum_of_warp(sum.y1), sum_of_warp(sum.x2), sum_of_warp(sum.y2),
           sum_of_warp(sum.area)};
    if (lane == 0)
      store_box_gradient(sum, box, static_cast<BoxFormat>(call.format), one, result + row * 4);
  }
}

template <class T>
cudaError_t iou_of(const IouCall& call, void* result, cudaStream_t stream) {
  const int64_t tiles = call.first.batches * pieces(call.first.rows, kRowsOfThread) *
                        pieces(call.second.rows, kBlock);
  Ratio<T>* to = static_cast<Ratio<T>*>(result);
  const unsigned grid = blocks_for(tiles, 1);
  if (call.generalized) return launch(iou_pairs<true, T>, grid, kBlock, 0, stream, call, to);
  return launch(iou_pairs<false, T>, grid, kBlock, 0, stream, call, to);
}

template <class T>
cudaError_t gradients_of(const IouCall& call, const IouGradient& gradient, void* to,
                         cudaStream_t stream) {
  const unsigned grid = blocks_for(call.first.batches * call.first.rows, kBlock / kWarp);
  T* out = static_cast<T*>(to);
  if (call.generalized)
    return launch(iou_gradients<true, T>, grid, kBlock, 0, stream, call, gradient, out);
  return launch(iou_gradients<false, T>, grid, kBlock, 0, stream, call, gradient, out);
}

// ---- encode, decode, clip

template <class T>
__device__ Codec<T> codec_of(const CodecCall& call) {
  return {static_cast<T>(call.wx), static_cast<T>(call.wy),        static_cast<T>(call.ww),
          static_cast<T>(call.wh), side_excess<T>(call.inclusive), static_cast<T>(call.clip)};
}

template <class T>
__device__ const T* counted_row(const Rows& rows, int64_t counted) {
  return row_at<T>(rows, counted / rows.rows, counted % rows.rows);
}

template <class T>
__device__ Four<T> four_at(const T* from, int64_t stride) {
  return {from[0], from[stride], from[2 * stride], from[3 * stride]};
}

template <class T>
__device__ void store(const Four<T>& four, T* to) {
  to[0] = four.a;
  to[1] = four.b;
  to[2] = four.c;
  to[3] = four.d;
}

template <class T>
__global__ void __launch_bounds__(kBlock) encode_rows(CodecCall call, T* result) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t rows = call.boxes.batches * call.boxes.rows;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < rows; row += stride) {
    const Four<T> box = four_at(counted_row<T>(call.boxes, row), call.boxes.column_stride);
    const Four<T> from = four_at(counted_row<T>(call.proposals, row), call.proposals.column_stride);
    store(encode_box(box, from, codec), result + row * 4);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    encode_gradients(CodecCall call, T* to_boxes, T* to_proposals) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t rows = call.boxes.batches * call.boxes.rows;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < rows; row += stride) {
    const Four<T> box = four_at(counted_row<T>(call.boxes, row), call.boxes.column_stride);
    const Four<T> from = four_at(counted_row<T>(call.proposals, row), call.proposals.column_stride);
    const Four<T> given = four_at(counted_row<T>(call.gradient, row), call.gradient.column_stride);
    Four<T> to_box, to_from;
    encode_box_gradient(box, from, codec, given, to_box, to_from);
    store(to_box, to_boxes + row * 4);
    store(to_from, to_proposals + row * 4);
  }
}

template <class T>
struct Proposal {
  Side<T> x, y;

  __device__ Proposal(const CodecCall& call, int64_t row, T one) {
    const Four<T> box = four_at(counted_row<T>(call.proposals, row), call.proposals.column_stride);
    x = side_of(box.a, box.c, one);
    y = side_of(box.b, box.d, one);
  }
};

template <class T>
__global__ void __launch_bounds__(kBlock) decode_each(CodecCall call, T* result) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t boxes = call.boxes.columns / 4, all = call.boxes.batches * call.boxes.rows * boxes;
  const int64_t stride = int64_t{gridDim.x} * kBlock, step = call.boxes.column_stride;
  for (int64_t at = int64_t{blockIdx.x} * kBlock + threadIdx.x; at < all; at += stride) {
    const Proposal<T> from(call, at / boxes, codec.one);
    const T* offsets = counted_row<T>(call.boxes, at / boxes) + at % boxes * 4 * step;
    store(decode_box(four_at(offsets, step), from.x, from.y, codec), result + at * 4);
  }
}

// A thread adds up the boxes of its proposal in their order, as the CPU side does.
template <class T>
__global__ void __launch_bounds__(kBlock)
    decode_gradients(CodecCall call, T* to_offsets, T* to_proposals) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t boxes = call.boxes.columns / 4, rows = call.boxes.batches * call.boxes.rows;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t row = int64_t{blockIdx.x} * kBlock + threadIdx.x; row < rows; row += stride) {
    const Proposal<T> from(call, row, codec.one);
    const T *offsets = counted_row<T>(call.boxes, row), *given = counted_row<T>(call.gradient, row);
    Side<T> sum_x = {T(0), T(0)}, sum_y = {T(0), T(0)};
    for (int64_t k = 0; k < boxes; ++k) {
      const Four<T> o =
          four_at(offsets + 4 * k * call.boxes.column_stride, call.boxes.column_stride);
      const Four<T> g =
          four_at(given + 4 * k * call.gradient.column_stride, call.gradient.column_stride);
      Side<T> to_x, to_y;
      const Offset<T> x =
          decode_axis_gradient(o.a, o.c, from.x, codec.wx, codec.ww, codec.clip, {g.a, g.c}, to_x);
      const Offset<T> y =
          decode_axis_gradient(o.b, o.d, from.y, codec.wy, codec.wh, codec.clip, {g.b, g.d}, to_y);
      sum_x = {sum_x.length + to_x.length, sum_x.centre + to_x.centre};
      sum_y = {sum_y.length + to_y.length, sum_y.centre + to_y.centre};
      store(Four<T>{x.shift, y.shift, x.growth, y.growth}, to_offsets + (row * boxes + k) * 4);
    }
    const Ends<T> x = to_ends(sum_x.centre, sum_x.length), y = to_ends(sum_y.centre, sum_y.length);
    store(Four<T>{x.low, y.low, x.high, y.high}, to_proposals + row * 4);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) clip_each(CodecCall call, T width, T height, T* result) {
  const int64_t columns = call.boxes.columns, all = call.boxes.batches * call.boxes.rows * columns;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t at = int64_t{blockIdx.x} * kBlock + threadIdx.x; at < all; at += stride) {
    const int64_t column = at % columns;
    const T x = counted_row<T>(call.boxes, at / columns)[column * call.boxes.column_stride];
    result[at] = clip_coordinate(x, column % 2 == 0 ? width : height);
  }
}

// Calls `f` with a null pointer of the numbers' type.
template <class F>
cudaError_t for_number(Number number, F f) {
  if (number == Number::f64) return f(static_cast<double*>(nullptr));
  return f(static_cast<float*>(nullptr));
}

int64_t row_count(const CodecCall& call) { return call.boxes.batches * call.boxes.rows; }

}  // namespace

cudaError_t launch_box_iou(const IouCall& call, void* result, cudaStream_t stream) {
  switch (call.number) {
    case Number::f32: return iou_of<float>(call, result, stream);
    case Number::f64: return iou_of<double>(call, result, stream);
    default: return iou_of<int64_t>(call, result, stream);
  }
}

cudaError_t launch_box_iou_backward(const IouCall& call, const IouGradient& gradient, void* to,
                                    cudaStream_t stream) {
  return for_number(call.number,
                    [&]<class T>(T*) { return gradients_of<T>(call, gradient, to, stream); });
}

cudaError_t launch_encode_boxes(const CodecCall& call, void* result, cudaStream_t stream) {
  return for_number(call.number, [&]<class T>(T*) {
    return launch(encode_rows<T>, blocks_for(row_count(call), kBlock), kBlock, 0, stream, call,
                  static_cast<T*>(result));
  });
}

cudaError_t launch_encode_boxes_backward(const CodecCall& call, void* to_boxes, void* to_proposals,
                                         cudaStream_t stream) {
  return for_number(call.number, [&]<class T>(T*) {
    return launch(encode_gradients<T>, blocks_for(row_count(call), kBlock), kBlock, 0, stream, call,
                  static_cast<T*>(to_boxes), static_cast<T*>(to_proposals));
  });
}

cudaError_t launch_decode_boxes(const CodecCall& call, void* result, cudaStream_t stream) {
  const int64_t boxes = row_count(call) * (call.boxes.columns / 4);
  return for_number(call.number, [&]<class T>(T*) {
    return launch(decode_each<T>, blocks_for(boxes, kBlock), kBlock, 0, stream, call,
                  static_cast<T*>(result));
  });
}

cudaError_t launch_decode_boxes_backward(const CodecCall& call, void* to_offsets,
                                         void* to_proposals, cudaStream_t stream) {
  return for_number(call.number, [&]<class T>(T*) {
    return launch(decode_gradients<T>, blocks_for(row_count(call), kBlock), kBlock, 0, stream, call,
                  static_cast<T*>(to_offsets), static_cast<T*>(to_proposals));
  });
}

cudaError_t launch_clip_boxes(const CodecCall& call, double width, double height, void* result,
                              cudaStream_t stream) {
  const int64_t numbers = row_count(call) * call.boxes.columns;
  return for_number(call.number, [&]<class T>(T*) {
    return launch(clip_each<T>, blocks_for(numbers, kBlock), kBlock, 0, stream, call,
                  static_cast<T>(width), static_cast<T>(height), static_cast<T*>(result));
  });
}

}  // namespace pyvqa
