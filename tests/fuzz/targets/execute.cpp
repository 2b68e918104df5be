// Random tables, programs and scenes, from sensible to garbage, through the interpreter. What must
// hold: no sanitizer report (each array is an allocation of its own, so a step outside is seen),
// results inside their ranges, the same results with and without a trace and under every
// instruction set, and no program that `verify` accepts fails for a reason other than an empty set.
// usage: execute_fuzz [programs] [seed]
// With -DPYVQA_LIBFUZZER the same check is libFuzzer's entry point, its bytes being the random
// choices.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "execute/execute_kernel.h"
#include "../execute_random.h"

namespace {

using execute_random::Random;
using execute_random::Row;
using execute_random::Words;
using Kernel = void (*)(const pyvqa::ExecuteCall&, int64_t, int64_t);

constexpr int kPrograms = 72;  // on one scene: two groups of lanes (lockstep.h) and a rest

struct Tally {
  int64_t programs = 0, kinds[7] = {};
};

// Memory of exactly this size, so that AddressSanitizer sees the first byte outside.
template <class T>
std::unique_ptr<T[]> exact(const std::vector<T>& values) {
  auto copy = std::make_unique<T[]>(values.size());
  if (!values.empty()) std::memcpy(copy.get(), values.data(), values.size() * sizeof(T));
  return copy;
}

struct Setting {
  int width = 1, id_bytes = 4, length = 0, registers = 2;
  bool clevr = true, damaged = false;
  int objects = 0;
};

struct Outputs {
  std::vector<uint8_t> kind, trace_kind;
  std::vector<int32_t> value, trace_value;
  std::vector<uint64_t> sets, trace_sets;

