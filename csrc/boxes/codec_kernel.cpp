// Compiled once per instruction set. Boxes are taken in tiles, one array per number, because the
// compiler turns loops over such arrays into vectors whatever the strides of the input are.
#include "boxes/codec_kernel.h"

#include "boxes/codec.h"
#include "common/isa.h"

namespace pyvqa {
namespace {

constexpr int kTile = 64;

// Walks through the rows of all batches.
template <class T>
class Cursor {
 public:
  Cursor(const Rows& rows, int64_t counted)
      : rows_(rows),
        row_(counted % rows.rows),
        batch_(static_cast<const T*>(rows.data) + counted / rows.rows * rows.batch_stride) {}

  const T* row() const { return batch_ + row_ * rows_.row_stride; }
  void next() {
    if (++row_ < rows_.rows) return;
    row_ = 0;
    batch_ += rows_.batch_stride;
  }

 private:
  const Rows& rows_;
  int64_t row_;
  const T* batch_;
};

// Up to kTile times four numbers.
template <class T>
struct alignas(64) Columns {
  T a[kTile], b[kTile], c[kTile], d[kTile];

  void set(int i, const T* from, int64_t stride) {
    a[i] = from[0];
    b[i] = from[stride];
    c[i] = from[2 * stride];
    d[i] = from[3 * stride];
  }
  void put(int i, const Four<T>& four) {
    a[i] = four.a;
    b[i] = four.b;
    c[i] = four.c;
    d[i] = four.d;
  }
  Four<T> at(int i) const { return {a[i], b[i], c[i], d[i]}; }
  void store(int count, T* to) const {
    for (int i = 0; i < count; ++i, to += 4) {
      to[0] = a[i];
      to[1] = b[i];
      to[2] = c[i];
      to[3] = d[i];
    }
  }
};

template <class T>
Codec<T> codec_of(const CodecCall& call) {
  return {static_cast<T>(call.wx), static_cast<T>(call.wy),        static_cast<T>(call.ww),
          static_cast<T>(call.wh), side_excess<T>(call.inclusive), static_cast<T>(call.clip)};
}

int tile_size(int64_t left) { return left < kTile ? static_cast<int>(left) : kTile; }

template <class T>
void load_rows(const Rows& rows, Cursor<T>& from, int count, Columns<T>& to) {
  for (int i = 0; i < count; ++i, from.next()) to.set(i, from.row(), rows.column_stride);
}

template <class T>
void encode(const CodecCall& call, T* to, int64_t begin, int64_t end) {
  const Codec<T> codec = codec_of<T>(call);
  Cursor<T> box(call.boxes, begin), from(call.proposals, begin);
  Columns<T> boxes, proposals;
  for (int64_t row = begin; row < end; row += kTile) {
    const int count = tile_size(end - row);
    load_rows(call.boxes, box, count, boxes);
    load_rows(call.proposals, from, count, proposals);
    for (int i = 0; i < count; ++i) boxes.put(i, encode_box(boxes.at(i), proposals.at(i), codec));
    boxes.store(count, to + row * 4);
  }
}

template <class T>
void encode_backward(const CodecCall& call, T* to_boxes, T* to_proposals, int64_t begin,
                     int64_t end) {
  const Codec<T> codec = codec_of<T>(call);
  Cursor<T> box(call.boxes, begin), from(call.proposals, begin), given(call.gradient, begin);
  Columns<T> boxes, proposals, gradients;
  for (int64_t row = begin; row < end; row += kTile) {
    const int count = tile_size(end - row);
    load_rows(call.boxes, box, count, boxes);
    load_rows(call.proposals, from, count, proposals);
    load_rows(call.gradient, given, count, gradients);
    for (int i = 0; i < count; ++i) {
      Four<T> to_box, to_from;
      encode_box_gradient(boxes.at(i), proposals.at(i), codec, gradients.at(i), to_box, to_from);
      boxes.put(i, to_box);
      proposals.put(i, to_from);
    }
    boxes.store(count, to_boxes + row * 4);
    proposals.store(count, to_proposals + row * 4);
  }
}

// The sides of proposals, one for each of their C boxes.
template <class T>
struct alignas(64) Sides {
  T x_length[kTile], x_centre[kTile], y_length[kTile], y_centre[kTile];

