// Ends the process when a call that has no timeout of its own does not return: MPI's beginning and end, and the
// making of communicators.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace trine {

// A thread, made by main before anything else: a rank may be stopped at any moment, and nobody may wait for it for
// ever. One call is watched at a time.
class Watchdog {
 public:
  using Duration = std::chrono::duration<double>;
  // Asked again and again once `call` has lasted for longer than the limit, by `overdue`: the exit code to end with
  // (then it has said why), or nothing to wait on. On the watchdog's thread.
  using Verdict = std::function<std::optional<int>(const std::string& call, Duration lasted, Duration overdue)>;

  Watchdog(Duration limit, Verdict verdict);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void set_limit(Duration limit);

  class Watch {
   public:
    explicit Watch(Watchdog* watchdog) : watchdog_(watchdog) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
      if (watchdog_ != nullptr) watchdog_->end();
    }

   private:
    Watchdog* watchdog_;
  };
  // `call` runs for as long as the result lives; `watchdog` nullptr: nobody watches.
  [[nodiscard]] static Watch over(Watchdog* watchdog, const char* call);

 private:
  void begin(const char* call);
  void end();
  void run();

  const Verdict verdict_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Duration limit_;
  std::string call_;  // empty: none
  int64_t begin_ns_ = 0;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace trine