  Outputs(const Setting& s, int rows, bool traced) {
    const auto size = [](int n) { return static_cast<size_t>(n); };
    kind.assign(size(rows), 99);
    value.assign(size(rows), -99);
    sets.assign(size(rows) * 2 * size(s.width), 0);
    if (!traced) return;
    trace_kind.assign(size(rows * s.length), 255);
    trace_value.assign(size(rows * s.length), 0);
    trace_sets.assign(size(rows * s.length) * 2 * size(s.width), 0);
  }
  pyvqa::Results pointers() {
    pyvqa::Results r{};
    r.kind = kind.data();
    r.value = value.data();
    r.sets = sets.data();
    if (trace_kind.empty()) return r;
    r.trace_kind = trace_kind.data();
    r.trace_value = trace_value.data();
    r.trace_sets = trace_sets.data();
    return r;
  }
};

Setting draw_setting(Random& random) {
  Setting s;
  s.clevr = random.chance(60);
  s.damaged = random.chance(25);
  s.width = random.chance(80) ? 1 : random.chance(60) ? 2 : random.chance(80) ? 16 : 64;
  s.objects = random.chance(85) ? random.below(14) : random.below(64 * s.width + 1);
  if (s.objects > 1200) s.objects = 1200;
  s.id_bytes = 1 << random.below(4);
  s.length = random.chance(90) ? random.below(40) : 0;
  return s;
}

std::vector<uint8_t> draw_programs(Random& random, const Setting& s,
                                   const std::vector<int64_t>& table) {
  std::vector<uint8_t> bytes(static_cast<size_t>(kPrograms * s.length * s.id_bytes));
  const int64_t largest =
      s.id_bytes == 1 ? 255 : static_cast<int64_t>(~uint64_t{0} >> (65 - 8 * s.id_bytes));
  size_t at = 0;
  for (int p = 0; p < kPrograms; ++p) {
    const Row row = execute_random::program(random, table, s.length, largest / 2);
    for (const int64_t id : row) {  // little endian: the low bytes
      std::memcpy(bytes.data() + at, &id, static_cast<size_t>(s.id_bytes));
      at += static_cast<size_t>(s.id_bytes);
    }
  }
  return bytes;
}

[[noreturn]] void wrong(const std::string& what) {
  std::fprintf(stderr, "execute_fuzz: %s\n", what.c_str());
  std::abort();
}

void check_ranges(const Setting& s, const Outputs& out, const std::vector<int64_t>& scene_index) {
  for (size_t p = 0; p < out.kind.size(); ++p) {
    const int64_t value = out.value[p];
    const auto kind = static_cast<pyvqa::Kind>(out.kind[p]);
    bool fine = true;
    if (kind == pyvqa::Kind::error)
      fine = value >= (s.clevr ? 1 : 0) && value <= (s.clevr ? 9 : 0xffff);
    else if (kind == pyvqa::Kind::object) fine = value >= 0 && value < 64 * s.width;
    else if (kind == pyvqa::Kind::string) fine = value >= 0 && value <= 0xffff;
    else if (kind == pyvqa::Kind::boolean) fine = value == 0 || value == 1;
    else if (kind == pyvqa::Kind::integer)
      fine = value >= 0 && value <= (s.damaged ? 128 * s.width : s.objects);
    else fine = kind == pyvqa::Kind::none || kind == pyvqa::Kind::set;
    if (kind == pyvqa::Kind::object && !s.damaged) fine = fine && value < s.objects;
    if (scene_index[p] != 0 && kind != pyvqa::Kind::error) fine = false;
    if (!fine)
      wrong("kind " + std::to_string(out.kind[p]) + " with value " + std::to_string(value));
  }
}

void check_verified(const Setting& s, const Outputs& out, const std::vector<int8_t>& status,
                    const std::vector<int64_t>& scene_index) {
  if (!s.clevr || s.damaged) return;
  for (size_t p = 0; p < status.size(); ++p) {
    if (status[p] < 0 || status[p] > static_cast<int>(pyvqa::Reason::missing_data))
      wrong("verify gives no reason");
    if (status[p] != 0 || scene_index[p] != 0 || out.kind[p] != 0) continue;
    if (out.value[p] != static_cast<int>(pyvqa::Reason::empty_set))
      wrong("a verified program failed");
  }
}

// One scene, one table, some programs, all kernels.
void check_once(Random& random, const std::vector<Kernel>& kernels, Tally& tally) {
  const Setting s = draw_setting(random);
  const Words packed = s.damaged
                           ? execute_random::damaged_scene(random, s.objects, s.width)
                           : execute_random::scene(random, s.objects, s.width, s.clevr ? 0 : 3);
  const auto scene = exact(packed);
  const int64_t scene_words = static_cast<int64_t>(packed.size());
  std::vector<int64_t> words = s.clevr ? execute_random::clevr_table()
                                       : execute_random::wild_table(random, 50, random.chance(70));
  const std::vector<uint8_t> ids = draw_programs(random, s, words);
  for (int64_t& word : words) word = pyvqa::checked_instruction(word);
  const auto table = exact(words);
  const auto programs = exact(ids);
  const int64_t offsets[] = {0, scene_words};
  std::vector<int64_t> scene_index(kPrograms, 0);
  for (int64_t& index : scene_index)
    if (random.chance(2)) index = static_cast<int64_t>(random.next()) >> random.below(63);

  pyvqa::Job job{};
  job.programs = programs.get();
  job.rows = kPrograms;
  job.length = s.length;
  job.table = table.get();
  job.vocabulary = static_cast<int64_t>(words.size());
  job.scene_index = scene_index.data();
  job.words = scene.get();
  job.offsets = offsets;
  job.scenes = 1;
  job.word_count = scene_words;
  job.end_id = s.clevr ? job.vocabulary - 1 : -1;

  Outputs first(s, kPrograms, false);
  std::vector<int8_t> status(kPrograms, 99);
  const int registers = s.clevr ? 2 : pyvqa::kRegisters;
  for (size_t k = 0; k < kernels.size(); ++k)
    for (const bool traced : {false, true}) {
      Outputs out(s, kPrograms, traced);
      const pyvqa::Results results = out.pointers();
      kernels[k](pyvqa::ExecuteCall{&job, &results, s.width, registers, s.id_bytes}, 0, kPrograms);
      if (k == 0 && !traced) first = out;
      if (out.kind != first.kind || out.value != first.value || out.sets != first.sets)
        wrong(traced ? "the trace changes results" : "instruction sets differ");
    }
  pyvqa::verify_rows_base(pyvqa::ExecuteCall{&job, nullptr, 1, 2, s.id_bytes}, status.data(), 0,
                          kPrograms);
  check_ranges(s, first, scene_index);
  check_verified(s, first, status, scene_index);
  tally.programs += kPrograms;
  for (const uint8_t kind : first.kind) ++tally.kinds[kind];
}

std::vector<Kernel> kernels_of_this_machine() {
  std::vector<Kernel> kernels{pyvqa::execute_rows_base};
#if defined(__x86_64__) && !defined(PYVQA_BASE_ONLY)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) kernels.push_back(pyvqa::execute_rows_avx2);
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    kernels.push_back(pyvqa::execute_rows_avx512);
#endif
  return kernels;
}

}  // namespace

#if defined(PYVQA_LIBFUZZER)
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Kernel> kernels = kernels_of_this_machine();
  Random random(data, size);
  Tally tally;
  check_once(random, kernels, tally);
  return 0;
}
#else
int main(int argc, char** argv) {
  const int64_t programs = argc > 1 ? std::atoll(argv[1]) : 100000;
  Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const std::vector<Kernel> kernels = kernels_of_this_machine();
  Tally tally;
  while (tally.programs < programs) check_once(random, kernels, tally);
  std::printf(
      "execute_fuzz: %lld programs, %zu instruction sets; error %lld none %lld integer %lld string "
      "%lld object %lld set %lld boolean %lld\n",
      static_cast<long long>(tally.programs), kernels.size(),
      static_cast<long long>(tally.kinds[0]), static_cast<long long>(tally.kinds[1]),
      static_cast<long long>(tally.kinds[2]), static_cast<long long>(tally.kinds[3]),
      static_cast<long long>(tally.kinds[4]), static_cast<long long>(tally.kinds[5]),
      static_cast<long long>(tally.kinds[6]));
  return 0;
}
#endif
