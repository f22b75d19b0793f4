#include "comm/clock.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <unistd.h>

#include "base/error.h"

namespace trine {
namespace {

constexpr int kTag = 0;

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

// For each rank the first that reads the same clock.
std::vector<int> first_of_same_clock(Communicator& group, const std::string& own) {
  using Text = std::array<char, 128>;
  TRINE_CHECK(own.size() < sizeof(Text), "identity {}", own);
  std::vector<Text> identities(static_cast<size_t>(group.size()));
  Text& text = identities[static_cast<size_t>(group.rank())];
  own.copy(text.data(), own.size());
  group.all_gather(text.data(), identities.data(), group.size(), DType::kU8, sizeof(Text));
  std::vector<int> first;
  for (int rank = 0; rank < group.size(); ++rank) {
    const auto same = std::find(identities.begin(), identities.end(), identities[static_cast<size_t>(rank)]);
    const bool known = identities[static_cast<size_t>(rank)][0] != 0;
    first.push_back(known ? static_cast<int>(same - identities.begin()) : rank);
  }
  return first;
}

}  // namespace

RankClock host_clock() {
  RankClock clock{now_ns, {}};
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), clock.identity);
  if (clock.identity.empty()) return clock;
  // Linux before 5.6 has no time namespaces, and no such link.
  std::array<char, 64> time_namespace{};
  const ssize_t length = ::readlink("/proc/self/ns/time", time_namespace.data(), time_namespace.size() - 1);
  if (length > 0) clock.identity += fmt::format(" {}", time_namespace.data());
  return clock;
}

MeasuredClocks align_clocks(Communicator& group, const RankClock& clock, int num_rounds) {
  std::vector<int> first = first_of_same_clock(group, clock.identity);
  ClockOffset own;
  for (int peer = 1; peer < group.size(); ++peer) {
    if (first[static_cast<size_t>(peer)] != peer) continue;
    if (group.rank() == 0) answer(group, peer, clock.now_ns, num_rounds);
    if (group.rank() == peer) own = ask(group, clock.now_ns, num_rounds);
  }
  if (std::abs(own.offset_ns) <= own.error_ns) own = {0, own.error_ns + std::abs(own.offset_ns)};
  std::vector<ClockOffset> all(static_cast<size_t>(group.size()));
  static_assert(sizeof(ClockOffset) == 2 * sizeof(int64_t));
  group.all_gather(&own, all.data(), group.size(), DType::kI64, 2);
  for (size_t rank = 0; rank < all.size(); ++rank) all[rank] = all[static_cast<size_t>(first[rank])];
  return {std::move(all), std::move(first)};
}

}  // namespace trine
