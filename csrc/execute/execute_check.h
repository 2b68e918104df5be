// Argument checks and output allocation shared by the CPU and the CUDA side: same results, same
// text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

#include "execute/execute.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

struct Programs {
  Tensor programs, table;
  int id_bytes;
};

inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

inline void check_vector(const Tensor& t, ScalarType type, const char* name, const char* wanted) {
  STD_TORCH_CHECK(t.dim() == 1 && t.scalar_type() == type, "execute: ", name, " must be a ", wanted,
                  " vector, got ", t.dim(), " dimensions of ", toString(t.scalar_type()));
}

// A pointer to another device's memory would fault inside a kernel, where nothing can be explained.
inline void check_device(const Tensor& t, const Tensor& programs, const char* name) {
  STD_TORCH_CHECK(
      t.is_cuda() == programs.is_cuda() && t.get_device_index() == programs.get_device_index(),
      "execute: ", name, " must be on the device of the programs");
}

inline Programs check_programs(const Tensor& programs, const Tensor& table) {
  STD_TORCH_CHECK(programs.dim() == 2, "execute: programs must be [programs, tokens], got ",
                  programs.dim(), " dimensions");
  check_vector(table, ScalarType::Long, "table", "int64");
  check_device(table, programs, "table");
  int id_bytes = 0;
  switch (programs.scalar_type()) {
    case ScalarType::Byte: id_bytes = 1; break;
    case ScalarType::Short: id_bytes = 2; break;
    case ScalarType::Int: id_bytes = 4; break;
    case ScalarType::Long: id_bytes = 8; break;
    default:
      STD_TORCH_CHECK(false, "execute: programs must be uint8, int16, int32 or int64, got ",
                      toString(programs.scalar_type()));
  }
  return {dense(programs), dense(table), id_bytes};
}

inline void check_scenes(const Tensor& programs, const Tensor& scene_index, const Tensor& words,
                         const Tensor& offsets, int64_t width) {
  check_vector(scene_index, ScalarType::Long, "scene_index", "int64");
  check_vector(words, ScalarType::Long, "words", "int64");
  check_vector(offsets, ScalarType::Long, "offsets", "int64");
  check_device(scene_index, programs, "scene_index");
  check_device(words, programs, "words");
  check_device(offsets, programs, "offsets");
  STD_TORCH_CHECK(scene_index.size(0) == programs.size(0), "execute: ", programs.size(0),
                  " programs, but ", scene_index.size(0), " scene indices");
  STD_TORCH_CHECK(offsets.size(0) >= 1, "execute: offsets must hold at least one entry");
  STD_TORCH_CHECK(width == 1 || width == 2 || width == 16 || width == 64,
                  "execute: width must be 1, 2, 16 or 64 words, got ", width);
}

struct ExecuteTensors {
  Programs programs;
  Tensor scene_index, words, offsets;
  Tensor kind, value;

  ExecuteTensors(const Tensor& rows, const Tensor& table, const Tensor& index, const Tensor& packed,
                 const Tensor& scene_offsets, int64_t width)
      : programs(check_programs(rows, table)),
        scene_index(dense(index)),
        words(dense(packed)),
        offsets(dense(scene_offsets)) {
    check_scenes(rows, index, packed, scene_offsets, width);
    kind = torch::stable::new_empty(rows, {rows.size(0)}, ScalarType::Byte);
    value = torch::stable::new_empty(rows, {rows.size(0)}, ScalarType::Int);
  }

  Job job(const int64_t* checked_table) const {
    return {programs.programs.const_data_ptr(),
            programs.programs.size(0),
            programs.programs.size(1),
            checked_table,
            programs.table.size(0),
            scene_index.const_data_ptr<int64_t>(),
            static_cast<const uint64_t*>(words.const_data_ptr()),
            offsets.const_data_ptr<int64_t>(),
            offsets.size(0) - 1,
            words.size(0)};
  }

  Results results() const {
    Results out{};
    out.kind = kind.mutable_data_ptr<uint8_t>();
    out.value = value.mutable_data_ptr<int32_t>();
    return out;
  }
};

inline void check_answers(const Tensor& string_answers, const Tensor& integer_answers) {
  check_vector(string_answers, ScalarType::Int, "string_answers", "int32");
  check_vector(integer_answers, ScalarType::Int, "integer_answers", "int32");
}

// What `execute` adds to kind and value: answer ids and, where asked for, the final sets.
struct AnswerTensors {
  Tensor strings, integers;
  Tensor answer, sets;

  AnswerTensors(const Tensor& programs, const Tensor& string_answers, const Tensor& integer_answers,
                int64_t width, bool with_sets) {
    check_answers(string_answers, integer_answers);
    check_device(string_answers, programs, "string_answers");
    check_device(integer_answers, programs, "integer_answers");
    const int64_t rows = programs.size(0);
    strings = dense(string_answers);
    integers = dense(integer_answers);
    answer = torch::stable::new_empty(programs, {rows}, ScalarType::Int);
    sets = torch::stable::new_empty(programs, {with_sets ? rows : 0, 2, width}, ScalarType::Long);
  }

  void add_to(Results& out) const {
    out.answer = answer.mutable_data_ptr<int32_t>();
    out.string_answers = strings.const_data_ptr<int32_t>();
    out.strings = strings.size(0);
    out.integer_answers = integers.const_data_ptr<int32_t>();
    out.integers = integers.size(0);
    if (sets.size(0) > 0) out.sets = static_cast<uint64_t*>(sets.mutable_data_ptr());
  }
};

// The accumulator after every instruction; positions that are never reached keep kind 255.
struct TraceTensors {
  Tensor kinds, values, sets;

  TraceTensors(const Tensor& programs, int64_t width) {
    const int64_t rows = programs.size(0), length = programs.size(1);
    kinds = torch::stable::new_empty(programs, {rows, length}, ScalarType::Byte);
    values = torch::stable::new_zeros(programs, {rows, length}, ScalarType::Int);
    sets = torch::stable::new_zeros(programs, {rows, length, 2, width}, ScalarType::Long);
    torch::stable::fill_(kinds, 255);
  }

  void add_to(Results& out) const {
    out.trace_kind = kinds.mutable_data_ptr<uint8_t>();
    out.trace_value = values.mutable_data_ptr<int32_t>();
    out.trace_sets = static_cast<uint64_t*>(sets.mutable_data_ptr());
  }
};

// A job without scenes, which is all that the static check needs.
inline Job verify_job(const Programs& p, const int64_t* checked_table) {
  return {p.programs.const_data_ptr(),
          p.programs.size(0),
          p.programs.size(1),
          checked_table,
          p.table.size(0),
          nullptr,
          nullptr,
          nullptr,
          0,
          0};
}

}  // namespace
}  // namespace pyvqa
