#include "base/collective_pattern.h"

#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace trine {
namespace {

struct Sum {
  int rounds = 0;
  std::vector<int64_t> sent;  // elements, by rank
};

Sum sum_of(CollectivePattern kind, int64_t total, int parts, int64_t element) {
  Sum sum{.sent = std::vector<int64_t>(static_cast<size_t>(parts))};
  for_each_collective_round(kind, total, parts, element, [&](const CollectiveRound& round) {
    ++sum.rounds;
    for (int from = 0; from < parts; ++from)
      for (int to = 0; to < parts; ++to)
        if (from != to) sum.sent[static_cast<size_t>(from)] += round.sent(from, to);
  });
  return sum;
}

// What a rank sends: (n - 1) / n of the buffer in each half of an all_reduce.
TEST(CollectivePatterns, SendsWhatACollectiveMust) {
  constexpr int64_t kTotal = 4 << 20;
  for (const int n : {1, 2, 4, 8}) {
    EXPECT_EQ(sum_of(CollectivePattern::kReduceScatter, kTotal, n, 4).sent[0], kTotal * (n - 1) / n);
    EXPECT_EQ(sum_of(CollectivePattern::kAllGather, kTotal, n, 4).sent[0], kTotal * (n - 1) / n);
    EXPECT_EQ(sum_of(CollectivePattern::kAllReduce, kTotal, n, 4).sent[0], 2 * kTotal * (n - 1) / n);
  }
}

TEST(CollectivePatterns, WorksByPiecesOfOneMebibyteOverAllRanks) {
  EXPECT_EQ(sum_of(CollectivePattern::kReduceScatter, 4 << 20, 4, 4).rounds, 16);
  EXPECT_EQ(sum_of(CollectivePattern::kAllReduce, 4 << 20, 4, 4).rounds, 32);
  EXPECT_EQ(sum_of(CollectivePattern::kAllGather, 4 << 20, 4, 4).rounds, 1);
  EXPECT_EQ(sum_of(CollectivePattern::kReduceScatter, 7, 4, 4).rounds, 1);
  EXPECT_EQ(sum_of(CollectivePattern::kReduceScatter, 0, 4, 4).rounds, 0);
}

// 7 elements of 4 ranks: shares of 2, 2, 2 and 1.
TEST(CollectivePatterns, SharesNeedNotBeAlike) {
  for_each_collective_round(CollectivePattern::kAllReduce, 7, 4, 4, [](const CollectiveRound& round) {
    EXPECT_EQ(round.sent(0, 3), round.reduces ? 1 : 2);
    EXPECT_EQ(round.sent(3, 0), round.reduces ? 2 : 1);
  });
}

TEST(CollectivePatterns, EverybodySendsToEverybodyElse) {
  for (int rank = 0; rank < 5; ++rank) {
    std::set<int> peers;
    for (int i = 1; i < 5; ++i) peers.insert(collective_send_peer(rank, i, 5));
    EXPECT_EQ(peers.size(), 4u);
    EXPECT_FALSE(peers.contains(rank));
  }
}

}  // namespace
}  // namespace trine
