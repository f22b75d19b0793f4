#include "tests/cuda_on_cpu/fiber.h"

#include <ucontext.h>

namespace trine::on_cpu {
namespace {

constexpr size_t kStackBytes = 256 << 10;  // of which little is ever touched
thread_local Fiber* entering = nullptr;    // makecontext passes no pointers

}  // namespace

Fiber::Fiber(std::function<void()> run)
    : run_(std::move(run)), stack_(std::make_unique_for_overwrite<std::byte[]>(kStackBytes)) {
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stack_.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, &Fiber::enter, 0);
  entering = this;
  if (_setjmp(outside_) == 0) setcontext(&context);
}

// Runs on the new stack, and comes out as soon as it can be resumed.
void Fiber::enter() {
  Fiber& own = *entering;
  for (;;) {
    own.pause();
    own.run_();
  }
}

void Fiber::resume() {
  if (_setjmp(outside_) == 0) _longjmp(inside_, 1);
}

void Fiber::pause() {
  if (_setjmp(inside_) == 0) _longjmp(outside_, 1);
}

}  // namespace trine::on_cpu
