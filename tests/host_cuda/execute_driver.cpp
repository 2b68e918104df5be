// Holds the CUDA side of `execute` to the CPU kernel, bit for bit: answers, sets, traces and
// `verify`, for every id type, set width and register count, on sensible and on garbage input.
// usage: execute_driver [programs per case] [seed]
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../fuzz/execute_random.h"
#include "device_array.h"
#include "execute/execute_cuda.h"
#include "execute/execute_kernel.h"

namespace {

using execute_random::Random;
using execute_random::Row;
using execute_random::Words;

struct Case {
  const char* name;
  int width, id_bytes;
  bool wild_table, sixteen_registers, damaged_scenes;
};

struct Input {
  std::vector<uint8_t> ids;
  std::vector<int64_t> table, scene_index, offsets;
  Words words;
  std::vector<int32_t> strings, integers;
  int64_t rows = 0, length = 0;
};

struct Output {
  std::vector<uint8_t> kind, trace_kind;
  std::vector<int32_t> value, answer, trace_value;
  std::vector<uint64_t> sets, trace_sets;
  std::vector<int8_t> status;

  Output(const Input& in, int width) {
    const size_t rows = static_cast<size_t>(in.rows), steps = rows * static_cast<size_t>(in.length);
    kind.assign(rows, 77);
    value.assign(rows, -77);
    answer.assign(rows, -77);
    sets.assign(rows * 2 * static_cast<size_t>(width), 77);
    status.assign(rows, 77);
    trace_kind.assign(steps, 255);
    trace_value.assign(steps, 0);
    trace_sets.assign(steps * 2 * static_cast<size_t>(width), 0);
  }
  bool operator==(const Output&) const = default;
};

int objects_for(Random& random, int width) {
  if (width == 1) return random.chance(80) ? random.below(11) : random.below(65);
  if (width == 2) return random.below(129);
  return random.chance(70) ? random.below(20) : random.below(width == 16 ? 300 : 1100);
}

Input draw(const Case& c, Random& random, int programs) {
  Input in;
  in.table = c.wild_table ? execute_random::wild_table(random, 60, c.sixteen_registers)
                          : execute_random::clevr_table();
  in.offsets.push_back(0);
  for (int s = 0; s < 12; ++s) {
    const int n = objects_for(random, c.width);
    const Words scene = c.damaged_scenes ? execute_random::damaged_scene(random, n, c.width)
                                         : execute_random::scene(random, n, c.width);
    in.words.insert(in.words.end(), scene.begin(), scene.end());
    in.offsets.push_back(static_cast<int64_t>(in.words.size()));
  }
  if (c.damaged_scenes)
    in.offsets[3] = static_cast<int64_t>(random.next() >> 20) - (int64_t{1} << 43);
  in.rows = programs;
  in.length = 27 + random.below(8);
  const int64_t largest =
      c.id_bytes == 1 ? 127 : static_cast<int64_t>(~uint64_t{0} >> (66 - 8 * c.id_bytes));
  in.ids.resize(static_cast<size_t>(in.rows * in.length * c.id_bytes));
  for (int64_t r = 0; r < in.rows; ++r) {
    const Row row = execute_random::program(random, in.table, static_cast<int>(in.length), largest);
    for (int64_t i = 0; i < in.length; ++i)  // little endian: the low bytes of the id
      std::memcpy(&in.ids[static_cast<size_t>((r * in.length + i) * c.id_bytes)],
                  &row[static_cast<size_t>(i)], static_cast<size_t>(c.id_bytes));
    in.scene_index.push_back(random.chance(99)
                                 ? random.below(12)
                                 : static_cast<int64_t>(random.next()) >> random.below(60));
  }
  for (int s = 0; s < 17; ++s) in.strings.push_back(100 + s);
  for (int n = 0; n < 11; ++n) in.integers.push_back(200 + n);
  return in;
}

pyvqa::Job job_of(const Input& in, const void* ids, const int64_t* table, const int64_t* index,
                  const uint64_t* words, const int64_t* offsets) {
  pyvqa::Job job{};
  job.programs = ids;
  job.rows = in.rows;
  job.length = in.length;
  job.table = table;
  job.vocabulary = static_cast<int64_t>(in.table.size());
  job.scene_index = index;
  job.words = words;
  job.offsets = offsets;
  job.scenes = static_cast<int64_t>(in.offsets.size()) - 1;
  job.word_count = static_cast<int64_t>(in.words.size());
  return job;
}

Output on_cpu(const Case& c, const Input& in) {
  Output out(in, c.width);
  std::vector<int64_t> table = in.table;
  for (int64_t& word : table) word = pyvqa::checked_instruction(word);
  pyvqa::Job job = job_of(in, in.ids.data(), table.data(), in.scene_index.data(), in.words.data(),
                          in.offsets.data());
  if (!c.wild_table)
    job.end_id = job.vocabulary - 1;  // the quick search for it, which devices do without
  const pyvqa::Results results{out.kind.data(),       out.value.data(),
                               out.answer.data(),     out.sets.data(),
                               in.strings.data(),     static_cast<int64_t>(in.strings.size()),
                               in.integers.data(),    static_cast<int64_t>(in.integers.size()),
                               out.trace_kind.data(), out.trace_value.data(),
                               out.trace_sets.data()};
  const pyvqa::ExecuteCall call{&job, &results, c.width, pyvqa::kRegisters, c.id_bytes};
  pyvqa::execute_rows_base(call, 0, in.rows);
  pyvqa::verify_rows_base(call, out.status.data(), 0, in.rows);
  return out;
}

Output on_device(const Case& c, const Input& in) {
  Output out(in, c.width);
  const DeviceArray ids(in.ids);
  const DeviceArray table(in.table), index(in.scene_index), offsets(in.offsets);
  const DeviceArray words(in.words);
  const DeviceArray strings(in.strings), integers(in.integers), value(out.value),
      answer(out.answer), trace_value(out.trace_value);
  const DeviceArray kind(out.kind), trace_kind(out.trace_kind);
  const DeviceArray sets(out.sets), trace_sets(out.trace_sets);
  const DeviceArray status(out.status);
  const pyvqa::Job job =
      job_of(in, ids.data(), table.data(), index.data(), words.data(), offsets.data());
  const pyvqa::Results results{kind.data(),       value.data(),
                               answer.data(),     sets.data(),
                               strings.data(),    static_cast<int64_t>(in.strings.size()),
                               integers.data(),   static_cast<int64_t>(in.integers.size()),
                               trace_kind.data(), trace_value.data(),
                               trace_sets.data()};
  const pyvqa::ExecuteCall call{&job, &results, c.width, 0, c.id_bytes};
  const std::vector<int64_t> room(
      static_cast<size_t>(pyvqa::execute_scratch_words(job.vocabulary, in.rows, c.width)));
  const DeviceArray scratch(room);
  require(pyvqa::launch_execute(call, scratch.data(), nullptr), "launch_execute");
  require(pyvqa::launch_verify(call, status.data(), scratch.data(), nullptr), "launch_verify");
  out.kind = kind.host();
  out.value = value.host();
  out.answer = answer.host();
  out.sets = sets.host();
  out.status = status.host();
  out.trace_kind = trace_kind.host();
  out.trace_value = trace_value.host();
  out.trace_sets = trace_sets.host();
  return out;
}

// How many rows of each kind there are: a comparison of errors alone would prove little.
void count_kinds(const Output& out, int64_t (&kinds)[7]) {
  for (const uint8_t kind : out.kind) ++kinds[kind];
}

bool check(const Case& c, int programs, uint64_t seed, int64_t (&kinds)[7]) {
  Random random(seed);
  const Input in = draw(c, random, programs);
  const Output cpu = on_cpu(c, in), device = on_device(c, in);
  count_kinds(cpu, kinds);
  if (cpu == device) return true;
  std::printf("%s: width %d, %d-byte ids, seed %llu: device and CPU differ\n", c.name, c.width,
              c.id_bytes, static_cast<unsigned long long>(seed));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const int programs = argc > 1 ? std::atoi(argv[1]) : 300;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  int64_t kinds[7] = {};
  int cases = 0, wrong = 0;
  for (const int width : {1, 2, 16, 64})
    for (const int id_bytes : {1, 2, 4, 8})
      for (const Case& c : {Case{"clevr", width, id_bytes, false, false, false},
                            Case{"wild, 2 registers", width, id_bytes, true, false, false},
                            Case{"wild, 16 registers", width, id_bytes, true, true, false},
                            Case{"damaged scenes", width, id_bytes, true, true, true},
                            Case{"clevr, damaged scenes", width, id_bytes, false, false, true}})
        for (const int rows : {0, 1, programs}) {
          ++cases;
          wrong += check(c, rows, seed + static_cast<uint64_t>(cases) * 1000003, kinds) ? 0 : 1;
        }
  std::printf(
      "execute: %d cases, %d wrong; error %lld none %lld integer %lld string %lld object %lld set "
      "%lld boolean %lld\n",
      cases, wrong, static_cast<long long>(kinds[0]), static_cast<long long>(kinds[1]),
      static_cast<long long>(kinds[2]), static_cast<long long>(kinds[3]),
      static_cast<long long>(kinds[4]), static_cast<long long>(kinds[5]),
      static_cast<long long>(kinds[6]));
  return wrong == 0 ? 0 : 1;
}
