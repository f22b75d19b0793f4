// A function on a stack of its own, which can stop in the middle and go on later.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <functional>
#include <memory>

namespace trine::on_cpu {

// Switches with _setjmp and _longjmp: swapcontext asks the system for the signal mask, and takes 20 times as long.
class Fiber {
 public:
  // REQUIRES: run() lets no exception out.
  explicit Fiber(std::function<void()> run);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Calls run(), or goes on with it after its pause(). Returns when it pauses or ends; after its end it can be
  // resumed again, and calls run() again. A fiber may be destroyed while it pauses: its objects are not.
  void resume();
  void pause();  // called by run()

 private:
  static void enter();

  std::function<void()> run_;
  std::unique_ptr<std::byte[]> stack_;
  std::jmp_buf inside_, outside_;
};

}  // namespace trine::on_cpu
