#include "comm/clock.h"

#include <chrono>
#include <limits>

namespace trine {
namespace {

constexpr int kTag = 0;

int64_t steady_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Rank 0's side of ask().
void answer(Communicator& group, int peer, const std::function<int64_t()>& now_ns, int num_rounds) {
  for (int round = 0; round < num_rounds; ++round) {
    group.recv(nullptr, 0, DType::kI64, peer, kTag);
    const int64_t time = now_ns();
    group.send(&time, 1, DType::kI64, peer, kTag);
  }
}

ClockOffset ask(Communicator& group, const std::function<int64_t()>& now_ns, int num_rounds) {
  ClockOffset best{0, std::numeric_limits<int64_t>::max()};
  for (int round = 0; round < num_rounds; ++round) {
    int64_t time = 0;
    const int64_t begin = now_ns();
    group.send(nullptr, 0, DType::kI64, 0, kTag);
    group.recv(&time, 1, DType::kI64, 0, kTag);
    const int64_t half = (now_ns() - begin + 1) / 2;
    if (half < best.error_ns) best = {time - (begin + half), half};
  }
  return best;
}

}  // namespace

std::vector<ClockOffset> align_clocks(Communicator& group, const std::function<int64_t()>& now_ns, int num_rounds) {
  const std::function<int64_t()>& clock = now_ns ? now_ns : steady_now_ns;
  ClockOffset own;
  for (int peer = 1; peer < group.size(); ++peer) {
    if (group.rank() == 0) answer(group, peer, clock, num_rounds);
    if (group.rank() == peer) own = ask(group, clock, num_rounds);
  }
  std::vector<ClockOffset> all(group.size());
  static_assert(sizeof(ClockOffset) == 2 * sizeof(int64_t));
  group.all_gather(&own, all.data(), 2 * group.size(), DType::kI64);
  return all;
}

}  // namespace trine
