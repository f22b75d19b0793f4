// Waits on links that are slow on purpose: what moves is no hang, what does not is one.
#include <atomic>
#include <gtest/gtest.h>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "comm/communicator.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"

namespace trine {
namespace {

// Rank 1 sends three time-outs late; `last_progress_ns` is what rank 0's group asks meanwhile.
void receive_late(std::function<int64_t()> last_progress_ns) {
  constexpr std::chrono::milliseconds kTimeout(100);
  std::atomic<bool> over = false;
  run_local_ranks(2, [&](Fabric& fabric) {
    const auto all = connect_all(fabric, kTimeout);
    int32_t number = 7;
    if (fabric.rank() == 0) {
      all->wait_on_while(last_progress_ns);
      try {
        all->recv(&number, 1, DType::kI32, 1, 0);
      } catch (...) {
        over = true;
        fabric.give_up(std::current_exception());
        throw;
      }
      return;
    }
    const int64_t begin_ns = now_ns();
    while (!over && std::chrono::nanoseconds(now_ns() - begin_ns) < 3 * kTimeout)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (!over) all->send(&number, 1, DType::kI32, 0, 0);
  });
}

TEST(SlowLinks, AWaitGoesOnWhileTransfersDo) {
  receive_late([] { return now_ns(); });
}

TEST(SlowLinks, AWaitEndsOnceNothingMoves) {
  EXPECT_THROW(receive_late([] { return int64_t{0}; }), HangError);
  const int64_t begin_ns = now_ns();
  EXPECT_THROW(receive_late([begin_ns] { return begin_ns; }), HangError);
  EXPECT_THROW(receive_late({}), HangError);
}

}  // namespace
}  // namespace trine
