// Compiled once per instruction set.
#include "paste/paste_kernel.h"

#include <cstring>

#include "common/isa.h"
#include "paste/paste.h"

#if defined(PV_ISA_avx512) || defined(PV_ISA_avx2)
#include <immintrin.h>
#endif

namespace pyvqa {
namespace {

// Where every pixel of a row of the canvas, in whole words, looks in a bordered row of the mask.
// Pixels outside the box have weights that are no numbers: what they give reaches no threshold.
struct Table {
  int64_t pixels;  // a multiple of 64
  int32_t *first, *second;
  float *first_weight, *second_weight;
};

// A row of the mask stretched over the row of the canvas: blended, or both neighbours.
struct Row {
  int32_t source = -1;
  float *blended, *other;
};

struct Scratch {
  float* bordered;
  Table table;
  Row rows[2];  // neighbouring rows of the mask never share a place
};

Scratch lay_out(const PasteCall& call, float* memory) {
  const int64_t pixels = 64 * paste_words(call);
  float* at = memory + paste_row_floats(call);
  Scratch s{memory, {}, {}};
  s.table.first = reinterpret_cast<int32_t*>(at);
  s.table.second = reinterpret_cast<int32_t*>(at + pixels);
  s.table.first_weight = at + 2 * pixels;
  s.table.second_weight = at + 3 * pixels;
  for (int k = 0; k < 2; ++k) {
    s.rows[k].blended = at + (4 + 2 * k) * pixels;
    s.rows[k].other = at + (5 + 2 * k) * pixels;
  }
  memset(memory, 0, static_cast<size_t>(paste_row_floats(call)) * sizeof(float));
  return s;
}

void shut(Table& table, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    table.first[p] = table.second[p] = 0;
    table.first_weight[p] = table.second_weight[p] = __builtin_nanf("");
  }
}

// Fills the table for the words from `word` on that the box reaches.
void look_up(const PasteCall& call, const PasteSpan& x, int64_t word, int64_t words, Table& table) {
  const int32_t source = call.mask_width + 2;
  const float scale = paste_scale(source, x.size);
  const int32_t start = static_cast<int32_t>(64 * word);
  const int32_t begin = x.begin - start, end = x.end - start, offset = start - x.first;
  table.pixels = 64 * words;
  for (int32_t p = begin; p < end; ++p) {
    const Tap tap = paste_tap(p + offset, x.size, source, scale);
    table.first[p] = tap.first;
    table.second[p] = tap.second;
    table.first_weight[p] = tap.first_weight;
    table.second_weight[p] = tap.second_weight;
  }
  shut(table, 0, begin);
  shut(table, end, table.pixels);
}

// Row `source` of the mask of a call, with its border.
void border(const PasteCall& call, int64_t mask, int32_t source, float* row) {
  if (source < 1 || source > call.mask_height) {
    memset(row, 0, static_cast<size_t>(call.mask_width + 2) * sizeof(float));
    return;
  }
  const float* from = call.masks + mask * call.mask_stride + (source - 1) * call.row_stride;
  row[0] = row[call.mask_width + 1] = 0;
  if (call.column_stride == 1) {
    memcpy(row + 1, from, static_cast<size_t>(call.mask_width) * sizeof(float));
    return;
  }
  for (int32_t x = 0; x < call.mask_width; ++x) row[1 + x] = from[x * call.column_stride];
}

// ---- vectors

#if defined(PV_ISA_avx512)
constexpr int64_t kLanes = 16;
using Floats = __m512;

PV_HD Floats load(const float* at) { return _mm512_loadu_ps(at); }
PV_HD void store(float* at, Floats v) { _mm512_storeu_ps(at, v); }
PV_HD Floats spread(float v) { return _mm512_set1_ps(v); }
PV_HD Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
PV_HD Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

// A row of up to 32 floats fits two registers, which are looked up faster than memory.
template <bool Short>
PV_HD Floats look(const float* row, const int32_t* at) {
  const __m512i places = _mm512_loadu_si512(at);
  if (Short) return _mm512_permutex2var_ps(load(row), places, load(row + 16));
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, places, row, 4);
}

