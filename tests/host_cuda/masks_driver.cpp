// Holds the CUDA side of the mask ops to the CPU kernels, bit for bit, on random masks, run lists,
// orders and overlaps, sensible and not. Every array is an allocation of its own, so a step outside
// shows under a sanitizer.
// usage: masks_driver [cases] [seed]
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "device_array.h"
#include "masks/masks_cuda.h"
#include "masks/masks_kernel.h"
#include "masks/match.h"
#include "masks/planes.h"

namespace {

using namespace pyvqa::masks;
using Random = std::mt19937_64;

int64_t below(Random& random, int64_t limit) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
}

bool same(bool equal, const char* what) {
  if (!equal) std::printf("%s: device and CPU differ\n", what);
  return equal;
}

// Masks of one size as each side holds them.
struct Sample {
  int64_t count, height, width;
  std::vector<uint8_t> bytes;
  std::vector<uint64_t> bits, scratch;
  std::vector<int32_t> extents;

  Sample(Random& random, int64_t n, int64_t h, int64_t w) : count(n), height(h), width(w) {
    bytes.resize(static_cast<size_t>(n * h * w));
    const int64_t rarity = 1 + below(random, 6);
    for (uint8_t& byte : bytes) byte = below(random, rarity) == 0 ? 1 + random() % 255 : 0;
    bits.resize(static_cast<size_t>(n * h * words_for(w)));
    extents.resize(static_cast<size_t>(n * kExtentFields));
    scratch.resize(static_cast<size_t>(Scratch::words(h, w)));
    pack_masks_base(dense(bytes.data()), bits.data(), extents.data(), scratch.data(), 0, n);
  }

  DenseMasks dense(const uint8_t* at) const {
    return {at, count, height, width, height * width, width, 1};
  }
  BitMasks packed(const uint64_t* at) const { return {at, count, height, width}; }
};

bool check_packing(const Sample& s) {
  const DeviceArray bytes(s.bytes);
  const DeviceArray bits(std::vector<uint64_t>(s.bits.size(), 7));
  const DeviceArray extents(std::vector<int32_t>(s.extents.size(), 7));
  require(launch_pack(s.dense(bytes.data()), bits.data(), nullptr), "pack");
  require(launch_extents(s.packed(bits.data()), extents.data(), nullptr), "extents");
  require(launch_unpack(s.packed(bits.data()), bytes.data(), nullptr), "unpack");
  std::vector<uint8_t> ones = s.bytes;
  for (uint8_t& byte : ones) byte = byte != 0;
  return same(bits.host() == s.bits, "pack") && same(extents.host() == s.extents, "extents") &&
         same(bytes.host() == ones, "unpack");
}

int32_t* room_in(void* owner, int64_t count) {
  auto& runs = *static_cast<std::vector<int32_t>*>(owner);
  runs.resize(runs.size() + static_cast<size_t>(count));
  return runs.data() + runs.size() - count;
}

bool check_runs(Sample& s, bool by_rows) {
  std::vector<int32_t> runs;
  std::vector<int64_t> offsets{0};
  const RunSink sink{&room_in, &runs};
  for (int64_t n = 0; n < s.count; ++n) {
    runs_of_bits_base(s.packed(s.bits.data()), by_rows, s.scratch.data(), sink, n);
    offsets.push_back(static_cast<int64_t>(runs.size()));
  }
  const DeviceArray bits(s.bits);
  const DeviceArray found_offsets(std::vector<int64_t>(offsets.size(), 7));
  int64_t total = 0;
  require(launch_run_offsets(s.packed(bits.data()), by_rows, found_offsets.data(), &total, nullptr),
          "run offsets");
  if (!same(total == offsets.back() && found_offsets.host() == offsets, "offsets")) return false;
  const DeviceArray found(std::vector<int32_t>(runs.size(), 7));
  require(launch_write_runs(s.packed(bits.data()), by_rows, found_offsets.data(), found.data(),
                            nullptr),
          "write runs");
  return same(found.host() == runs, "runs");
}

