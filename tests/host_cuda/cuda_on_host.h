// CUDA's execution model for an ordinary C++ compiler, so that kernels can be run, compared with
// their CPU twins and put under sanitizers on a machine without a GPU.
//
// Compile a .cu file with `g++ -x c++ -I tests/host_cuda/include`; kernels are launched by
// cudaLaunchKernelEx (csrc/common/launch.h), because <<<>>> is no C++. Blocks run one after the
// other. The threads of a block run one after the other too, each until it waits for others: a
// thread that waits at a barrier or in a warp-wide operation keeps its stack (fiber.h) and
// continues when its partners are there. The order of the threads can be turned round or drawn
// (PYVQA_HOST_CUDA_ORDER = forward, backward or a seed): a kernel with a barrier missing gives
// other results under another order. Shared memory is filled with a pattern before each block, so
// reading what was never written shows as well. Misuse that hangs or is undefined on a device (a
// barrier that some threads never reach, a warp-wide operation by a lane outside its mask) ends the
// process with one line.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fiber.h"

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __constant__ static
#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer guards the ends of plain variables only, which is worth more than the pattern.
#define __shared__ static
#else
#define __shared__ static __attribute__((section("host_cuda_shared")))
extern "C" __attribute__((weak)) char __start_host_cuda_shared[];
extern "C" __attribute__((weak)) char __stop_host_cuda_shared[];
#endif

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace host_cuda {

[[noreturn]] inline void die(const std::string& what) {
  std::fprintf(stderr, "host_cuda: %s\n", what.c_str());
  std::abort();
}

enum class Wait { nothing, block, warp };
enum class Collective { sync, shuffle, vote, match };

using Gathered = std::array<uint64_t, 32>;
inline constexpr uint64_t kAbsentLane =
    0xdeaddeaddeaddeadull;  // what a lane that has ended would give

struct Thread {
  uint3 index;
  Fiber* fiber = nullptr;
  bool done = false;
  Wait wait = Wait::nothing;
  Collective collective = Collective::sync;
  uint32_t mask = 0;
  uint64_t given = 0;                    // what it brings to the operation it waits in
  Gathered gathered{};                   // what all lanes of the mask brought
  uint32_t present = 0;                  // the lanes of the mask that took part
  int true_count = 0, thread_count = 0;  // result of a block-wide vote
};

// The block that is running.
class Block {
 public:
  static Block& current() {
    static Block block;
    return block;
  }

  void run(const std::function<void()>& kernel, dim3 shape) {
    threads_.assign(size_t{shape.x} * shape.y * shape.z, Thread{});
    for (size_t t = 0; t < threads_.size(); ++t) {
      const unsigned id = static_cast<unsigned>(t);
      threads_[t].index = {id % shape.x, id / shape.x % shape.y, id / (shape.x * shape.y)};
    }
    kernel_ = &kernel;
    started_ = 0;
    draw_order();
    while (started_ < threads_.size()) free_fiber().enter();
    while (std::any_of(threads_.begin(), threads_.end(), [](const Thread& t) { return !t.done; })) {
      if (!release()) report_deadlock();
      draw_order();
      for (const size_t t : order_) {
        if (threads_[t].done || threads_[t].wait != Wait::nothing) continue;
        self_ = t;
        threadIdx = threads_[t].index;
        threads_[t].fiber->enter();
      }
    }
  }

  Thread& self() { return threads_[self_]; }
  uint32_t lane() const { return static_cast<uint32_t>(self_ % 32); }

  // Waits until every thread of the block that has not ended is here.
  const Thread& barrier(bool vote) {
    self().given = vote ? 1 : 0;
    return wait_for(Wait::block);
  }

  // Waits until every lane of `mask` that has not ended is in the same operation.
  const Thread& warp(Collective collective, uint32_t mask, uint64_t given) {
    if (!(mask >> lane() & 1)) die(where(self_) + " is not in the mask of its warp-wide operation");
    self().collective = collective;
    self().mask = mask;
    self().given = given;
    return wait_for(Wait::warp);
  }

 private:
  const Thread& wait_for(Wait what) {
    const size_t me = self_;
    threads_[me].wait = what;
    threads_[me].fiber->leave();
    return threads_[me];
  }

  // A fiber runs fresh threads until one of them waits; then that thread owns it.
  void run_fresh_threads(Fiber& fiber) {
    while (started_ < threads_.size()) {
      const size_t me = order_[started_++];
      self_ = me;
      threads_[me].fiber = &fiber;
      threadIdx = threads_[me].index;
      (*kernel_)();
      threads_[me].done = true;
    }
  }

  Fiber& free_fiber() {
    if (idle_.empty()) {
      const size_t at = fibers_.size();
      fibers_.push_back(std::make_unique<Fiber>([this, at] {
        for (;;) {
          Fiber& fiber = *fibers_[at];
          run_fresh_threads(fiber);
          idle_.push_back(&fiber);
          fiber.leave();
        }
      }));
      idle_.push_back(fibers_.back().get());
    }
    Fiber& fiber = *idle_.back();
    idle_.pop_back();
    return fiber;
  }

  bool release() {
    bool any = release_barrier();
    for (size_t first = 0; first < threads_.size(); first += 32)
      for (size_t t = first; t < std::min(first + 32, threads_.size()); ++t)
        if (threads_[t].wait == Wait::warp)
          any |= release_group(first, threads_[t].mask, threads_[t].collective);
    return any;
  }

  bool release_barrier() {
    int votes = 0, alive = 0;
    for (const Thread& t : threads_) {
      if (t.done) continue;
      if (t.wait != Wait::block) return false;
      ++alive;
      votes += t.given != 0;
    }
    for (Thread& t : threads_) {
      t.wait = Wait::nothing;
      t.true_count = votes;
      t.thread_count = alive;
    }
    return alive > 0;
  }

  bool release_group(size_t first, uint32_t mask, Collective collective) {
    Gathered gathered;
    gathered.fill(kAbsentLane);
    uint32_t present = 0;
    for (size_t lane = 0; lane < 32 && first + lane < threads_.size(); ++lane) {
      const Thread& t = threads_[first + lane];
      if (!(mask >> lane & 1) || t.done) continue;
      if (t.wait != Wait::warp || t.mask != mask || t.collective != collective) return false;
      gathered[lane] = t.given;
      present |= 1u << lane;
    }
    for (size_t lane = 0; lane < 32; ++lane) {
      if (!(present >> lane & 1)) continue;
      Thread& t = threads_[first + lane];
      t.wait = Wait::nothing;
      t.gathered = gathered;
      t.present = present;
    }
    return true;
  }

  void draw_order() {
    static const char* asked = std::getenv("PYVQA_HOST_CUDA_ORDER");
    const std::string name = asked == nullptr ? "forward" : asked;
    order_.resize(threads_.size());
    for (size_t t = 0; t < order_.size(); ++t) order_[t] = t;
    if (name == "forward") return;
    if (name == "backward") return std::reverse(order_.begin(), order_.end());
    if (random_ == 0) random_ = std::strtoull(name.c_str(), nullptr, 10) * 2 + 1;
    for (size_t t = order_.size(); t > 1; --t) {
      random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
      std::swap(order_[t - 1], order_[(random_ >> 33) % t]);
    }
  }

  std::string where(size_t t) const {
    const uint3 i = threads_[t].index;
    return "thread (" + std::to_string(i.x) + "," + std::to_string(i.y) + "," +
           std::to_string(i.z) + ") of block (" + std::to_string(blockIdx.x) + "," +
           std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z) + ")";
  }

  [[noreturn]] void report_deadlock() const {
    for (size_t t = 0; t < threads_.size(); ++t)
      if (!threads_[t].done)
        die(where(t) + (threads_[t].wait == Wait::block
                            ? " waits at a barrier that others never reach"
                            : " waits for lanes of its mask that never come"));
    die("no thread can continue");
  }

  std::vector<Thread> threads_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;  // those that own no waiting thread
  std::vector<size_t> order_;
  const std::function<void()>* kernel_ = nullptr;
  size_t started_ = 0, self_ = 0;
  uint64_t random_ = 0;
};

struct DynamicShared {
  std::unique_ptr<unsigned char[]> memory;
  size_t bytes = 0;
};
inline DynamicShared dynamic_shared_memory;
inline unsigned char* dynamic_shared() { return dynamic_shared_memory.memory.get(); }

inline void fill_shared() {
  constexpr int kPattern = 0xa5;
#if !defined(__SANITIZE_ADDRESS__)
  if (__start_host_cuda_shared != nullptr)
    std::memset(__start_host_cuda_shared, kPattern,
                static_cast<size_t>(__stop_host_cuda_shared - __start_host_cuda_shared));
#endif
  if (dynamic_shared_memory.bytes > 0)
    std::memset(dynamic_shared(), kPattern, dynamic_shared_memory.bytes);
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T shuffle(unsigned mask, T value, int source) {
  const Thread& me = Block::current().warp(Collective::shuffle, mask, to_bits(value));
  return from_bits<T>(me.gathered[static_cast<size_t>(source)]);
}

// The lane of its segment of `width` lanes that a shuffle reads; its own where that is outside.
inline int segment_start(int width) {
  return static_cast<int>(Block::current().lane()) & ~(width - 1);
}

}  // namespace host_cuda

#include "cuda_api_on_host.h"
