// Fibers: functions with stacks of their own that can stop in the middle. AddressSanitizer is told
// of every change of stack, so kernels can be checked with it.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host_cuda {

class Fiber {
 public:
  // `body` must never return: it ends with an eternal loop around leave().
  explicit Fiber(std::function<void()> body)
      : body_(std::move(body)), stack_(new char[kStackBytes]) {
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.get();
    inside_.uc_stack.ss_size = kStackBytes;
    inside_.uc_link = nullptr;
    makecontext(&inside_, &Fiber::start, 0);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the body until it leaves.
  void enter() {
    running_ = this;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes);
    swapcontext(&outside_, &inside_);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
    swapcontext(&outside_, &inside_);
#endif
  }

  // Called by the body: back to whoever entered, until entered again.
  void leave() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, outer_stack_, outer_bytes_);
    swapcontext(&inside_, &outside_);
    __sanitizer_finish_switch_fiber(fake_stack, &outer_stack_, &outer_bytes_);
#else
    swapcontext(&inside_, &outside_);
#endif
  }

 private:
  static void start() {
    Fiber* self = running_;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self->outer_stack_, &self->outer_bytes_);
#endif
    self->body_();
  }

  static constexpr size_t kStackBytes = size_t{1} << 18;
  static inline Fiber* running_ = nullptr;

  std::function<void()> body_;
  std::unique_ptr<char[]> stack_;
  ucontext_t inside_{}, outside_{};
#if defined(__SANITIZE_ADDRESS__)
  const void* outer_stack_ = nullptr;
  size_t outer_bytes_ = 0;
#endif
};

}  // namespace host_cuda