  void put(int i, const Side<T>& x, const Side<T>& y) {
    x_length[i] = x.length;
    x_centre[i] = x.centre;
    y_length[i] = y.length;
    y_centre[i] = y.centre;
  }
  Side<T> x(int i) const { return {x_length[i], x_centre[i]}; }
  Side<T> y(int i) const { return {y_length[i], y_centre[i]}; }
};

// Walks through the C boxes of every row.
template <class T>
class BoxCursor {
 public:
  BoxCursor(const Rows& offsets, const Rows& proposals, int64_t row)
      : offsets_(offsets),
        proposals_(proposals),
        offset_(offsets, row),
        proposal_(proposals, row),
        boxes_(offsets.columns / 4) {}

  void load(int count, T one, Columns<T>& offsets, Sides<T>& sides) {
    for (int i = 0; i < count; ++i) {
      if (box_ == 0) measure(one);
      offsets.set(i, offset_.row() + 4 * box_ * offsets_.column_stride, offsets_.column_stride);
      sides.put(i, x_, y_);
      if (++box_ < boxes_) continue;
      box_ = 0;
      offset_.next();
      proposal_.next();
    }
  }

 private:
  void measure(T one) {
    const T* box = proposal_.row();
    const int64_t stride = proposals_.column_stride;
    x_ = side_of(box[0], box[2 * stride], one);
    y_ = side_of(box[stride], box[3 * stride], one);
  }

  const Rows &offsets_, &proposals_;
  Cursor<T> offset_, proposal_;
  int64_t boxes_, box_ = 0;
  Side<T> x_ = {T(0), T(0)}, y_ = {T(0), T(0)};
};

template <class T>
void decode(const CodecCall& call, T* to, int64_t begin, int64_t end) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t boxes = call.boxes.columns / 4;
  BoxCursor<T> cursor(call.boxes, call.proposals, begin);
  Columns<T> offsets;
  Sides<T> sides;
  for (int64_t box = begin * boxes; box < end * boxes; box += kTile) {
    const int count = tile_size(end * boxes - box);
    cursor.load(count, codec.one, offsets, sides);
    for (int i = 0; i < count; ++i)
      offsets.put(i, decode_box(offsets.at(i), sides.x(i), sides.y(i), codec));
    offsets.store(count, to + box * 4);
  }
}

// Adds up what the boxes of a proposal give to its sides, in their order.
template <class T>
class ProposalGradient {
 public:
  ProposalGradient(T* to, int64_t boxes) : to_(to), boxes_(boxes) {}

  void add(const Side<T>& x, const Side<T>& y) {
    x_.length += x.length;
    x_.centre += x.centre;
    y_.length += y.length;
    y_.centre += y.centre;
    if (++seen_ < boxes_) return;
    const Ends<T> ends_x = to_ends(x_.centre, x_.length), ends_y = to_ends(y_.centre, y_.length);
    to_[0] = ends_x.low;
    to_[1] = ends_y.low;
    to_[2] = ends_x.high;
    to_[3] = ends_y.high;
    to_ += 4;
    seen_ = 0;
    x_ = y_ = {T(0), T(0)};
  }