template <bool Strict>
PV_HD uint64_t reaches(Floats v, Floats limit) {
  return _mm512_cmp_ps_mask(v, limit, Strict ? _CMP_GT_OQ : _CMP_GE_OQ);
}
#elif defined(PV_ISA_avx2)
constexpr int64_t kLanes = 8;
using Floats = __m256;

PV_HD Floats load(const float* at) { return _mm256_loadu_ps(at); }
PV_HD void store(float* at, Floats v) { _mm256_storeu_ps(at, v); }
PV_HD Floats spread(float v) { return _mm256_set1_ps(v); }
PV_HD Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
PV_HD Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }

template <bool Short>
PV_HD Floats look(const float* row, const int32_t* at) {
  return _mm256_i32gather_ps(row, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), 4);
}

template <bool Strict>
PV_HD uint64_t reaches(Floats v, Floats limit) {
  const __m256 yes = _mm256_cmp_ps(v, limit, Strict ? _CMP_GT_OQ : _CMP_GE_OQ);
  return static_cast<uint32_t>(_mm256_movemask_ps(yes));
}
#else
constexpr int64_t kLanes = 1;
using Floats = float;

PV_HD Floats load(const float* at) { return *at; }
PV_HD void store(float* at, Floats v) { *at = v; }
PV_HD Floats spread(float v) { return v; }
PV_HD Floats mul(Floats a, Floats b) { return a * b; }
PV_HD Floats fma(Floats a, Floats b, Floats c) { return pv_fma(a, b, c); }

template <bool Short>
PV_HD Floats look(const float* row, const int32_t* at) {
  return row[*at];
}

template <bool Strict>
PV_HD uint64_t reaches(Floats v, Floats limit) {
  return Strict ? v > limit : v >= limit;
}
#endif

// ---- rows

// Blended along x, or both neighbours side by side for the four products.
template <bool Small, bool Short>
void stretch(const Table& table, const float* bordered, const Row& out) {
  for (int64_t p = 0; p < table.pixels; p += kLanes) {
    const Floats a = look<Short>(bordered, table.first + p);
    const Floats b = look<Short>(bordered, table.second + p);
    if (Small) {
      store(out.blended + p, a);
      store(out.other + p, b);
    } else {
      const Floats weighted = mul(load(table.second_weight + p), b);
      store(out.blended + p, fma(load(table.first_weight + p), a, weighted));
    }
  }
}

// Row `source` of the mask, which is kept until one two rows further is asked for.
template <bool Small, bool Short>
const Row& stretched(const PasteCall& call, int64_t mask, int32_t source, Scratch& s) {
  Row& row = s.rows[source & 1];
  if (row.source != source) {
    row.source = source;
    border(call, mask, source, s.bordered);
    stretch<Small, Short>(s.table, s.bordered, row);
  }
  return row;
}

// 64 pixels of a row of the canvas, from the two rows of the mask around it.
template <bool Small, bool Strict>
PV_HD uint64_t decide(const Table& table, int64_t p, const Row& upper, const Row& lower,
                      const Tap& y, float threshold) {
  const Floats limit = spread(threshold);
  const Floats up = spread(y.first_weight), down = spread(y.second_weight);
  uint64_t word = 0;
  for (int64_t k = 0; k < 64; k += kLanes) {
    const int64_t at = p + k;
    Floats value;
    if (Small) {
      const Floats left = load(table.first_weight + at), right = load(table.second_weight + at);
      value =
          fma(mul(up, left), load(upper.blended + at), mul(mul(up, right), load(upper.other + at)));
      value = fma(mul(down, left), load(lower.blended + at), value);
      value = fma(mul(down, right), load(lower.other + at), value);
    } else {
      value = fma(up, load(upper.blended + at), mul(down, load(lower.blended + at)));
    }
    word |= reaches<Strict>(value, limit) << k;
  }
  return word;
}

// ---- canvases: one of words and one of bytes

struct WordCanvas {
  uint64_t* plane;
  int64_t words;

  void clear(int64_t from_row, int64_t from_word, int64_t to_row, int64_t to_word) const {
    uint64_t* const from = plane + from_row * words + from_word;
    const uint64_t* const to = plane + to_row * words + to_word;
    memset(from, 0, static_cast<size_t>(to - from) * sizeof(uint64_t));
  }
  void put(int64_t row, int64_t word, uint64_t bits) const { plane[row * words + word] = bits; }
};

