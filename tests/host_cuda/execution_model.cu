// Checks cuda_on_host.h: every feature that kernels may use, each against a result worked out by
// hand. The same file compiles with nvcc, so on a machine with a GPU the expectations themselves
// can be checked. `execution_model` runs all checks; with a word it runs one misuse (see
// test_host_cuda.py).
#include "common/launch.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "device_array.h"

namespace {

constexpr unsigned kAll = 0xffffffffu;
int failures = 0;

template <class T>
void expect_equal(const char* what, const std::vector<T>& got, const std::vector<T>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i < got.size() && got[i] == wanted[i]) continue;
    std::printf("%s: entry %zu differs\n", what, i);
    ++failures;
    return;
  }
}

// Sum of a block in shared memory: right only if every barrier holds.
__global__ void block_sum(const int* values, int* sums) {
  __shared__ int partial[256];
  partial[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = partial[0];
}

void check_block_sum() {
  std::vector<int> values(4 * 256), wanted(4, 0);
  for (int i = 0; i < 4 * 256; ++i) wanted[i / 256] += values[i] = i * 7 % 101;
  const DeviceArray<int> from(values), to(std::vector<int>(4));
  require(pyvqa::launch(block_sum, 4, 256, 0, nullptr, from.data(), to.data()), "block_sum");
  expect_equal("block sum", to.host(), wanted);
}

// The barrier between the writes and the reads is missing: the order of the threads shows.
__global__ void without_barrier(int* out) {
  __shared__ int mail[64];
  mail[threadIdx.x] = 0;
  __syncthreads();
  mail[threadIdx.x] = static_cast<int>(threadIdx.x) + 1;
  out[threadIdx.x] = mail[63 - threadIdx.x];
}

__global__ void shuffles(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int* row = out + lane * 6;
  row[0] = __shfl_sync(kAll, lane * 10, 5);
  row[1] = __shfl_up_sync(kAll, lane, 3);
  row[2] = __shfl_down_sync(kAll, lane, 4, 8);
  row[3] = __shfl_xor_sync(kAll, lane, 16);
  row[4] = __shfl_sync(kAll, lane, 1, 8);
  row[5] = static_cast<int>(__shfl_sync(kAll, static_cast<double>(lane) / 4, 6) * 4);
}

void check_shuffles() {
  std::vector<int> wanted;
  for (int lane = 0; lane < 32; ++lane) {
    const int down = lane % 8 + 4 < 8 ? lane + 4 : lane;
    for (const int v : {50, lane >= 3 ? lane - 3 : lane, down, lane ^ 16, lane / 8 * 8 + 1, 6})
      wanted.push_back(v);
  }
  const DeviceArray<int> out(std::vector<int>(32 * 6));
  require(pyvqa::launch(shuffles, 1, 32, 0, nullptr, out.data()), "shuffles");
  expect_equal("shuffles", out.host(), wanted);
}

// Two halves of a warp vote apart from each other, in different code.
__global__ void votes(unsigned* out) {
  const unsigned lane = threadIdx.x;
  unsigned* row = out + lane * 5;
  if (lane < 16) {
    row[0] = __ballot_sync(0x0000ffffu, lane % 3 == 0);
    row[1] = static_cast<unsigned>(__any_sync(0x0000ffffu, lane == 15));
  } else {
    row[0] = __ballot_sync(0xffff0000u, lane % 5 == 0);
    row[1] = static_cast<unsigned>(__any_sync(0xffff0000u, lane == 3));
  }
  __syncwarp();
  row[2] = static_cast<unsigned>(__all_sync(kAll, lane < 32));
  row[3] = static_cast<unsigned>(__all_sync(kAll, lane < 31));
  row[4] = __match_any_sync(kAll, lane % 4);
}

void check_votes() {
  std::vector<unsigned> wanted;
  for (unsigned lane = 0; lane < 32; ++lane) {
    const bool low = lane < 16;
    for (const unsigned v : {low ? 0x9249u : 1u << 20 | 1u << 25 | 1u << 30, low ? 1u : 0u, 1u, 0u,
                             0x11111111u << lane % 4})
      wanted.push_back(v);
  }
  const DeviceArray<unsigned> out(std::vector<unsigned>(32 * 5));
  require(pyvqa::launch(votes, 1, 32, 0, nullptr, out.data()), "votes");
  expect_equal("votes", out.host(), wanted);
}

// A block of one and a half warps, of which some threads end before the barrier.
__global__ void block_votes(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  if (t >= 40) return;
  int* row = out + t * 3;
  row[0] = __syncthreads_count(t % 2);
  row[1] = __syncthreads_or(t == 39);
  row[2] = __syncthreads_and(t < 39);
}

void check_block_votes() {
  std::vector<int> wanted;
  for (int t = 0; t < 40; ++t)
    for (const int v : {20, 1, 0}) wanted.push_back(v);
  const DeviceArray<int> out(std::vector<int>(40 * 3));
  require(pyvqa::launch(block_votes, 1, 48, 0, nullptr, out.data()), "block_votes");
  std::vector<int> got = out.host();
  for (size_t i = 1; i < got.size(); ++i)
    got[i] = i % 3 == 0 ? got[i] : got[i] != 0;  // "non-zero" is true
  expect_equal("block votes", got, wanted);
}

__global__ void atomics(unsigned* histogram, unsigned long long* bits, int* extremes, int* order) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&histogram[i % 7], 1u);
  atomicOr(&bits[0], 1ull << (i % 64));
  atomicAnd(&bits[1], ~(1ull << (i % 3)));
  atomicMax(&extremes[0], static_cast<int>(i * 37 % 101));
  atomicMin(&extremes[1], -static_cast<int>(i));
  if (atomicCAS(&order[0], 0, 1) == 0) atomicExch(&order[1], 5);
}