bool check_run_lists(Random& random, const Sample& s, bool by_rows) {
  std::vector<int32_t> runs(static_cast<size_t>(below(random, 600)));
  for (int32_t& run : runs) {
    const bool wild = below(random, 200) == 0;
    run = wild ? static_cast<int32_t>(random()) : static_cast<int32_t>(below(random, 40)) - 3;
  }
  std::vector<int64_t> offsets(static_cast<size_t>(s.count) + 1);
  for (int64_t& offset : offsets) offset = below(random, 700) - 50;
  const RunLists given{runs.data(), offsets.data(), static_cast<int64_t>(runs.size()),
                       s.count,     s.height,       s.width,
                       by_rows};
  std::vector<uint64_t> bits(s.bits.size()), scratch(s.scratch.size());
  std::vector<int32_t> extents(s.extents.size());
  bits_of_runs_base(given, bits.data(), extents.data(), scratch.data(), 0, s.count);
  const DeviceArray device_runs(runs);
  const DeviceArray device_offsets(offsets);
  const DeviceArray found(std::vector<uint64_t>(bits.size(), 7));
  RunLists lists = given;
  lists.runs = device_runs.data();
  lists.offsets = device_offsets.data();
  require(launch_bits_of_runs(lists, found.data(), nullptr), "bits of runs");
  return same(found.host() == bits, "bits of runs");
}

bool check_overlaps(Random& random, const Sample& a, const Sample& b) {
  const size_t pairs = static_cast<size_t>(a.count * b.count);
  std::vector<uint8_t> crowd(static_cast<size_t>(b.count));
  for (uint8_t& flag : crowd) flag = random() & 1;
  std::vector<double> expected(pairs, 7);
  IouCall call{};
  call.a = a.packed(a.bits.data());
  call.b = b.packed(b.bits.data());
  call.a_extents = a.extents.data();
  call.b_extents = b.extents.data();
  call.crowd = random() & 1 ? crowd.data() : nullptr;
  call.iomin = random() & 1;
  call.out = expected.data();
  mask_iou_rows_base(call, 0, a.count);
  const DeviceArray a_bits(a.bits), b_bits(b.bits);
  const DeviceArray a_extents(a.extents), b_extents(b.extents);
  const DeviceArray device_crowd(crowd);
  const DeviceArray out(std::vector<double>(pairs, 7));
  call.a.bits = a_bits.data();
  call.b.bits = b_bits.data();
  call.a_extents = a_extents.data();
  call.b_extents = b_extents.data();
  if (call.crowd != nullptr) call.crowd = device_crowd.data();
  call.out = out.data();
  require(launch_iou(call, nullptr), "iou");
  return same(out.host() == expected, "iou");
}

bool check_suppression(Random& random, const Sample& s) {
  std::vector<int64_t> order(static_cast<size_t>(1 + below(random, 90)));
  for (int64_t& mask : order) mask = below(random, s.count + 3) - 1;
  std::vector<int64_t> expected(order.size(), 7);
  NmsCall call{};
  call.masks = s.packed(s.bits.data());
  call.extents = s.extents.data();
  call.order = order.data();
  call.order_count = static_cast<int64_t>(order.size());
  call.iou_threshold = 0.1 * static_cast<double>(below(random, 11));
  call.iomin_threshold = 0.1 * static_cast<double>(below(random, 11));
  call.keep = expected.data();
  const int64_t kept = mask_nms_base(call);
  const DeviceArray bits(s.bits);
  const DeviceArray extents(s.extents);
  const DeviceArray device_order(order), keep(std::vector<int64_t>(order.size(), 7));
  const DeviceArray drops(
      std::vector<uint64_t>(static_cast<size_t>(nms_words(call.order_count)), 7));
  const DeviceArray device_kept(std::vector<int64_t>(1, 7));
  call.masks.bits = bits.data();
  call.extents = extents.data();
  call.order = device_order.data();
  call.keep = keep.data();
  int64_t found = 0;
  require(launch_nms(call, drops.data(), device_kept.data(), &found, nullptr), "nms");
  return same(found == kept && keep.host() == expected, "nms");
}