 private:
  T* to_;
  int64_t boxes_, seen_ = 0;
  Side<T> x_ = {T(0), T(0)}, y_ = {T(0), T(0)};
};

template <class T>
void decode_tile_backward(const Codec<T>& codec, int count, Columns<T>& offsets, Sides<T>& sides,
                          const Columns<T>& gradients) {
  for (int i = 0; i < count; ++i) {
    const Four<T> o = offsets.at(i), g = gradients.at(i);
    Side<T> to_x, to_y;
    const Offset<T> x = decode_axis_gradient(o.a, o.c, sides.x(i), codec.wx, codec.ww, codec.clip,
                                             {g.a, g.c}, to_x);
    const Offset<T> y = decode_axis_gradient(o.b, o.d, sides.y(i), codec.wy, codec.wh, codec.clip,
                                             {g.b, g.d}, to_y);
    offsets.put(i, {x.shift, y.shift, x.growth, y.growth});
    sides.put(i, to_x, to_y);
  }
}

template <class T>
void decode_backward(const CodecCall& call, T* to_offsets, T* to_proposals, int64_t begin,
                     int64_t end) {
  const Codec<T> codec = codec_of<T>(call);
  const int64_t boxes = call.boxes.columns / 4;
  BoxCursor<T> cursor(call.boxes, call.proposals, begin);
  BoxCursor<T> given(call.gradient, call.proposals, begin);
  ProposalGradient<T> sums(to_proposals + begin * 4, boxes);
  Columns<T> offsets, gradients;
  Sides<T> sides;
  for (int64_t box = begin * boxes; box < end * boxes; box += kTile) {
    const int count = tile_size(end * boxes - box);
    given.load(count, codec.one, gradients, sides);
    cursor.load(count, codec.one, offsets, sides);
    decode_tile_backward(codec, count, offsets, sides, gradients);
    offsets.store(count, to_offsets + box * 4);
    for (int i = 0; i < count; ++i) sums.add(sides.x(i), sides.y(i));
  }
}

template <class T>
void clip(const CodecCall& call, T width, T height, T* to, int64_t begin, int64_t end) {
  const int64_t columns = call.boxes.columns, stride = call.boxes.column_stride;
  Cursor<T> cursor(call.boxes, begin);
  to += begin * columns;
  for (int64_t row = begin; row < end; ++row, cursor.next(), to += columns) {
    const T* from = cursor.row();
    for (int64_t c = 0; c < columns; c += 2) {
      to[c] = clip_coordinate(from[c * stride], width);
      to[c + 1] = clip_coordinate(from[(c + 1) * stride], height);
    }
  }
}

}  // namespace

void PV_ISA_NAME(encode_boxes)(const CodecCall& call, void* result, int64_t begin, int64_t end) {
  if (call.number == Number::f64) return encode(call, static_cast<double*>(result), begin, end);
  return encode(call, static_cast<float*>(result), begin, end);
}

void PV_ISA_NAME(encode_boxes_backward)(const CodecCall& call, void* to_boxes, void* to_proposals,
                                        int64_t begin, int64_t end) {
  if (call.number == Number::f64)
    return encode_backward(call, static_cast<double*>(to_boxes), static_cast<double*>(to_proposals),
                           begin, end);
  return encode_backward(call, static_cast<float*>(to_boxes), static_cast<float*>(to_proposals),
                         begin, end);
}

void PV_ISA_NAME(decode_boxes)(const CodecCall& call, void* result, int64_t begin, int64_t end) {
  if (call.number == Number::f64) return decode(call, static_cast<double*>(result), begin, end);
  return decode(call, static_cast<float*>(result), begin, end);
}

void PV_ISA_NAME(decode_boxes_backward)(const CodecCall& call, void* to_offsets, void* to_proposals,
                                        int64_t begin, int64_t end) {
  if (call.number == Number::f64)
    return decode_backward(call, static_cast<double*>(to_offsets),
                           static_cast<double*>(to_proposals), begin, end);
  return decode_backward(call, static_cast<float*>(to_offsets), static_cast<float*>(to_proposals),
                         begin, end);
}

void PV_ISA_NAME(clip_boxes)(const CodecCall& call, double width, double height, void* result,
                             int64_t begin, int64_t end) {
  if (call.number == Number::f64)
    return clip(call, width, height, static_cast<double*>(result), begin, end);
  return clip(call, static_cast<float>(width), static_cast<float>(height),
              static_cast<float*>(result), begin, end);
}

}  // namespace pyvqa