void check_atomics() {
  const DeviceArray<unsigned> histogram(std::vector<unsigned>(7));
  const DeviceArray<unsigned long long> bits(std::vector<unsigned long long>{0, ~0ull});
  const DeviceArray<int> extremes(std::vector<int>(2)), order(std::vector<int>(2));
  require(pyvqa::launch(atomics, 3, 70, 0, nullptr, histogram.data(), bits.data(), extremes.data(),
                        order.data()),
          "atomics");
  expect_equal("histogram", histogram.host(), std::vector<unsigned>(7, 30));
  expect_equal("bits", bits.host(), {~0ull, ~7ull});
  expect_equal("extremes", extremes.host(), {100, -209});
  expect_equal("exchange", order.host(), {1, 5});
}

// Turns a row round in dynamic shared memory, block shape with three dimensions.
__global__ void reverse_rows(const double* from, double* to, int length) {
  double* row = pyvqa::dynamic_shared<double>();
  const int t =
      static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
  const int64_t first = (int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * length;
  row[t] = from[first + t];
  __syncthreads();
  to[first + t] = row[length - 1 - t];
}

void check_dynamic_shared() {
  constexpr int kLength = 4 * 3 * 2, kRows = 3 * 5;
  std::vector<double> values(kRows * kLength), wanted(kRows * kLength);
  for (int i = 0; i < kRows * kLength; ++i) {
    values[i] = i * 0.5;
    wanted[i / kLength * kLength + kLength - 1 - i % kLength] = i * 0.5;
  }
  const DeviceArray<double> from(values), to(std::vector<double>(values.size()));
  require(pyvqa::launch(reverse_rows, dim3(3, 5), dim3(4, 3, 2), kLength * sizeof(double), nullptr,
                        from.data(), to.data(), kLength),
          "reverse_rows");
  expect_equal("dynamic shared memory", to.host(), wanted);
}

void check_configurations() {
  const DeviceArray<int> out(std::vector<int>(64));
  const cudaError_t results[] = {
      pyvqa::launch(without_barrier, 0, 64, 0, nullptr, out.data()),
      pyvqa::launch(without_barrier, 1, 1025, 0, nullptr, out.data()),
      pyvqa::launch(without_barrier, dim3(1, 65536), 64, 0, nullptr, out.data())};
  for (const cudaError_t status : results)
    if (status == cudaSuccess) {
      std::printf("an impossible launch was accepted\n");
      ++failures;
    }
  if (cudaGetLastError() == cudaSuccess || cudaGetLastError() != cudaSuccess) {
    std::printf("a refused launch must leave its error once\n");
    ++failures;
  }
}

// ---- misuse

__global__ void barrier_some_miss(int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncwarp(0xaaaaaaaau);
    __shfl_sync(kAll, 0, 0);  // waits for the even lanes, which wait at the barrier
  }
  out[threadIdx.x] = 1;
}

__global__ void lane_outside_mask(unsigned* out) {
  out[threadIdx.x] = __ballot_sync(0x0000ffffu, 1);
}

__global__ void beyond_shared(int* out) {
  __shared__ int small[8];
  small[threadIdx.x & 7] = 1;
  __syncthreads();
  out[threadIdx.x] = small[threadIdx.x];  // 32 threads, 8 entries
}

int misuse(const std::string& name) {
  const DeviceArray<int> out(std::vector<int>(64));
  if (name == "deadlock")
    require(pyvqa::launch(barrier_some_miss, 1, 32, 0, nullptr, out.data()), "launch");
  if (name == "mask")
    require(pyvqa::launch(lane_outside_mask, 1, 32, 0, nullptr,
                          reinterpret_cast<unsigned*>(out.data())),
            "launch");
  if (name == "overflow")
    require(pyvqa::launch(beyond_shared, 1, 32, 0, nullptr, out.data()), "launch");
  if (name == "race") {
    require(pyvqa::launch(without_barrier, 1, 64, 0, nullptr, out.data()), "launch");
    for (const int v : out.host()) std::printf("%d ", v);
    std::printf("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) return misuse(argv[1]);
  check_block_sum();
  check_shuffles();
  check_votes();
  check_block_votes();
  check_atomics();
  check_dynamic_shared();
  check_configurations();
  if (failures == 0) std::printf("execution model: all checks passed\n");
  return failures == 0 ? 0 : 1;
}