struct Alone {
  static constexpr int64_t index = 0, size = 1;
  void wait() const {}
  Nearest nearest(const Nearest& own) const { return own; }
};

void match_on_cpu(const Overlaps& o, MatchRule rule, std::vector<int64_t>& matched) {
  if (rule == MatchRule::optimal) {
    std::vector<int64_t> memory(static_cast<size_t>(assignment_words(o.rows, o.columns)));
    return Assignment<Alone>(o, Alone{}, memory.data()).run(matched.data());
  }
  std::vector<int64_t> taken(static_cast<size_t>(o.columns), -1);
  std::fill(matched.begin(), matched.end(), -1);
  if (rule != MatchRule::greedy) {
    for (int64_t i = 0; i < o.rows; ++i) {
      matched[static_cast<size_t>(i)] =
          rule == MatchRule::first ? first_column(o, i) : best_column(o, i, nullptr);
    }
    return;
  }
  for (int64_t round = 0; round < o.rows; ++round) {  // the largest pair still free
    int64_t row = -1, column = -1;
    for (int64_t i = 0; i < o.rows; ++i) {
      if (matched[static_cast<size_t>(i)] >= 0) continue;
      const int64_t j = best_column(o, i, taken.data());
      if (j >= 0 && (row < 0 || o.at(i, j) > o.at(row, column))) row = i, column = j;
    }
    if (row < 0) return;
    matched[static_cast<size_t>(row)] = column;
    taken[static_cast<size_t>(column)] = row;
  }
}

bool check_matching(Random& random, MatchRule rule) {
  const int64_t rows = 1 + below(random, 40), columns = 1 + below(random, 300);
  const int64_t steps = 1 + below(random, 30);
  std::vector<double> values(static_cast<size_t>(rows * columns));
  for (double& value : values) {
    value = static_cast<double>(below(random, steps + 1)) / static_cast<double>(steps);
    if (below(random, 50) == 0) value = random() & 1 ? NAN : HUGE_VAL;
  }
  Overlaps overlaps{values.data(), rows, columns, 0.3};
  std::vector<int64_t> expected(static_cast<size_t>(rows));
  match_on_cpu(overlaps, rule, expected);
  const DeviceArray table(values);
  const DeviceArray found(std::vector<int64_t>(expected.size(), 7));
  const int64_t words = rule == MatchRule::optimal ? assignment_words(rows, columns) : 2 * columns;
  const DeviceArray memory(std::vector<int64_t>(static_cast<size_t>(words), 7));
  overlaps.values = table.data();
  require(launch_match(overlaps, rule, memory.data(), found.data(), nullptr), "match");
  return same(found.host() == expected, "match");
}

bool check(uint64_t seed) {
  Random random(seed);
  const int64_t height = 1 + below(random, 70), width = 1 + below(random, 140);
  Sample a(random, 1 + below(random, 4), height, width);
  const Sample b(random, 1 + below(random, 4), height, width);
  const bool by_rows = random() & 1;
  return check_packing(a) && check_runs(a, by_rows) && check_run_lists(random, a, by_rows) &&
         check_overlaps(random, a, b) && check_suppression(random, a) &&
         check_matching(random, static_cast<MatchRule>(seed % 4));
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 40;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (int k = 0; k < cases; ++k) {
    if (check(seed + static_cast<uint64_t>(k))) continue;
    std::printf("case %d of seed %llu\n", k, static_cast<unsigned long long>(seed));
    return 1;
  }
  std::printf("%d cases are equal\n", cases);
  return 0;
}