struct ByteCanvas {
  uint8_t* plane;
  int64_t width;

  // A word may reach beyond its row.
  uint8_t* place(int64_t row, int64_t word) const {
    return plane + row * width + (64 * word < width ? 64 * word : width);
  }
  void clear(int64_t from_row, int64_t from_word, int64_t to_row, int64_t to_word) const {
    uint8_t* const from = place(from_row, from_word);
    memset(from, 0, static_cast<size_t>(place(to_row, to_word) - from));
  }
  void put(int64_t row, int64_t word, uint64_t bits) const {
    uint8_t* const out = place(row, word);
    const int64_t left = width - 64 * word;
#if defined(PV_ISA_avx512)
    const __m512i bytes = _mm512_maskz_set1_epi8(bits, 1);
    if (left >= 64) {
      _mm512_storeu_si512(out, bytes);
    } else {
      _mm512_mask_storeu_epi8(out, (uint64_t{1} << left) - 1, bytes);
    }
#else
    alignas(8) uint8_t bytes[64];
    for (int k = 0; k < 8; ++k) {
      const uint64_t eight = (bits >> 8 * k & 0xff) * 0x0101010101010101u & 0x8040201008040201u;
      const uint64_t each = (eight + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
      memcpy(bytes + 8 * k, &each, 8);
    }
    memcpy(out, bytes, static_cast<size_t>(left < 64 ? left : 64));
#endif
  }
};

// ---- masks

template <bool Small, bool Strict, bool Short, class Canvas>
void paint(const PasteCall& call, int64_t mask, const PasteRegion& region, Scratch& s,
           const Canvas& canvas) {
  const int64_t word = region.x.begin / 64, end = (int64_t{region.x.end} + 63) / 64;
  const int32_t source = call.mask_height + 2;
  const float scale = paste_scale(source, region.y.size);
  look_up(call, region.x, word, end - word, s.table);
  s.rows[0].source = s.rows[1].source = -1;
  canvas.clear(0, 0, region.y.begin, word);
  for (int32_t y = region.y.begin; y < region.y.end; ++y) {
    const Tap tap = paste_tap(y - region.y.first, region.y.size, source, scale);
    const Row& upper = stretched<Small, Short>(call, mask, tap.first, s);
    const Row& lower = stretched<Small, Short>(call, mask, tap.second, s);
    for (int64_t k = word; k < end; ++k) {
      const uint64_t bits =
          decide<Small, Strict>(s.table, 64 * (k - word), upper, lower, tap, call.threshold);
      canvas.put(y, k, bits);
    }
    const bool last = y + 1 == region.y.end;
    canvas.clear(y, end, last ? call.height : y + 1, last ? 0 : word);
  }
}

template <bool Small, bool Strict, class Canvas>
void paint(const PasteCall& call, int64_t mask, const PasteRegion& region, Scratch& s,
           const Canvas& canvas) {
  if (paste_row_floats(call) == 32) {
    paint<Small, Strict, true>(call, mask, region, s, canvas);
  } else {
    paint<Small, Strict, false>(call, mask, region, s, canvas);
  }
}

template <class Canvas>
void paste(const PasteCall& call, int64_t mask, Scratch& s, const Canvas& canvas) {
  const PasteRegion region = paste_region(call, mask);
  if (region.empty()) return canvas.clear(0, 0, call.height, 0);
  if (call.detectron) return paint<false, true>(call, mask, region, s, canvas);
  if (paste_is_small(call, region)) return paint<true, false>(call, mask, region, s, canvas);
  paint<false, false>(call, mask, region, s, canvas);
}

}  // namespace

void PV_ISA_NAME(paste_rows)(const PasteCall& call, float* scratch, int64_t begin, int64_t end) {
  Scratch s = lay_out(call, scratch);
  const int64_t words = paste_words(call);
  for (int64_t mask = begin; mask < end; ++mask) {
    if (call.packed) {
      uint64_t* plane = static_cast<uint64_t*>(call.out) + mask * call.height * words;
      paste(call, mask, s, WordCanvas{plane, words});
    } else {
      uint8_t* plane = static_cast<uint8_t*>(call.out) + mask * call.height * call.width;
      paste(call, mask, s, ByteCanvas{plane, call.width});
    }
  }
}

}  // namespace pyvqa
